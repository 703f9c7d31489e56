"""Runs a step program for a source as a child process with a deadline.

In a child process, because a source's library may hang or leak, and the controller must not.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.step_program import folder_options, read_text, write_credentials
from steps.model.contract import TERMINATION_LOG_ENV
from steps.runtime import guard, proxy
from steps.runtime.program import PLAN

WORDS: Final = "words"
CREDENTIALS: Final = "credentials"
MEMORY: Final = 192 << 20
"""Bytes of memory for a program, which needs about 60 MiB. A hostile source may answer without end, and the
container's limit is for the controller and all of its children together.
"""


@dataclass(frozen=True)
class ProbeResult:
    """How the program ended: its exit code and its last message."""

    code: int
    words: str


@contextmanager
def request_folder(plan: str, credentials: Mapping[str, bytes]) -> Iterator[Path]:
    """A temporary private folder with a request and its credentials, for a `with` block."""
    with tempfile.TemporaryDirectory(prefix="vmferry-source-") as name:  # 0700
        folder = Path(name)
        write_credentials(folder / CREDENTIALS, credentials)
        (folder / PLAN).write_text(plan, encoding="utf-8")
        yield folder


def run_program(program: str, folder: Path, seconds: float, *arguments: str) -> ProbeResult | None:
    """Run a program such as `steps.verify` over a desk; None after `seconds` without an end."""
    words = folder / WORDS
    words.touch()
    # -P: the working directory holds no modules of ours.
    command = [sys.executable, "-P", "-m", program]
    command += folder_options(
        request=folder, scratch=folder, credentials=folder / CREDENTIALS, outputs=folder
    )
    command += arguments
    # openstacksdk cannot be imported without a home, and our user has none.
    environment = {
        **proxy.environment_variables(),  # only the controller's children use the proxy
        **guard.variables(),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        TERMINATION_LOG_ENV: str(words),
    }
    # Nobody reads its output, and a hostile source may cause much of it.
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY, MEMORY))
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    return ProbeResult(
        process.returncode, read_text(words) or f"{program} ended with exit code {process.returncode}"
    )
