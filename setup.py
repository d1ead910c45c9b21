"""Stamps a release with the time at which it was built, which `agent.built` reads; all else is in pyproject.toml."""

from __future__ import annotations

import os
import time
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class StampedBuild(build_py):
    """Copies the modules, and writes beside those of the agent when that was."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            # What makes a build reproducible names its time, too (reproducible-builds.org).
            built_s = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
            Path(self.build_lib, "agent", "built_at").write_text(f"{built_s}\n", encoding="ascii")


setup(cmdclass={"build_py": StampedBuild})
