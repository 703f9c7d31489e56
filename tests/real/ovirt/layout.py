"""Where the programs of this suite are: the environment that `tests/prepare.sh ovirt` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
CACHE: Final = ROOT / ".cache" / "ovirt"
BIN: Final = CACHE / "venv" / "bin"
DAEMON: Final = BIN / "ovirt-imageio"
PYTHON: Final = BIN / "python"
"""The Python that has the SDK and the client of ovirt-imageio."""


def is_prepared() -> bool:
    return DAEMON.exists() and PYTHON.exists()
