"""Secrets at rest: each scope (a block, the roster) has a random key of its own, and wiping that key wipes its secrets.

A secret is sealed with AES-256-GCM into a token that may stand in the log; the scope's key is kept in the journal,
wrapped by the unit's own key in ``state_dir/seal.key``. No error or token ever shows a secret.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agent.delivery.model.scopes import BLOCK
from agent.files import read_strictly, write_durably
from agent.secret_files import weaknesses
from drivers.limited_log import LimitedLog

faults: Final = LimitedLog(logging.getLogger(__name__), "secrets that cannot be opened")

PREFIX = "sealed:"
TEXT = PREFIX + "v1:"
JSON = PREFIX + "json:v1:"
MOST_OPENED = 10_000
"""Values of tokens that a scope remembers: three of each parcel of a large block."""
KEY_BYTES = 32
NONCE_BYTES = 12
BYTES = b"\x00bytes"
"""Tells what was sealed as bytes from what was sealed as a text."""


_UNKNOWN: Final = object()
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _context(scope: str) -> bytes:
    """What a scope's secrets are bound to: of a block its id alone, as it is in journals of earlier versions."""
    return scope.removeprefix(BLOCK).encode()


class SealError(Exception):
    """A secret cannot be sealed or opened: says whose, and why."""


class _Key:
    """A key of AES-256-GCM."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    def encrypt(self, text: bytes, context: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text, context)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """:raises SealError: without a text, because the caller knows what was asked for"""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as fault:
            raise SealError from fault


class Scope:
    """Seals the secrets of one scope with one key, whatever becomes of that key in the meantime."""

    def __init__(self, name: str, key: _Key, wrapped: bytes) -> None:
        self.name = name
        self._context = _context(name)
        self._key = key
        self._opened: dict[str, Any] = {}
        """Values of tokens, for as long as the key is in memory: the screen asks for them at each change."""
        self.keys: Mapping[str, bytes] = {name: wrapped}
        """The wrapped key: it belongs into each batch that brings tokens of it.

        A batch may fail or be refused, so that nobody can say which one is the first to be written.
        """

    def seal(self, value: Any) -> str:
        """A token for this secret, a text or any other JSON value."""
        prefix, text = (TEXT, value) if isinstance(value, str) else (JSON, _encode(value))
        return prefix + base64.urlsafe_b64encode(self._key.encrypt(text.encode(), self._context)).decode()

    def open(self, token: str) -> Any:
        """The value of a token, which must not be changed.

        :raises SealError: without a text; the token is damaged or of another scope
        """
        if (value := self._opened.get(token, _UNKNOWN)) is not _UNKNOWN:
            return value
        prefix = next((prefix for prefix in (TEXT, JSON) if token.startswith(prefix)), token)
        try:
            text = self._key.decrypt(base64.urlsafe_b64decode(token.removeprefix(prefix)), self._context).decode()
            value = text if prefix == TEXT else json.loads(text)
        except (binascii.Error, ValueError) as fault:
            raise SealError from fault
        if len(self._opened) >= MOST_OPENED:
            self._opened.clear()
        self._opened[token] = value
        return value

    def seal_bytes(self, content: bytes) -> bytes:
        """This content, sealed: for files, which need no token."""
        return self._key.encrypt(content, self._context + BYTES)

    def open_bytes(self, sealed: bytes) -> bytes:
        """:raises SealError: without a text; what is sealed is damaged or of another scope"""
        return self._key.decrypt(sealed, self._context + BYTES)


class Sealer:
    """The keys of all scopes; may be used from any thread."""

    def __init__(self, state_dir: Path, keys: Mapping[str, bytes]) -> None:
        """`keys` are the journal's: the wrapped key of each scope.

        :raises SealError: there is no usable seal.key
        """
        self._path = state_dir / "seal.key"
        self._unit_key = _Key(self._read_or_create())
        self._wrapped = dict(keys)
        self._scopes: dict[str, Scope] = {}
        self._changing = threading.Lock()

    def _read_or_create(self) -> bytes:
        for weakness in weaknesses(self._path, "owner"):
            raise SealError(f"{weakness} (others could have read or replaced it: think of a new one)")
        try:
            key = read_strictly(self._path, bytes)
            if key is None:
                key = os.urandom(KEY_BYTES)
                write_durably(self._path, key)
        except OSError as fault:
            raise SealError(
                f"{self._path} cannot be read or made ({fault.strerror}): check the rights of the state directory"
            ) from fault
        if len(key) != KEY_BYTES:
            raise SealError(
                f"{self._path} holds {len(key)} bytes, expected {KEY_BYTES}: restore it, or remove it to start with a "
                "new key (secrets sealed so far can then not be opened)"
            )
        return key

    def scope(self, name: str) -> Scope:
        """Seals secrets of this scope; its key is made when it has none yet.

        :raises SealError: the key was wrapped with another seal.key
        """
        return self._scope(name, make=True)

    def open(self, scope: str, token: str) -> Any:
        """The secret of a token.

        :raises SealError: the key was wiped, or the token is not of this scope
        """
        known = self._scope(scope, make=False)
        try:
            return known.open(token)
        except SealError:
            raise SealError(f"a secret of {scope} cannot be opened: the token is damaged or of another scope") from None

    def opened(self, scope: str, value: Any) -> Any:
        """A JSON value with what its tokens hold; ``None`` stands for a token that cannot be opened, or no more."""
        if isinstance(value, str):
            return self._opened(scope, value) if value.startswith(PREFIX) else value
        if isinstance(value, Mapping):
            return {name: self.opened(scope, each) for name, each in value.items()}
        return [self.opened(scope, each) for each in value] if isinstance(value, list | tuple) else value

    def _opened(self, scope: str, token: str) -> Any:
        with self._changing:
            is_wiped = scope not in self._wrapped
        if is_wiped:
            return None
        try:
            return self.open(scope, token)
        except SealError as fault:
            faults.warning("%s", str(fault))
            return None

    def open_bytes(self, scope: str, sealed: bytes) -> bytes:
        """The content that `Scope.seal_bytes` has sealed.

        :raises SealError: the key was wiped, or what is sealed is not of this scope
        """
        known = self._scope(scope, make=False)
        try:
            return known.open_bytes(sealed)
        except SealError:
            raise SealError(f"a file of {scope} cannot be opened: it is damaged or of another scope") from None

    def holds(self, keys: Mapping[str, bytes]) -> bool:
        """Whether these are still the keys: what was sealed under a key that is gone must not be written any more."""
        with self._changing:
            return all(self._wrapped.get(scope) == wrapped for scope, wrapped in keys.items())

    def forget(self, scope: str) -> None:
        """Drop the key of a scope from memory; `Batch.forget` wipes it from the disk."""
        with self._changing:
            self._scopes.pop(scope, None)
            self._wrapped.pop(scope, None)

    def reload(self, keys: Mapping[str, bytes]) -> None:
        """Begin again with the journal's keys: those that were never written are gone."""
        with self._changing:
            self._scopes.clear()
            self._wrapped = dict(keys)

    def _scope(self, name: str, *, make: bool) -> Scope:
        context = b"key/" + _context(name)
        with self._changing:
            if (known := self._scopes.get(name)) is not None:
                return known
            if (wrapped := self._wrapped.get(name)) is not None:
                try:
                    key = self._unit_key.decrypt(wrapped, context)
                except SealError:
                    raise SealError(
                        f"the key of {name} cannot be unwrapped: {self._path} is not the one it was wrapped with"
                    ) from None
            elif make:
                key = os.urandom(KEY_BYTES)
                wrapped = self._wrapped[name] = self._unit_key.encrypt(key, context)
            else:
                raise SealError(f"the secrets of {name} cannot be opened: its key was wiped or never existed")
            made = self._scopes[name] = Scope(name, _Key(key), wrapped)
            return made
