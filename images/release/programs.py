"""Runs the programs that make a release."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from images.release.errors import ReleaseError

LINES: Final = 20
"""Lines at the end of a program's output that an error shows."""


def run(
    argv: Sequence[str],
    failure: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The output of a program. `environment` is added to this process's.

    Raises ReleaseError, which begins with `failure`, if the program is missing or fails.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            check=False,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise ReleaseError(
            f"{failure}: {argv[0]} is missing; docs/contributing/release.md says what a release needs"
        ) from error
    if done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ReleaseError(f"{failure}: " + "\n".join(output[-LINES:]))
    return done.stdout
