"""The environment of the services: exact versions from requirements.txt, and the plug-ins of this folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from .layout import CACHE, HERE, VENV, StackError
from .say import say

_REQUIREMENTS: Final = HERE / "requirements.txt"
_PLUGINS: Final = HERE / "plugins"

_SUDO: Final = """\
#!/bin/sh
# The services run as root already and call sudo for their rootwrap.
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
"""


def ensure() -> None:
    """Build what has changed since the last build; the services must not run.

    Raises:
        StackError: pip failed.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    key = fingerprint([_REQUIREMENTS]) + sys.version
    if _done("packages") != key:
        say("installing the services, once: about 80 s")
        _built()
        _note("packages", key)
        _note("plugins", "")
    key = fingerprint(plugin_files())
    if _done("plugins") != key:
        say("installing the plug-ins")
        _pip(["--no-deps", "--no-build-isolation", "--force-reinstall", str(_PLUGINS)])
        _note("plugins", key)


def fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def plugin_files() -> list[Path]:
    return sorted([*_PLUGINS.glob("*.py"), *_PLUGINS.glob("*/*.py"), _PLUGINS / "pyproject.toml"])


def _built() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(VENV)])
    _pip(["--no-deps", "--require-hashes", "-r", str(_REQUIREMENTS)])
    sudo = VENV / "bin" / "sudo"
    sudo.write_text(_SUDO)
    sudo.chmod(0o755)


def _pip(arguments: Sequence[str]) -> None:
    _run([str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *arguments])


def _run(argv: Sequence[str]) -> None:
    # variables for the caller's Python must not point pip to its packages
    around = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(argv, env=around, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"{' '.join(argv[:3])} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _done(name: str) -> str:
    """What it was last built from; empty if it does not exist."""
    try:
        return (VENV / f"{name}.done").read_text()
    except FileNotFoundError:
        return ""


def _note(name: str, key: str) -> None:
    (VENV / f"{name}.done").write_text(key)
