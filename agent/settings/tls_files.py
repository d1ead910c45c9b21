"""The files of the broker's connection: whether they hold what they should, in words that are not OpenSSL's."""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.settings.broker import BrokerSettings
from agent.settings.opened import UnusableError, read

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_CERTIFICATES: Final = "certificates in PEM"
_OWN: Final = "the unit's certificate in PEM"
_KEY: Final = "the private key of cert_file in PEM, without a password"
_PASSWORD: Final = "the password in the first line"  # noqa: S105 - no password


def examine(broker: BrokerSettings) -> Iterator[tuple[str, UnusableError]]:
    """What is wrong with the certificates and the key, by the keys that name them."""
    if broker.ca_file is not None:
        try:
            _in_time(broker.ca_file, _certificates(broker.ca_file, _CERTIFICATES), "get the authority's new one")
        except UnusableError as error:
            yield "broker.ca_file", error
    if broker.cert_file is None or broker.key_file is None:
        return
    own: list[Certificate] = []
    try:
        own = _certificates(broker.cert_file, _OWN)
        _in_time(broker.cert_file, own[:1], "have the authority renew it")
    except UnusableError as error:
        yield "broker.cert_file", error
    try:
        _private_key(broker.key_file, own)
    except UnusableError as error:
        yield "broker.key_file", error
        return
    if own and (weak := _not_taken(broker.cert_file, broker.key_file)):
        yield "broker.cert_file", weak


def valid_until(path: Path) -> datetime:
    """The day on which the first certificate of a file expires.

    :raises UnusableError: it holds none
    """
    return min(each.not_valid_after_utc for each in _certificates(path, _CERTIFICATES))


def password(path: Path) -> str:
    """The password that a file holds.

    :raises UnusableError: there is none
    """
    try:
        text = read(path, _PASSWORD).decode("utf-8").split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        raise UnusableError(path, _PASSWORD, "what is no text in UTF-8", "write it anew") from None
    if not text.strip():
        raise UnusableError(path, _PASSWORD, "an empty first line", "write it there")
    return text


def _certificates(path: Path, expected: str) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    content = read(path, expected)
    try:
        return load_pem_x509_certificates(content)
    except ValueError:
        raise UnusableError(path, expected, *_instead(path, content, "x509")) from None


def _instead(path: Path, content: bytes, kind: str) -> tuple[str, str]:
    """What a file holds that is not what was expected, and what to do."""
    name = shlex.quote(str(path))
    if content.startswith(b"\x30"):
        return "one in DER", f"`openssl {kind} -inform DER -in {name} -out …` makes it PEM"
    if b"PRIVATE KEY-----" in content:
        return "a private key" if kind == "x509" else "a key that cannot be read", "put the right file there"
    if b"-----BEGIN CERTIFICATE-----" in content:
        return "a certificate" if kind != "x509" else "a damaged certificate", "put the right file there"
    return "something else", "put the right file there"


def _in_time(path: Path, certificates: list[Certificate], step: str) -> None:
    """:raises UnusableError: none of them is in its time"""
    now = datetime.now(UTC)
    if any(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in certificates):
        return
    begins = min(each.not_valid_before_utc for each in certificates)
    ends = max(each.not_valid_after_utc for each in certificates)
    if now < begins:
        found, step = (
            f"one that is valid from {begins:%Y-%m-%d} on",
            "is the clock right? Otherwise wait, or get another",
        )
    else:
        found = f"one that expired on {ends:%Y-%m-%d}"
    raise UnusableError(path, "a certificate that is valid now", found, step, timely=True)


def _private_key(path: Path, own: list[Certificate]) -> None:
    """:raises UnusableError: it is none, needs a password, or belongs to another certificate"""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    content = read(path, _KEY)
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        step = f"`openssl pkey -in {shlex.quote(str(path))} -out …` writes it without"
        raise UnusableError(path, _KEY, "one with a password", step) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableError(path, _KEY, *_instead(path, content, "pkey")) from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    publics = [each.public_key().public_bytes(*form) for each in own]
    if publics and key.public_key().public_bytes(*form) != publics[0]:
        if key.public_key().public_bytes(*form) in publics:
            raise UnusableError(path, _KEY, "that of a later one in cert_file", "put the unit's own certificate first")
        raise UnusableError(path, _KEY, "that of another certificate", "put the two that belong together there")


def _not_taken(cert_file: Path, key_file: Path) -> UnusableError | None:
    """Whether TLS takes the pair: what is too weak for it is refused."""
    try:
        ssl.create_default_context().load_cert_chain(cert_file, key_file, password="")
    except (OSError, ssl.SSLError):
        step = "have one made with ECDSA P-256 or RSA of 2048 bits, signed with SHA-256"
        return UnusableError(cert_file, "a certificate that TLS takes", "one that is too weak or damaged", step)
    return None
