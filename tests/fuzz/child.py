"""The process in which a parser is fuzzed: `python -m tests.fuzz.child PARSER ROOT LIMIT SEED`.

LIMIT is `60s` or `500n` (cases). ROOT gets the folder in which the parser may work, the canaries, the running
case (in case the process dies of it), the faults and `report.json`. setrlimit(2) limits the memory that the
process may use after its start: RLIMIT_DATA and not RLIMIT_AS, as the stacks and arenas of threads use
address space but no memory.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from tests.fuzz import cover
from tests.fuzz.case import Case, Parser
from tests.fuzz.guard import Guard, Outside
from tests.fuzz.parsers import COVERS, parser_of

if TYPE_CHECKING:
    from _typeshed import HasFileno

MEMORY: Final = 192 << 20
"""Bytes in addition to those in use before the first case."""
HANGS: Final = 60
"""Time limit in seconds for a case, which normally takes milliseconds."""
FAULTS: Final = 10
"""The run ends after this number of different faults."""
LINE: Final = 4096
"""The maximum length in bytes of an error's line: that of a pod's termination message."""


_NAMED: Final = re.compile(r"'.*'|\".*\"|/\S+/\S*")
DEATHS: Final[list[str]] = []
"""Errors that ended threads during the case."""


class Hangs(BaseException):
    """A case takes far too long."""


@dataclass
class Report:
    """The findings of a run. `outcomes` and `opinions` are counted by their words, `memory` is in bytes."""

    cases: int = 0
    seconds: float = 0.0
    memory: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    opinions: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    """By file: the failure of that case."""
    reached: int = 0
    branches: int = 0
    missing: tuple[str, ...] = ()


class Runner:
    """Runs cases of one parser."""

    def __init__(self, parser: Parser, root: Path) -> None:
        self._parser = parser
        self._root = root
        self._folder = root / "scratch"
        self._folder.mkdir()
        canaries = root / "canary"
        canaries.mkdir()
        for name in ("parent.vmdk", "flat.vmdk", "two.vmdk", "secret"):
            (canaries / name).write_bytes(b"canary".ljust(1 << 16, b"\0"))
        self._guard = Guard(self._folder, canaries, parser.programs)
        self.report = Report()
        self._kinds: set[str] = set()

    def run(self, case: Case) -> None:
        """Run one case: its outcome is counted; a forbidden one is saved as a fault."""
        case.save(self._root / "current.case")
        _empty(self._folder)
        DEATHS.clear()
        self.report.cases += 1
        try:
            with _in_time():
                self._one(case)
        except (Exception, Hangs, Outside) as error:
            self._fault(case, error)

    def _one(self, case: Case) -> None:
        from steps.model.contract import StepError  # noqa: PLC0415 - to be imported while branches are counted

        threads = threading.active_count()
        outcome = refused = ""
        with self._guard.watching():
            try:
                outcome = self._parser.run(case, self._folder)
            except StepError as error:
                refused = _reason(error)
        assert not self._guard.seen, f"outside its folder: {self._guard.seen[:3]}"
        assert not DEATHS, "a thread died"
        assert threading.active_count() == threads, "a thread outlives the case"
        self.report.outcomes[outcome or f"refused: {refused}"] += 1
        assert not (refused and case.options.get("valid")), f"a valid input is refused: {refused}"
        if not refused:
            self.report.opinions[self._parser.judge(case, self._folder, outcome) or "not asked for"] += 1
            leans = self._guard.canaries()
            assert not leans, f"accepted, but qemu-img looks into other files: {leans[:3]}"

    def _fault(self, case: Case, error: BaseException) -> None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} {last.filename}:{last.lineno}"
        self.report.outcomes[f"FAULT: {kind}"] += 1
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        path = self._root / "faults" / f"{self._parser.name}-{self.report.cases}.case"
        case.save(path)
        details = "".join([*traceback.format_exception(error), *DEATHS, *self._guard.seen])
        self.report.faults[path.name] = details[-6000:]


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def _reason(error: Exception) -> str:
    """The kind of a refusal; it must be one printable line with what failed and why."""
    line = str(error)
    assert line, "an error without a word"
    assert line.isprintable(), f"not one printable line: {line!r}"
    assert len(line.encode()) <= LINE, f"an error of {len(line)} characters"
    code: str = error.code.name  # type: ignore[attr-defined]
    what: str = error.what  # type: ignore[attr-defined]
    return f"{code} {re.sub(r'[0-9]+', 'N', _NAMED.sub('NAME', what))}"[:110]


@contextmanager
def _in_time() -> Iterator[None]:
    signal.alarm(HANGS)
    try:
        yield
    finally:
        signal.alarm(0)


def _hangs(number: int, frame: FrameType | None) -> None:
    others = [
        "".join(traceback.format_stack(stack))
        for thread, stack in sys._current_frames().items()
        if thread != threading.get_ident()
    ]
    raise Hangs(f"more than {HANGS} s; the other threads: {' '.join(others) or 'none'}")


def _thread_died(event: threading.ExceptHookArgs) -> None:
    DEATHS.append("".join(traceback.format_exception(event.exc_value)))


def _memory(key: str) -> int:
    """Bytes, from proc(5)."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def _limit_memory() -> None:
    most, hard = _memory("VmData") + MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _free_qemu(folder: Path) -> None:
    """Put a qemu-img first in PATH that lifts the limit for itself: it aborts if it gets no memory."""
    folder.mkdir()
    free = folder / "qemu-img"
    free.write_text(f'#!/bin/sh\nulimit -S -d "$(ulimit -H -d)" && exec {shutil.which(free.name)} "$@"\n')
    free.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def _nothing(fd: int | HasFileno) -> None:
    """Replaces fsync and fdatasync."""


def _without_the_disk() -> None:
    """These tests do not need fsync."""
    os.fsync = _nothing
    os.fdatasync = _nothing


def fuzz(runner: Runner, parser: Parser, limit: str, seed: str) -> None:
    """Run cases until the limit: each depends only on the seed and its number."""
    amount, began = int(limit[:-1]), time.monotonic()
    while len(runner.report.faults) < FAULTS:
        done = runner.report.cases
        if (done if limit.endswith("n") else time.monotonic() - began) >= amount:
            break
        runner.run(parser.make(random.Random(f"{parser.name} {seed} {done}")))
    runner.report.seconds = time.monotonic() - began


def main(name: str, root: str, limit: str, seed: str) -> None:
    folder = Path(root)
    (folder / "faults").mkdir(exist_ok=True)
    signal.signal(signal.SIGALRM, _hangs)
    threading.excepthook = _thread_died
    modules = COVERS.get(name, {})
    with cover.measured(modules) as meter:
        parser = parser_of(name)
        runner = Runner(parser, folder)
        os.chdir(folder / "scratch")
        _without_the_disk()
        _free_qemu(folder / "programs")
        _limit_memory()
        start = _memory("VmHWM")
        if limit == "replay":
            runner.run(Case.load(Path(seed)))
        else:
            fuzz(runner, parser, limit, seed)
    report = runner.report
    report.memory = _memory("VmHWM") - start
    details = cover.covered(meter, modules, folder)
    report.reached, report.branches, report.missing = details.reached, details.all, details.missing
    (folder / "report.json").write_text(json.dumps(vars(report)))


if __name__ == "__main__":
    main(*sys.argv[1:])
