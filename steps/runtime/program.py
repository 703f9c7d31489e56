"""The frame of a step program: arguments, signals, logging, exit code and termination message."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import structlog

from steps.model.contract import (
    CREDENTIALS,
    LAST_WORDS_LIMIT,
    OUTPUTS,
    REQUEST,
    SCRATCH,
    TARGET,
    TERMINATION_LOG,
    TERMINATION_LOG_ENV,
    Exit,
    StepError,
    Stopped,
)
from steps.model.guest import GUEST, Guest
from steps.model.machine import Machine
from steps.model.plan import Plan
from steps.model.volumes import VOLUMES, Volumes
from steps.runtime import deadline, guard
from steps.runtime.stop import Stop

log = structlog.get_logger()

PLAN: Final = "plan.json"
MACHINE: Final = "machine.json"
PARENT_ENV: Final = "VMFERRY_PARENT"
"""The embedded runner's pid: a step stops if its runner was killed, as a pod's container would."""
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class Arguments(argparse.ArgumentParser):
    """The command line of a step: options for the folders of the contract, and the step's own options.

    A wrong command line is a permanent error: INVALID (10), not argparse's 2.
    """

    def __init__(self, name: str, description: str, *, epilog: str = "") -> None:
        super().__init__(
            prog=f"python -m steps.{name}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        folders = self.add_argument_group("folders (in a pod they are at the defaults)")
        folders.add_argument(
            "--request", type=Path, default=REQUEST, metavar="DIR", help="plan.json and machine.json"
        )
        folders.add_argument("--scratch", type=Path, default=SCRATCH, metavar="DIR", help="bulk data")
        folders.add_argument("--credentials", type=Path, default=CREDENTIALS, metavar="DIR")
        folders.add_argument("--into", type=Path, default=TARGET, metavar="DIR", help="directory target")
        folders.add_argument("--outputs", type=Path, default=OUTPUTS, metavar="DIR", help="small results")

    def error(self, message: str) -> NoReturn:
        raise StepError(Exit.INVALID, f"{self.prog}: {message}", remedy=f"see {self.prog} --help")


class Context:
    """What every step can use: its arguments, the stop flag, and the request, which is read on demand."""

    def __init__(self, arguments: argparse.Namespace, stop: Stop) -> None:
        self.arguments = arguments
        self.stop = stop

    @property
    def request(self) -> Path:
        return Path(self.arguments.request)

    @property
    def scratch(self) -> Path:
        return Path(self.arguments.scratch)

    @property
    def credentials(self) -> Path:
        return Path(self.arguments.credentials)

    @property
    def into(self) -> Path:
        return Path(self.arguments.into)

    @property
    def outputs(self) -> Path:
        return Path(self.arguments.outputs)

    def plan(self) -> Plan:
        """The request. Raises StepError (INVALID) if it is missing or malformed."""
        return Plan.load(self.request / PLAN)

    def machine(self) -> Machine:
        """The VM as preflight found it. Raises StepError (INVALID) if it is missing or malformed."""
        return Machine.load(self.request / MACHINE)

    def guest(self) -> Guest | None:
        """What an inspection found on the disks; None if there was none, and in a cluster.

        Raises:
            StepError: INVALID, when the document is malformed.
        """
        path = self.request / GUEST
        return Guest.load(path) if path.exists() else None

    def volumes(self) -> Volumes | None:
        """The names that `admit` chose for the volumes.

        None if there are none: for a folder, and in a run that an earlier version began.

        Raises:
            StepError: INVALID, when the document is malformed.
        """
        path = self.request / VOLUMES
        return Volumes.load(path) if path.exists() else None


def run(arguments: Arguments, body: Callable[[Context], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a step and exit with the exit code of the contract; never returns."""
    configure_logging()
    stop = Stop()
    stop.on_signals()
    follow_parent(stop)
    sys.exit(run_body(arguments, body, argv, stop))


def follow_parent(stop: Stop) -> None:
    """Stop when the runner that started this step is killed (prctl(2), PR_SET_PDEATHSIG).

    Not by SIGTERM, because a second SIGTERM ends the step at once: the kernel sends this signal whenever a
    thread of the runner dies and the step passes to the next one, hence more than once.
    """
    parent = os.environ.get(PARENT_ENV)
    if parent is None:
        return
    signal.signal(signal.SIGHUP, lambda *_: stop.set(signal.SIGTERM))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != int(parent):  # it died before prctl
        stop.set(signal.SIGTERM)


def run_body(
    arguments: Arguments, body: Callable[[Context], None], argv: Sequence[str] | None, stop: Stop
) -> Exit:
    """As `run`, but returns the exit code; the termination message is already written."""
    try:
        guard.install()
        deadline.start()
        body(Context(arguments.parse_args(argv), stop))
    except StepError as error:
        write_termination_message(str(error))
        return error.code
    except Stopped:
        write_termination_message("stopped on request; progress is kept and the next attempt resumes")
        return Exit.STOPPED
    except Exception as error:
        log.exception("fault in vmferry")
        write_termination_message(
            f"a fault in vmferry itself: {type(error).__name__}: {error}; please report it with this log"
        )
        return Exit.INTERNAL
    return Exit.DONE


def write_termination_message(line: str) -> None:
    """Report why the step ends: in the log and in Kubernetes' termination message (at most 4096 bytes)."""
    line = " ".join(line.split())
    log.error(line)
    text = line.encode(errors="replace")[: LAST_WORDS_LIMIT - 1].decode(errors="ignore")
    path = Path(os.environ.get(TERMINATION_LOG_ENV, TERMINATION_LOG))
    if path.is_file() or TERMINATION_LOG_ENV in os.environ:
        with contextlib.suppress(OSError):  # the exit code must get through anyway
            path.write_text(text + "\n", encoding="utf-8")


def configure_logging() -> None:
    """One JSON object per line on standard error, also for the records of libraries."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
