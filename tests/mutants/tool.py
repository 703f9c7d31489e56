"""All that is used of mutmut. Its functions want the copy of the tree as working directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name

STOP_SECONDS = 10
"""How long mutmut may take to stop its workers; it kills them at once."""
_OURS = ("VMFERRY_GOLDEN", "VMFERRY_E2E", "VMFERRY_FUZZ_SECONDS")
"""Variables that change what the tests do."""


def names(module: str) -> list[str]:
    """The names of all mutants of a module."""
    mutated = mutate_file_contents(module, Path(module).read_text(encoding="utf-8"))
    return [get_mutant_name(Path(module), name) for name in mutated.mutant_names]


def verdicts(module: str) -> dict[str, str]:
    """The verdict on each mutant of a module that was made: killed, survived, timeout, not checked ..."""
    data = SourceFileMutationData(path=module)
    data.load()
    return {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}


def diff(module: str, name: str) -> str:
    return str(get_diff_for_mutant(name, path=module))


@contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Nothing that mutmut started is left, however the block ends."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(tree: Path, log: Path, jobs: int, chosen: Sequence[str]) -> int:
    """Test the chosen mutants, or all; the exit code of mutmut.

    It is the leader of its own process group, so that Ctrl-C reaches this program only.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _OURS}
    environment["PYTHONPATH"] = str(tree / "mutants")
    argv = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(jobs), *chosen]
    shown = None if sys.stdout.isatty() else log.open("wb")
    process = subprocess.Popen(
        argv,
        cwd=tree,
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=shown,
        stderr=subprocess.STDOUT,
    )
    with _stopping(process):
        return process.wait()
