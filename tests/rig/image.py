"""The disk of the virtual unit: Debian with the agent's locked wheels, built once and again when one of them changes.

`python -m tests.rig.image` builds it where it is missing. It lies in ~/.cache/kerbside-rig/kerbside (`RIG_OUT` names
another folder); nothing is written into the checkout. Building needs root, the network and about a minute.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
RIG = (ROOT / os.environ.get("KERBSIDE_SHARED", "../shared")).resolve() / "rig"
IMAGE = Path(os.environ.get("RIG_OUT", Path.home() / ".cache/kerbside-rig/kerbside")).resolve()
LOCK = ROOT / "requirements/agent.lock"
WITHOUT_WHEEL = re.findall(r"^sdists=\((.*)\)$", (ROOT / "scripts/board-wheels").read_text(), re.MULTILINE)[0].split()
"""What its author never packed as a wheel."""
GUEST = {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux"}
"""What the markers of the lock ask of Debian 12's Python."""
PLATFORMS = ["manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 37))]
"""What Debian 12's C library (2.36) runs."""
PROGRAMS = "ffmpeg"
"""What `scripts/setup` installs on a unit and the bare guest has not."""


def missing() -> str:
    """Why there can be no virtual unit here; empty when there can."""
    if not (RIG / "rig.py").exists():
        return f"what starts a virtual unit is not at {RIG}: KERBSIDE_SHARED names the folder that holds rig/"
    if absent := [name for name in ("qemu-system-x86_64", "qemu-img", "ssh", "rsync") if shutil.which(name) is None]:
        return f"{', '.join(absent)} not installed: `./scripts/test --rig` installs what a virtual unit needs"
    return ""


def built() -> bool:
    """Whether the image is there, and of the very wheels that are locked."""
    told = IMAGE / "built-from"
    return (IMAGE / "base.ext4").exists() and told.exists() and told.read_text() == _fingerprint()


def load() -> Any:
    """The rig's own module, told where the image lies."""
    os.environ["RIG_OUT"] = str(IMAGE)
    if str(RIG) not in sys.path:
        sys.path.append(str(RIG))
    return importlib.import_module("rig")


def build() -> None:
    """Download the wheels, bake them into an image, and put it in the place of the old one.

    :raises subprocess.CalledProcessError: a step failed; what it said is on standard error
    """
    IMAGE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheels.", dir=IMAGE) as folder:
        wheels, requirements = Path(folder) / "wheels", Path(folder) / "requirements.txt"
        requirements.write_text("\n".join(_download(wheels)))
        told = {"RIG_OUT": str(IMAGE), "RIG_WHEELS": str(wheels), "RIG_REQS": str(requirements), "RIG_DISK": "4G"}
        (IMAGE / "built-from").unlink(missing_ok=True)
        subprocess.run([RIG / "build-image"], env={**os.environ, **told}, stdout=sys.stderr, check=True)
    try:
        _add_programs()
    except subprocess.CalledProcessError as error:
        # Where no file system can be mounted; the tests that need them are skipped.
        print(f"The virtual unit is without {PROGRAMS}: {error}", file=sys.stderr)
    (IMAGE / "built-from").write_text(_fingerprint())


def _fingerprint() -> str:
    sources = [LOCK, RIG / "build-image", *sorted((RIG / "guest").iterdir())]
    content = b"".join(source.read_bytes() for source in sources) + PROGRAMS.encode()
    return hashlib.sha256(content).hexdigest()


def _download(wheels: Path) -> list[str]:
    """Fill a folder with the wheels of the lock for the guest's Python, whatever Python this is; what they are."""
    wheels.mkdir()
    names, entries, sources = list[str](), list[str](), list[str]()
    for entry in re.split(r"^(?=[\w.-]+==)", LOCK.read_text(), flags=re.MULTILINE)[1:]:
        first, rest = entry.split("\\\n", 1)
        wanted = Requirement(first)
        if wanted.marker is None or wanted.marker.evaluate(GUEST):
            pinned = f"{wanted.name}{wanted.specifier}"
            names.append(pinned)
            (sources if wanted.name in WITHOUT_WHEEL else entries).append(f"{pinned} \\\n{rest}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    (wheels / "binary.txt").write_text("".join(entries))
    (wheels / "source.txt").write_text("".join(sources))
    guest = ["--python-version", "3.11", *(word for platform in PLATFORMS for word in ("--platform", platform))]
    fetch = [*pip, "download", "--no-deps", "--dest", str(wheels), "--only-binary", ":all:", *guest]
    make = [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), "--use-pep517", "--no-build-isolation"]
    # Without a compiler, as on a board: what comes of it is for any Python.
    without_compiler = {**os.environ, "CC": "false"}
    for command in (
        [*fetch, "--require-hashes", "--requirement", str(wheels / "binary.txt")],
        [*make, "--require-hashes", "--requirement", str(wheels / "source.txt")],
        [*fetch, "pip"],
    ):
        subprocess.run(command, env=without_compiler, stdout=sys.stderr, check=True)
    return names


def _add_programs() -> None:
    """Install Debian's own programs into the image, as root of the host and at its speed."""
    with tempfile.TemporaryDirectory(prefix="root.") as root, _mounted(Path(root)) as inside:
        shutil.copy("/etc/resolv.conf", inside / "etc/resolv.conf")
        script = f"apt-get update && apt-get install --yes --no-install-recommends {PROGRAMS} && apt-get clean"
        with (IMAGE / "build.log").open("ab") as log:
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["chroot", inside, "sh", "-c", script], env=quiet, stdout=log, stderr=log, check=True)


@contextmanager
def _mounted(root: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-o", "loop", IMAGE / "base.ext4", root], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", root], check=True)


def main() -> None:
    """Build the image unless there is nothing to do, and say so on standard error."""
    if why := missing():
        print(why, file=sys.stderr)
    elif not built():
        print(f"Building the image of the virtual unit in {IMAGE}", file=sys.stderr)
        if os.geteuid() != 0:
            sys.exit(
                "Building it needs root: run `sudo ./scripts/test --rig` once, or set RIG_OUT to one that is built."
            )
        build()


if __name__ == "__main__":
    main()
