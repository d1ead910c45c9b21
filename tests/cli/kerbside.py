"""The real command in a process of its own, as a technician runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("kerbside")


def kerbside(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with further variables in its environment."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("KERBSIDE_")} | environ,
    )


def kerbside_json(*arguments: object, expect: int = 0, **environ: str) -> Any:
    """The one JSON document that it prints with `--json`."""
    done = kerbside(*arguments, "--json", **environ)
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout)
