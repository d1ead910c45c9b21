"""Makes images and keys with imgtool, MCUboot's own tool, in this process."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from imgtool.main import imgtool

SLOT_BYTES = 0x40000
_numbers = itertools.count(1)


def run(*arguments: Any) -> Result:
    """What imgtool says to these arguments."""
    return CliRunner().invoke(imgtool, [str(argument) for argument in arguments])


def make_key(folder: Path, kind: str = "ed25519") -> Path:
    """A new private key (PEM): ed25519, ecdsa-p256, ecdsa-p384, rsa-2048 …"""
    path = folder / f"{kind}-{next(_numbers)}.pem"
    done = run("keygen", "-t", kind, "-k", path)
    assert done.exit_code == 0, done.output
    return path


def public_half(key: Path) -> Path:
    """The public half of a key, as a PEM file of its own."""
    path = key.with_suffix(".pub")
    done = run("getpub", "-k", key, "-e", "pem", "-o", path)
    assert done.exit_code == 0, done.output
    return path


def make_image(
    folder: Path, *options: Any, key: Path | None = None, version: str = "1.2.3", body: bytes = bytes(range(256)) * 40
) -> Path:
    """A new image file around `body`, signed by `key`; `options` go to ``imgtool sign``."""
    number = next(_numbers)
    plain, path = folder / f"body-{number}.bin", folder / f"app-{number}.signed.bin"
    plain.write_bytes(body)
    signing = () if key is None else ("--key", key)
    layout = ("--header-size", 0x200, "--pad-header", "--slot-size", SLOT_BYTES, "--align", 8)
    done = run("sign", *layout, "--version", version, *signing, *options, plain, path)
    assert done.exit_code == 0, done.output
    return path


def accepts(path: Path, key: Path | None = None) -> bool:
    """Whether imgtool verifies the file."""
    return run("verify", *(() if key is None else ("--key", key)), path).exit_code == 0
