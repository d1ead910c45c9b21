#!/usr/bin/env python3
"""Which locked versions are behind the newest; `./scripts/check --outdated` runs this, and `.ci/weekly` each week.

The newest is what `./scripts/lock --upgrade` would lock today: within what pyproject.toml asks for, and for the Pythons
that a unit may have. Exits 1 when one is behind.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LOCKS: Mapping[str, tuple[str, ...]] = {
    "agent": ("pyproject.toml",),
    "dev": ("pyproject.toml", "--group", "dev"),
    "build": ("--group", "build"),
}
"""What each lock under requirements/ is made of: as in scripts/lock."""


class Behind(NamedTuple):
    """A package whose locked version is not the newest."""

    lock: str
    package: str
    locked: str
    newest: str


def pins(text: str) -> dict[str, str]:
    """Every package of a lock with its version, or versions where a marker chooses."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        found.setdefault(name, []).append(version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def compare(lock: str, locked: Mapping[str, str], newest: Mapping[str, str]) -> list[Behind]:
    """Those of a lock that are behind; what the newest ones do not need any more is not named."""
    return [
        Behind(lock, name, version, newest[name])
        for name, version in sorted(locked.items())
        if name in newest and newest[name] != version
    ]


def resolved(sources: tuple[str, ...]) -> str:
    """What would be locked today.

    :raises SystemExit: the resolver cannot say, and why
    """
    environ = dict(os.environ)
    # What tells pip where packages are, and whom to trust, tells uv, too.
    for theirs, ours in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_CERT", "SSL_CERT_FILE")):
        if theirs in environ:
            environ.setdefault(ours, environ[theirs])
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "newest.lock"
        command = [ROOT / ".venv/bin/uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        command += ["--upgrade", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
        done = subprocess.run(  # noqa: S603 - the locked resolver with our own arguments
            [*command, *sources, "--output-file", lock],
            cwd=ROOT,
            env=environ,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"The newest versions cannot be found out:\n{done.stderr}")
        return lock.read_text(encoding="utf-8")


def main() -> int:
    """Print those that are behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locks", nargs="*", metavar="LOCK", help=f"of {', '.join(LOCKS)}; by default all")
    chosen = parser.parse_args().locks or list(LOCKS)
    behind: list[Behind] = []
    count = 0
    for name in chosen:
        locked = pins((ROOT / f"requirements/{name}.lock").read_text(encoding="utf-8"))
        count += len(locked)
        behind += compare(name, locked, pins(resolved(LOCKS[name])))
    for each in behind:
        print(f"{each.lock:8}{each.package:28}{each.locked:20} newest {each.newest}")
    if not count:
        print("no package is locked: nothing was compared")
        return 1
    print(f"{len(behind)} of {count} locked versions are behind" + (": ./scripts/lock --upgrade" if behind else ""))
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
