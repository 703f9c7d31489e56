"""Runs of a step program: what the embedded runner and the controller do in the same way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def folder_options(*, request: Path, scratch: Path, credentials: Path, outputs: Path) -> list[str]:
    """The options of a step that name its folders (`steps.runtime.program.Arguments`)."""
    folders = {"request": request, "scratch": scratch, "credentials": credentials, "outputs": outputs}
    return [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]


def write_credentials(folder: Path, credentials: Mapping[str, bytes]) -> None:
    """Create the folder with a file for each key of the Secret. Only their owner can read them."""
    folder.mkdir(mode=0o700)
    for key, value in credentials.items():
        descriptor = os.open(folder / key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)


def read_text(path: Path) -> str:
    """A small result of a step, such as its termination message; empty if it wrote none."""
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""
