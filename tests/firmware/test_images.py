"""Image files: what imgtool makes is read, what is damaged, foreign, old or too large is refused with the reason."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable
from pathlib import Path
from uuid import NAMESPACE_DNS, UUID, uuid5

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_bridge import images
from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.images import Version
from tests.firmware.signing import accepts, make_image, make_key, public_half

BOARD = UUID("01234567-89ab-cdef-0123-456789abcdef")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, Path]:
    return {kind: make_key(folder, kind) for kind in ("ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072")}


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(BridgeError) as caught:
        action()
    assert caught.value.cause is Cause.INVALID
    return str(caught.value)


def known(*keys: Path) -> tuple[images.Key, ...]:
    return images.read_keys(keys)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
@pytest.mark.parametrize(
    "options",
    [(), ("--security-counter", "auto"), ("--public-key-format", "full"), ("--align", 32), ("--max-align", 16)],
)
def test_a_signed_image_is_read_and_its_signer_named(
    folder: Path, keys: dict[str, Path], kind: str, options: tuple[str, ...]
) -> None:
    public = public_half(keys[kind])

    image = images.read(make_image(folder, *options, key=keys[kind], version="1.2.3+4"))

    assert image.version == Version(1, 2, 3, 4)
    assert images.check_signature(image, known(public)).name == public.name


@pytest.mark.parametrize("options", [("--sha", "512"), ("--pure",)])
def test_an_ed25519_signature_over_a_longer_hash_or_over_the_image_itself_counts(
    folder: Path, keys: dict[str, Path], options: tuple[str, ...]
) -> None:
    image = images.read(make_image(folder, *options, key=keys["ed25519"]))

    assert images.check_signature(image, known(keys["ed25519"])).kind == "Ed25519"


def test_an_ecdsa_signature_of_fixed_length_counts(folder: Path, keys: dict[str, Path]) -> None:
    for _ in range(6):  # most of these signatures are shorter than the length to which they are brought
        image = images.read(make_image(folder, "--pad-sig", key=keys["ecdsa-p256"]))

        assert images.check_signature(image, known(keys["ecdsa-p256"]))


def test_everything_that_an_image_says_of_itself_is_read(folder: Path, keys: dict[str, Path]) -> None:
    path = make_image(
        folder, "--vid", "kerbside.example", "--cid", "mount", "--security-counter", 7, key=keys["ed25519"]
    )

    image = images.read(path)

    vendor = uuid5(NAMESPACE_DNS, "kerbside.example")
    assert (image.vendor_id, image.class_id) == (vendor, uuid5(vendor, "mount"))
    assert (image.security_counter, image.header_size, image.hash_algorithm) == (7, 0x200, "sha256")
    assert image.content == path.read_bytes()
    assert image.sha256 == hashlib.sha256(path.read_bytes()).digest() != image.hash


def test_the_private_key_file_serves_as_well_and_is_told_apart(keys: dict[str, Path]) -> None:
    (private,), (public,) = known(keys["ed25519"]), known(public_half(keys["ed25519"]))

    assert (private.private, public.private) == (True, False)
    assert private.der == public.der


@pytest.mark.parametrize("option", ["--pad", "--test", "--confirm"])
def test_of_a_padded_image_only_the_image_is_sent(folder: Path, keys: dict[str, Path], option: str) -> None:
    body = b"firmware" * 500
    bare = images.read(make_image(folder, key=keys["ed25519"], body=body))

    padded = images.read(make_image(folder, option, key=keys["ed25519"], body=body))

    assert padded.content == bare.content
    assert padded.padding > 200_000
    assert padded.marked == ("confirmed" if option == "--confirm" else "test")


@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-3072"])
def test_an_rsa_signature_is_refused_by_its_name(folder: Path, keys: dict[str, Path], kind: str) -> None:
    image = images.read(make_image(folder, key=keys[kind]))

    message = refusal(lambda: images.check_signature(image, known(keys["ed25519"])))

    assert f"is signed by {kind.upper()}" in message
    assert "Ed25519 or an ECDSA P-256 key" in message


def test_an_unsigned_image_is_refused_whatever_keys_are_known(folder: Path, keys: dict[str, Path]) -> None:
    image = images.read(make_image(folder))

    assert "is not signed" in refusal(lambda: images.check_signature(image, known(keys["ed25519"])))
    assert "is not signed" in refusal(lambda: images.check_signature(image, ()))


@pytest.mark.parametrize("signer", ["ed25519", "ecdsa-p256", "ecdsa-p384"])
def test_an_image_of_an_unknown_signer_is_refused_with_those_who_are_known(
    folder: Path, keys: dict[str, Path], signer: str
) -> None:
    other = make_key(folder, "ed25519")
    image = images.read(make_image(folder, key=keys[signer]))

    message = refusal(lambda: images.check_signature(image, known(other)))

    assert "signed by a key that is not known" in message
    assert other.name in message


def test_without_any_key_a_signed_image_is_not_taken_for_good(folder: Path, keys: dict[str, Path]) -> None:
    image = images.read(make_image(folder, key=keys["ed25519"]))

    assert "no key is known" in refusal(lambda: images.check_signature(image, ()))


def test_an_image_that_only_the_boot_loader_can_read_is_refused(folder: Path, keys: dict[str, Path]) -> None:
    path = make_image(folder, "--encrypt", public_half(keys["ecdsa-p256"]), key=keys["ed25519"])

    image = images.read(path)

    assert image.encrypted
    assert "is encrypted" in refusal(lambda: images.check_signature(image, known(keys["ed25519"])))


def test_an_image_that_is_not_to_be_run_is_refused(folder: Path, keys: dict[str, Path]) -> None:
    image = images.read(make_image(folder, "--non-bootable", key=keys["ed25519"]))

    assert "not to be run" in refusal(lambda: images.check_signature(image, known(keys["ed25519"])))


@pytest.mark.parametrize(
    ("kind", "content"),
    [("another kind", None), ("no key", b"not a key"), ("no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n")],
)
def test_a_key_that_can_not_sign_is_refused_by_its_file(
    folder: Path, keys: dict[str, Path], kind: str, content: bytes | None
) -> None:
    path = keys["rsa-2048"] if content is None else folder / "wrong.pem"
    if content is not None:
        path.write_bytes(content)

    message = refusal(lambda: known(path))

    assert path.name in message
    assert kind in message
    assert "expected a public Ed25519 or ECDSA P-256 key" in message


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "gone.pem cannot be read" in refusal(lambda: known(tmp_path / "gone.pem"))


# --- which board, how new, how large ---------------------------------------------------------------------------------


def test_an_image_for_another_board_is_refused_with_both(folder: Path, keys: dict[str, Path]) -> None:
    other = "ffffffff-0000-0000-0000-000000000001"
    image = images.read(make_image(folder, "--cid", other, key=keys["ed25519"]))

    message = refusal(lambda: images.check_board(image, None, BOARD))

    assert other in message
    assert str(BOARD) in message


def test_an_image_for_this_board_passes(folder: Path, keys: dict[str, Path]) -> None:
    image = images.read(make_image(folder, "--vid", "kerbside.example", "--cid", "mount", key=keys["ed25519"]))

    images.check_board(image, *images.board("kerbside.example", "mount"))


def test_an_image_without_a_class_passes_only_where_none_is_set(folder: Path, keys: dict[str, Path]) -> None:
    image = images.read(make_image(folder, key=keys["ed25519"]))

    images.check_board(image, None, None)
    assert "does not say for which board class" in refusal(lambda: images.check_board(image, None, BOARD))


def test_an_image_with_a_class_needs_to_know_the_board(folder: Path, keys: dict[str, Path]) -> None:
    image = images.read(make_image(folder, "--cid", BOARD, key=keys["ed25519"]))

    assert "set mount.class_id" in refusal(lambda: images.check_board(image, None, None))


def test_a_class_by_name_needs_its_vendor() -> None:
    assert "vendor_id" in refusal(lambda: images.board(None, "mount"))


def test_a_class_that_no_signature_covers_is_not_believed(folder: Path, keys: dict[str, Path]) -> None:
    content = bytearray(make_image(folder, key=keys["ed25519"]).read_bytes())
    start = 0x200 + struct.unpack_from("<I", content, 12)[0]
    magic, size = struct.unpack_from("<HH", content, start)
    struct.pack_into("<HH", content, start, magic, size + 20)
    content += struct.pack("<HH", images.CLASS_ID, 16) + BOARD.bytes

    assert "0x75 stands where no signature covers it" in refusal(lambda: images.parse(bytes(content), "app.bin"))


@pytest.mark.parametrize("running", ["1.2.4", "1.3.0", "2.0.0", "1.2.3.5"])
def test_an_older_image_is_refused_with_both_versions(folder: Path, keys: dict[str, Path], running: str) -> None:
    image = images.read(make_image(folder, key=keys["ed25519"], version="1.2.3+4"))

    message = refusal(lambda: images.check_version(image, Version.parse(running)))

    assert "1.2.3+4" in message
    assert str(Version.parse(running)) in message


@pytest.mark.parametrize("running", ["1.2.3.4", "1.2.3", "0.9.9", "0.255.65535"])
def test_the_same_or_an_older_version_may_run_before(folder: Path, keys: dict[str, Path], running: str) -> None:
    image = images.read(make_image(folder, key=keys["ed25519"], version="1.2.3+4"))

    images.check_version(image, Version.parse(running))


@pytest.mark.parametrize("text", ["", "1", "1.2", "one.two.three", "1.2.3.4.5", "1.2.3-4", "1.2.\u0663", "9" * 99])
def test_what_is_no_version_is_refused(text: str) -> None:
    assert "is not a firmware version" in refusal(lambda: Version.parse(text))


def test_an_image_larger_than_the_slot_is_refused_with_both_sizes(folder: Path, keys: dict[str, Path]) -> None:
    image = images.read(make_image(folder, key=keys["ed25519"]))
    size = len(image.content)

    images.check_size(image, size)
    message = refusal(lambda: images.check_size(image, size - 1))

    assert f"{size:,}" in message
    assert f"{size - 1:,}" in message


# --- what is no image, or a damaged one ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "0 bytes"),
        (b"\x3d\xb8\xf3\x96", "4 bytes"),
        (b":1000000000040020" * 4, "an Intel HEX file"),
        (b"\x7fELF" + bytes(60), "an ELF file"),
        (b"\x96\xf3\xb8\x3d" + bytes(60), "a big-endian image"),
        (bytes(64), "00 00 00 00"),
    ],
)
def test_another_kind_of_file_is_refused_by_its_kind(content: bytes, found: str) -> None:
    message = refusal(lambda: images.parse(content, "app.bin"))

    assert message.startswith("app.bin is no MCUboot image")
    assert found in message


@pytest.mark.parametrize("what", ["gone", "folder", "huge"])
def test_a_file_that_can_not_be_an_image_is_refused_without_reading_it(tmp_path: Path, what: str) -> None:
    path = tmp_path / "app.bin"
    if what == "folder":
        path.mkdir()
    elif what == "huge":
        with path.open("wb") as file:
            file.truncate(images.MAX_BYTES + 1)

    message = refusal(lambda: images.read(path))

    assert str(path) in message
    assert "expected an MCUboot image" in message


def test_an_image_cut_short_anywhere_is_refused(folder: Path, keys: dict[str, Path]) -> None:
    content = make_image(folder, "--cid", BOARD, key=keys["ecdsa-p256"], body=b"body" * 16).read_bytes()

    for length in range(len(content)):
        assert "app.bin" in refusal(lambda length=length: images.parse(content[:length], "app.bin"))  # type: ignore[misc]


def test_bytes_behind_the_image_that_are_no_padding_are_refused(folder: Path, keys: dict[str, Path]) -> None:
    content = make_image(folder, key=keys["ed25519"]).read_bytes()

    assert "behind its end" in refusal(lambda: images.parse(content + b"\xff\xfe", "app.bin"))


def test_two_hashes_are_one_too_many(folder: Path) -> None:
    content = bytearray(make_image(folder).read_bytes())
    start = 0x200 + struct.unpack_from("<I", content, 12)[0]
    magic, size = struct.unpack_from("<HH", content, start)
    struct.pack_into("<HH", content, start, magic, 2 * size - 4)

    assert "2 hashes" in refusal(lambda: images.parse(bytes(content + content[start + 4 :]), "app.bin"))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_of_mutated_images_none_passes_that_imgtool_rejects(folder: Path, keys: dict[str, Path], kind: str) -> None:
    key = keys[kind]
    content = make_image(
        folder, "--vid", "kerbside.example", "--cid", "mount", key=key, body=bytes(range(100))
    ).read_bytes()
    chance = random.Random(kind)
    passed = 0
    for _ in range(400):
        mutated = bytearray(content)
        for _ in range(chance.choice((1, 1, 1, 2))):
            at = chance.choice((chance.randrange(32), chance.randrange(0x200, len(content))))
            mutated[at] = chance.choice((mutated[at] ^ 1 << chance.randrange(8), 0, 0xFF))
        if mutated == content:
            continue
        path = folder / "mutated.bin"
        path.write_bytes(mutated)
        try:
            images.check_signature(images.read(path), known(key))
        except BridgeError:
            continue
        passed += 1
        assert accepts(path, key)
    # Only the bytes that nothing covers may be changed: there are none in an image made so.
    assert passed == 0


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_what_is_read_as_signed_imgtool_verifies_too(folder: Path, keys: dict[str, Path], kind: str) -> None:
    for options in ((), ("--security-counter", 3), ("--confirm",), ("--vid", "kerbside.example")):
        path = make_image(folder, *options, key=keys[kind])

        assert accepts(path, keys[kind])
        assert images.check_signature(images.read(path), known(keys[kind]))


def parsed_or_refused_by_name(content: bytes) -> images.Image | None:
    try:
        return images.parse(content, "app.bin")
    except BridgeError as error:
        if not str(error).startswith("app.bin"):
            raise
        return None


HEADER = struct.pack("<IIHHIIBBHI4x", images.MAGIC, 0, 32, 0, 8, 0, 1, 2, 3, 4)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: HEADER + rest)))
def test_any_bytes_are_an_image_or_refused_by_name(content: bytes) -> None:
    if image := parsed_or_refused_by_name(content):
        assert hashlib.new(image.hash_algorithm, image.signed).digest() == image.hash


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=6), st.booleans())
def test_any_tlvs_are_read_or_refused_by_name(entries: list[tuple[int, bytes]], protect: bool) -> None:
    area = b"".join(struct.pack("<HH", number, len(value)) + value for number, value in entries)
    protected = struct.pack("<HH", 0x6908, len(area) + 4) + area if protect else b""
    signed = struct.pack("<IIHHIIBBHI4x", images.MAGIC, 0, 32, len(protected), 8, 0, 1, 2, 3, 4) + bytes(8) + protected
    rest = struct.pack("<HH", 0x10, 32) + hashlib.sha256(signed).digest() + (b"" if protect else area)
    content = signed + struct.pack("<HH", 0x6907, len(rest) + 4) + rest
    if image := parsed_or_refused_by_name(content):
        assert image.content == content
        refusal(lambda: images.check_signature(image, ()))
