"""Image files for MCUboot: reads them, and says before anything is sent whether a mount may get them.

An `Image` that exists is sound: its header, its type-length-value (TLV) areas and its hash fit together. Whose it is,
which board it is for, how new it is and whether it fits are the checks beside it; every refusal is a `BridgeError` that
names the file, what was found, what was expected and what to do. The format is that of MCUboot's design document
(https://docs.mcuboot.com/design.html#image-format); TLVs go by their numbers, because tools differ in their names.

>>> Version.parse("1.4.2.7") > Version.parse("1.4.2")
True
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import NAMESPACE_DNS, UUID, uuid5

from firmware_bridge.errors import BridgeError, Cause

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of a file; no microcontroller of a mount has more flash."""

MAGIC: Final = 0x96F3B83D
_HEADER: Final = struct.Struct("<IIHHIIBBHI4x")
_TLV: Final = struct.Struct("<HH")
_AREA: Final = 0x6907
_PROTECTED_AREA: Final = 0x6908

ENCRYPTED: Final = 0x04 | 0x08
NON_BOOTABLE: Final = 0x10

KEY_HASH: Final = 0x01
PUBLIC_KEY: Final = 0x02
HASHES: Final = {0x10: "sha256", 0x11: "sha384", 0x12: "sha512"}
RSA_2048, RSA_3072, ECDSA, ED25519 = 0x20, 0x23, 0x22, 0x24
SIGNATURES: Final = {
    RSA_2048: "RSA-2048",
    0x21: "ECDSA P-224",
    ECDSA: "ECDSA",
    RSA_3072: "RSA-3072",
    ED25519: "Ed25519",
}
PURE: Final = 0x25
"""The signature is over the image itself instead of its hash."""
SECURITY_COUNTER: Final = 0x50
VENDOR_ID: Final = 0x74
CLASS_ID: Final = 0x75
_UNPROTECTED: Final = {KEY_HASH, PUBLIC_KEY, *HASHES, *SIGNATURES, PURE, *range(0x30, 0x35)}
"""What may stand where no signature covers it: the proofs themselves and wrapped encryption keys."""

_TRAILER_MAGIC: Final = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
_TRAILER_MAGIC_ALIGNED: Final = bytes.fromhex("2de15d29410b8d77679c110f1f8a")
"""Behind two bytes of alignment, where flash is written in units of more than 8 bytes."""


class Version(NamedTuple):
    """A firmware version; compares as it is ordered."""

    major: int
    minor: int
    revision: int
    build: int = 0

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``1.4.2``, ``1.4.2+7`` or, as servers write it, ``1.4.2.7``.

        :raises BridgeError: the text is none of these
        """
        if not (parts := re.fullmatch(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:[.+](\d{1,10}))?", text, re.ASCII)):
            raise _invalid(f'"{text[:40]}" is not a firmware version: expected one such as 1.4.2 or 1.4.2+7')
        return cls(*(int(part or 0) for part in parts.groups()))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}" + (f"+{self.build}" if self.build else "")


class Signature(NamedTuple):
    """One signature of an image and the key that it names."""

    type: int
    value: bytes
    key_hash: bytes | None
    public_key: bytes | None
    """The whole key as DER, where the image carries it instead of its hash."""


@dataclass(frozen=True, slots=True)
class Image:
    """A sound MCUboot image."""

    name: str
    """Of the file."""
    content: bytes = field(repr=False)
    """What is sent: from the header to the last TLV, without padding or a boot loader's trailer behind it."""
    version: Version
    header_size: int
    flags: int
    hash: bytes
    """The image's own hash, by which a server knows it; not that of the file."""
    hash_algorithm: str
    signed: bytes = field(repr=False)
    """Header, body and protected TLVs: what the hash and the signature cover."""
    signatures: tuple[Signature, ...]
    pure: bool
    """The signature covers the image itself, not its hash."""
    vendor_id: UUID | None
    class_id: UUID | None
    security_counter: int | None
    padding: int
    """Bytes of the file behind the image, which are not sent."""
    marked: Literal["test", "confirmed"] | None
    """What the trailer in the padding would have had the boot loader do."""

    @property
    def encrypted(self) -> bool:
        """Only the boot loader can read it."""
        return bool(self.flags & ENCRYPTED)

    @property
    def sha256(self) -> bytes:
        """Of what is sent; servers resume an upload by it."""
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that may have signed an image."""

    name: str
    """Of its file."""
    kind: Literal["Ed25519", "ECDSA P-256"]
    der: bytes = field(repr=False)
    """SubjectPublicKeyInfo; images name a key by the hash of it."""
    public: Ed25519PublicKey | EllipticCurvePublicKey = field(repr=False)
    private: bool
    """The file holds the private key as well."""

    @property
    def hash(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(self.der).hexdigest()


def read(path: Path) -> Image:
    """The image in a file.

    :raises BridgeError: there is none, or it is damaged
    """
    try:
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "is not there"
            raise _invalid(f"{path} {found}: expected an MCUboot image (….signed.bin)")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise _invalid(f"{path} has {size:,} bytes: expected an MCUboot image of at most {MAX_BYTES:,}")
        return parse(path.read_bytes(), path.name)
    except OSError as error:
        raise _invalid(f"{path} cannot be read: {error.strerror}") from error


def parse(content: bytes, name: str) -> Image:
    """The image in these bytes; `name` stands in errors.

    :raises BridgeError: they are no image, or a damaged one
    """
    if len(content) < _HEADER.size or int.from_bytes(content[:4], "little") != MAGIC:
        raise _no_image(name, content)
    _, _, header_size, protected_size, body_size, flags, *version = _HEADER.unpack_from(content)
    if header_size < _HEADER.size:
        raise _damaged(name, f"its header claims {header_size} bytes, expected at least {_HEADER.size}")
    body_end = header_size + body_size
    if body_end > len(content):
        raise _damaged(name, f"it has {len(content):,} bytes, expected {body_end:,} and the TLVs behind them")
    protected, signed_end = ([], body_end) if protected_size == 0 else _area(name, content, body_end, _PROTECTED_AREA)
    if signed_end != body_end + protected_size:
        told = f"its protected TLVs take {signed_end - body_end} bytes, expected {protected_size} by its header"
        raise _damaged(name, told)
    proofs, end = _area(name, content, signed_end, _AREA)
    for number, _ in proofs:
        if number not in _UNPROTECTED:
            # A boot loader may go by it, and anybody could have added it.
            raise _damaged(name, f"TLV 0x{number:02x} stands where no signature covers it")
    padding, marked = _behind(name, content[end:])
    signed = content[:signed_end]
    hash_algorithm, hash_ = _hash(name, proofs)
    if not flags & ENCRYPTED and hashlib.new(hash_algorithm, signed).digest() != hash_:
        raise _damaged(name, f"its {hash_algorithm.upper()} hash does not fit its content")
    facts = _facts(name, protected)
    return Image(
        name=name,
        content=content[:end],
        version=Version(*version),
        header_size=header_size,
        flags=flags,
        hash=hash_,
        hash_algorithm=hash_algorithm,
        signed=signed,
        signatures=tuple(_signatures(proofs)),
        pure=(PURE, b"\x01") in proofs,
        vendor_id=UUID(bytes=facts[VENDOR_ID]) if VENDOR_ID in facts else None,
        class_id=UUID(bytes=facts[CLASS_ID]) if CLASS_ID in facts else None,
        security_counter=int.from_bytes(facts[SECURITY_COUNTER], "little") if SECURITY_COUNTER in facts else None,
        padding=padding,
        marked=marked,
    )


def read_keys(paths: Iterable[Path]) -> tuple[Key, ...]:
    """The public keys in PEM files; of a private key only the public half is kept.

    :raises BridgeError: a file cannot be read, or holds no key that may sign
    """
    return tuple(_key(path) for path in paths)


def check_signature(image: Image, keys: Sequence[Key]) -> Key:
    """The key that has signed the image.

    :raises BridgeError: nobody has, nobody known, or the signature does not fit
    """
    if image.encrypted:
        raise _refused(image, "is encrypted, so that only the boot loader can check it", "sign it without --encrypt")
    if image.flags & NON_BOOTABLE:
        raise _refused(image, "is marked as not to be run", "sign it without --non-bootable")
    if not image.signatures:
        raise _refused(image, "is not signed", "sign it: imgtool sign --key …")
    if not keys:
        raise _refused(image, "cannot be checked: no key is known", "set mount.firmware_keys, or give --key PEM")
    named = False
    for signature in image.signatures:
        for key in keys:
            if not _names(signature, key):
                continue
            named = True
            if _fits(image, signature, key):
                return key
    if named:
        raise _refused(image, "has a signature that does not fit its content or its key", "get the file anew")
    if all(signature.type not in (ECDSA, ED25519) for signature in image.signatures):
        kinds = " and ".join(sorted({SIGNATURES[signature.type] for signature in image.signatures}))
        raise _refused(image, f"is signed by {kinds}", "sign it with an Ed25519 or an ECDSA P-256 key")
    signers = {(signature.key_hash or b"").hex()[:16] or "that it does not name" for signature in image.signatures}
    known = ", ".join(f"{key.name} ({key.hash[:16]}…)" for key in keys)
    found = f"is signed by a key that is not known here ({', '.join(sorted(signers))}…); known: {known}"
    raise _refused(image, found, "sign it with one of these, or add the key to mount.firmware_keys")


def check_board(image: Image, vendor_id: UUID | None, class_id: UUID | None) -> None:
    """The image is for this board: whatever the image or the settings name must be the same in both.

    :raises BridgeError: it is for another board, or only one of the two says for which
    """
    for what, option, made_for, board in (
        ("vendor", "vendor_id", image.vendor_id, vendor_id),
        ("board class", "class_id", image.class_id, class_id),
    ):
        if made_for == board:
            continue
        if board is None:
            raise _refused(
                image,
                f"is for the {what} {made_for}, and nothing says which this mount has",
                f"set mount.{option}, or give --{option.replace('_', '-')}",
            )
        if made_for is None:
            found = f"does not say for which {what} it is; expected {board}"
            raise _refused(image, found, f"sign it with --{'vid' if what == 'vendor' else 'cid'}")
        raise _refused(image, f"is for the {what} {made_for}; this mount has {board}", "get the image for this mount")


def check_version(image: Image, running: Version) -> None:
    """The image is not older than what runs.

    :raises BridgeError: it is
    """
    if image.version < running:
        found = f"has version {image.version}, and {running} runs already"
        raise _refused(image, found, f"expected {running} or newer: build it anew with a higher version")


def check_size(image: Image, slot_bytes: int) -> None:
    """The image fits into the slot.

    :raises BridgeError: it does not
    """
    if len(image.content) > slot_bytes:
        found = f"has {len(image.content):,} bytes, and the mount's slot takes {slot_bytes:,}"
        raise _refused(image, found, "get the image for this mount, or build a smaller one")


def board_id(text: str, namespace: UUID | None) -> UUID:
    """A vendor or board class as imgtool reads it: a UUID, or a name that is made one within the namespace.

    :raises BridgeError: a class by name without a vendor
    """
    try:
        return UUID(text)
    except ValueError:
        if namespace is None:
            raise _invalid(f'"{text}" names a board class by a word: expected a vendor_id with it, or a UUID') from None
        return uuid5(namespace, text)


def board(vendor: str | None, class_: str | None) -> tuple[UUID | None, UUID | None]:
    """Vendor and class of a board from the settings' words.

    :raises BridgeError: a class by name without a vendor
    """
    vendor_id = board_id(vendor, NAMESPACE_DNS) if vendor else None
    return vendor_id, board_id(class_, vendor_id) if class_ else None


def _area(name: str, content: bytes, start: int, magic: int) -> tuple[list[tuple[int, bytes]], int]:
    """The TLVs of one area, in order, and where it ends."""
    if start + _TLV.size > len(content):
        raise _damaged(name, f"it ends at byte {len(content):,}, expected TLVs from {start:,} on")
    found, size = _TLV.unpack_from(content, start)
    end = start + size
    if found != magic:
        raise _damaged(name, f"0x{found:04x} stands at byte {start:,}, expected 0x{magic:04x} before its TLVs")
    if size < _TLV.size or end > len(content):
        raise _damaged(name, f"its TLVs from byte {start:,} on take {size} bytes; it ends at {len(content):,}")
    entries, at = [], start + _TLV.size
    while at < end:
        number, length = _TLV.unpack_from(content, at) if at + _TLV.size <= end else (0, end)
        at += _TLV.size + length
        if at > end:
            raise _damaged(name, f"its last TLV goes beyond the {size} bytes of its area at byte {start:,}")
        entries.append((number, content[at - length : at]))
    return entries, end


def _behind(name: str, rest: bytes) -> tuple[int, Literal["test", "confirmed"] | None]:
    """How much is padding, and what a trailer at its end asks for. Sent along, a trailer would take the place of a
    test by one that cannot be taken back."""
    if not rest.strip(rest[-1:]):
        if rest[:1] in (b"", b"\x00", b"\xff"):
            return len(rest), None
    elif rest.endswith((_TRAILER_MAGIC, _TRAILER_MAGIC_ALIGNED)):
        blank = rest[:1]
        written = rest[:-16].strip(blank)
        if blank in (b"\x00", b"\xff") and written in (b"", b"\x01"):
            return len(rest), "confirmed" if written else "test"
    raise _damaged(name, f"{len(rest):,} bytes stand behind its end that are no padding")


def _hash(name: str, proofs: Iterable[tuple[int, bytes]]) -> tuple[str, bytes]:
    hashes = [(HASHES[number], value) for number, value in proofs if number in HASHES]
    if len(hashes) != 1:
        raise _damaged(name, f"it has {len(hashes) or 'no'} hashes, expected one (TLV 0x10)")
    algorithm, value = hashes[0]
    if len(value) != hashlib.new(algorithm).digest_size:
        raise _damaged(name, f"its {algorithm.upper()} hash has {len(value)} bytes")
    return algorithm, value


def _facts(name: str, protected: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    """What an image says of itself, by the numbers of the TLVs; other TLVs are the boot loader's affair."""
    sizes = {VENDOR_ID: 16, CLASS_ID: 16, SECURITY_COUNTER: 4}
    facts: dict[int, bytes] = {}
    for number, value in protected:
        if number in _UNPROTECTED:
            raise _damaged(name, f"TLV 0x{number:02x} stands among what it is to prove")
        if number not in sizes:
            continue
        if number in facts or len(value) != sizes[number]:
            raise _damaged(name, f"TLV 0x{number:02x} is there twice, or not {sizes[number]} bytes long")
        facts[number] = value
    return facts


def _signatures(proofs: Iterable[tuple[int, bytes]]) -> Iterable[Signature]:
    """Each signature with the key that is named before it."""
    key_hash = public_key = None
    for number, value in proofs:
        if number == KEY_HASH:
            key_hash, public_key = value, None
        elif number == PUBLIC_KEY:
            key_hash, public_key = None, value
        elif number in SIGNATURES:
            yield Signature(number, value, key_hash, public_key)
            key_hash = public_key = None


def _names(signature: Signature, key: Key) -> bool:
    if signature.type != (ED25519 if key.kind == "Ed25519" else ECDSA):
        return False
    if signature.key_hash is not None:
        algorithms = {hashlib.new(name).digest_size: name for name in HASHES.values()}
        algorithm = algorithms.get(len(signature.key_hash))
        return algorithm is not None and hashlib.new(algorithm, key.der).digest() == signature.key_hash
    return signature.public_key == key.der


def _fits(image: Image, signature: Signature, key: Key) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA as EC_DSA
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key.public, Ed25519PublicKey):
            key.public.verify(signature.value, image.signed if image.pure else image.hash)
        elif image.hash_algorithm == "sha256":
            # Over the hash, which is that of the signed part: `parse` has seen to it.
            key.public.verify(_der(signature.value), image.signed, EC_DSA(SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _der(signature: bytes) -> bytes:
    """An ECDSA signature without the zeros with which some are brought to a fixed length."""
    return (
        signature[: 2 + signature[1]]
        if len(signature) > 2 and not signature[2 + signature[1] :].strip(b"\0")
        else signature
    )


def _key(path: Path) -> Key:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )

    expected = "expected a public Ed25519 or ECDSA P-256 key (PEM; imgtool getpub -e pem)"
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise _invalid(f"{path} cannot be read ({error.strerror}): {expected}") from error
    private = b"PRIVATE KEY-----" in pem
    try:
        public: Any = load_pem_private_key(pem, None).public_key() if private else load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _invalid(f"{path} holds no key that can be read: {expected}") from error
    kind: Literal["Ed25519", "ECDSA P-256"]
    if isinstance(public, Ed25519PublicKey):
        kind = "Ed25519"
    elif isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        kind = "ECDSA P-256"
    else:
        raise _invalid(f"{path} holds a key of another kind: {expected}")
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(path.name, kind, der, public, private)


_KINDS: Final[Mapping[bytes, str]] = {
    b":": "an Intel HEX file",
    b"\x7fELF": "an ELF file",
    MAGIC.to_bytes(4, "big"): "a big-endian image",
    (MAGIC - 1).to_bytes(4, "little"): "an image of MCUboot's first format",
}


def _no_image(name: str, content: bytes) -> BridgeError:
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)
    found = kind or (
        f"{content[:4].hex(' ')} at its start" if len(content) >= _HEADER.size else f"{len(content)} bytes"
    )
    start = MAGIC.to_bytes(4, "little").hex(" ")
    return _invalid(f"{name} is no MCUboot image: found {found}, expected {start} (the ….signed.bin of the build)")


def _damaged(name: str, what: str) -> BridgeError:
    return _invalid(f"{name} is damaged: {what}; get the file anew")


def _refused(image: Image, found: str, advice: str) -> BridgeError:
    return _invalid(f"{image.name} {found}: {advice}")


def _invalid(message: str) -> BridgeError:
    return BridgeError(message, Cause.INVALID)
