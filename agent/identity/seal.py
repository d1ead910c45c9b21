"""Secrets at rest: each scope (a block, the roster) has a random key of its own, and wiping that key wipes its secrets.

A secret is sealed with AES-256-GCM into a token that may stand in the log; the scope's key is kept in the journal,
wrapped by the unit's own key in ``state_dir/seal.key``. No error or token ever shows a secret.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from agent.journal.directory import write_durably

PREFIX = "sealed:v1:"
KEY_BYTES = 32
NONCE_BYTES = 12


class SealError(Exception):
    """A secret can not be sealed or opened: says whose, and why."""


def _encrypt(key: bytes, text: bytes, context: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text, context)


def _decrypt(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Raises `SealError` without a text: the caller knows what was asked for."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as fault:
        raise SealError from fault


class Sealer:
    """Seals and opens secrets; may be used from any thread."""

    def __init__(self, state_dir: Path, keys: Mapping[str, bytes]) -> None:
        """`keys` are the journal's: the wrapped key of each scope. Raises `SealError` without a usable seal.key."""
        self._path = state_dir / "seal.key"
        self._unit_key = self._read_or_create()
        self._wrapped = dict(keys)
        self._keys: dict[str, bytes] = {}
        self._changing = threading.Lock()

    def _read_or_create(self) -> bytes:
        try:
            try:
                key = self._path.read_bytes()
            except FileNotFoundError:
                key = os.urandom(KEY_BYTES)
                write_durably(self._path, key)
        except OSError as fault:
            raise SealError(
                f"{self._path} can not be read or made ({fault.strerror}): check the rights of the state directory"
            ) from fault
        if len(key) != KEY_BYTES:
            raise SealError(
                f"{self._path} holds {len(key)} bytes, expected {KEY_BYTES}: restore it, or remove it to start with a "
                "new key (secrets sealed so far can then not be opened)"
            )
        return key

    def seal(self, scope: str, text: str) -> str:
        """A token for this secret; the scope's key is made when it is the first one."""
        return (
            PREFIX
            + base64.urlsafe_b64encode(_encrypt(self._key(scope, make=True), text.encode(), scope.encode())).decode()
        )

    def open(self, scope: str, token: str) -> str:
        """The secret of a token. Raises `SealError` when the key was wiped or the token is not of this scope."""
        key = self._key(scope, make=False)
        try:
            sealed = base64.urlsafe_b64decode(token.removeprefix(PREFIX) if token.startswith(PREFIX) else "")
            return _decrypt(key, sealed, scope.encode()).decode()
        except (SealError, binascii.Error, ValueError):
            raise SealError(
                f"a secret of {scope} can not be opened: the token is damaged or of another scope"
            ) from None

    def keys(self, scope: str) -> dict[str, bytes]:
        """The wrapped key of a scope, if it has one: it belongs into each batch that brings tokens of it.

        A batch may fail or be refused, so that nobody can say which one is the first to be written.
        """
        with self._changing:
            return {scope: self._wrapped[scope]} if scope in self._wrapped else {}

    def forget(self, scope: str) -> None:
        """Drop the key of a scope from memory; `Batch.forget` wipes it from the disk."""
        with self._changing:
            self._keys.pop(scope, None)
            self._wrapped.pop(scope, None)

    def _key(self, scope: str, *, make: bool) -> bytes:
        with self._changing:
            if scope not in self._keys:
                if scope in self._wrapped:
                    try:
                        self._keys[scope] = _decrypt(self._unit_key, self._wrapped[scope], b"key/" + scope.encode())
                    except SealError:
                        raise SealError(
                            f"the key of {scope} can not be unwrapped: {self._path} is not the one it was wrapped with"
                        ) from None
                elif make:
                    key = os.urandom(KEY_BYTES)
                    wrapped = _encrypt(self._unit_key, key, b"key/" + scope.encode())
                    self._keys[scope], self._wrapped[scope] = key, wrapped
                else:
                    raise SealError(f"the secrets of {scope} can not be opened: its key was wiped or never existed")
            return self._keys[scope]
