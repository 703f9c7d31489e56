"""Reads the facts about the disks of a VM: starts the child with libguestfs, follows it, and bounds it.

The child opens all disks read-only. It has a session of its own, so that one signal ends it with QEMU. The
appliance, a small VM, is what parses the guest's file systems; the child parses some of its files. Neither is
trusted: what they answer has bounds, and `Facts` checks it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

import steps
from steps.guest.launch import LaunchWatch
from steps.model.contract import Exit, StepError
from steps.model.document import Document, first_error
from steps.model.guest_facts import Count, Facts
from steps.model.printable import printable
from steps.runtime.stop import Stop

SECONDS: Final = 1800.0
"""How long an inspection may take. Without KVM one of an ordinary Linux takes 20 s of a processor."""
MEMORY_MIB: Final = 512
"""Memory of the appliance."""
PYTHONS: Final = (sys.executable, "/usr/bin/python3")
"""Debian has the binding of libguestfs for its own Python only."""
PACKAGES: Final = "python3-guestfs linux-image-cloud-amd64 zstd lz4"
"""What Debian needs (Ubuntu: linux-image-virtual). The appliance runs the kernel of such a package."""
MOST_OUTPUT: Final = 32 << 20
"""Bytes that the child may answer."""
LARGEST_FILE: Final = 8 << 30
"""Bytes of a file that the child, QEMU or the builder of the appliance may write."""
KVM: Final = Path("/dev/kvm")
SETTINGS_ENV: Final = "LIBGUESTFS_BACKEND_SETTINGS"
NO_KVM: Final = "force_tcg"
_TAIL: Final = 1500
"""Bytes of the child's messages that an error shows."""
_PATIENCE: Final = 10.0
"""Seconds that the child has to close libguestfs after SIGTERM."""
_TICK: Final = 0.2
Report = Callable[[int, int, str], None]
"""Gets what is done, of how much, and what is being done."""


@dataclass(frozen=True)
class DiskImage:
    """A disk to inspect. Its format is named, never guessed from what the guest wrote."""

    path: Path
    format: str


@dataclass(frozen=True)
class Edits:
    """What the child changes before it reads. Paths are the guest's."""

    root: str
    files: Sequence[tuple[str, bytes, int]] = ()
    """(path, content, mode)."""
    lines: Sequence[tuple[str, str]] = ()
    """(path, line) that the file gets at its end, unless it has it."""
    links: Sequence[tuple[str, str]] = ()
    """(path, target) of symbolic links."""
    esp: str = ""
    copies: Sequence[tuple[str, str]] = ()
    """Files below EFI on the EFI system partition: (from, to)."""

    def to_json(self) -> dict[str, Any]:
        files = [
            {"path": path, "content": base64.b64encode(content).decode(), "mode": mode}
            for path, content, mode in self.files
        ]
        return {
            "root": self.root,
            "files": files,
            "lines": [list(row) for row in self.lines],
            "links": [list(row) for row in self.links],
            "esp": self.esp,
            "copies": [list(row) for row in self.copies],
        }


class EditFailedError(StepError):
    """A change of the guest's files failed; the disks behind the overlays are as they were."""


class _NotStartedError(Exception):
    """The appliance did not start."""


class _MissingError(Exception):
    """This Python has no binding of libguestfs."""


def read_facts(
    disks: Sequence[DiskImage],
    folder: Path,
    *,
    report: Report,
    stop: Stop,
    seconds: float = SECONDS,
    pythons: Sequence[str] = PYTHONS,
    keys: Mapping[str, str] | None = None,
    edits: Edits | None = None,
) -> Facts:
    """What is on the disks of one VM, which are only read. `folder` is an empty, private folder for the time.

    `keys` are passphrases of LUKS by the name of the device without /dev/, with a dot for each slash, or
    `all`. With `edits` the disks are opened for writing and changed first: give overlays.

    Raises:
        StepError: INVALID, if libguestfs is missing; INTERNAL, if the appliance does not start, or does not
            answer in time; CORRUPT, if the answer exceeds its bounds.
        EditFailedError: UNSUPPORTED or NO_SPACE.
        Stopped: likewise.
    """
    end = time.monotonic() + seconds
    order = {
        "disks": [{"path": str(disk.path.absolute()), "format": disk.format} for disk in disks],
        "folder": str(folder),
        "memory_mib": _memory(),
        **({"keys": dict(keys)} if keys else {}),
        **({"edits": edits.to_json()} if edits is not None else {}),
    }
    kvm = NO_KVM not in os.environ.get(SETTINGS_ENV, "") and KVM.exists()
    for python in dict.fromkeys(pythons):
        if not Path(python).exists():
            continue
        try:
            try:
                return _attempt(python, order, folder, report, stop, end, {})
            except _NotStartedError:
                if not kvm:
                    raise
                # Libguestfs tries no emulation if /dev/kvm opens but does not work.
                report(
                    0, 1, "KVM does not work here; starting again with an emulated processor, which is slower"
                )
                return _attempt(python, order, folder, report, stop, end, {SETTINGS_ENV: NO_KVM})
        except _MissingError:
            continue
        except _NotStartedError as error:
            raise StepError(
                Exit.INTERNAL,
                "the appliance of libguestfs does not start",
                str(error),
                f"check with libguestfs-test-tool; it needs the packages {PACKAGES}",
            ) from None
    raise _not_installed()


def require(pythons: Sequence[str] = PYTHONS) -> None:
    """Raise StepError (INVALID) if libguestfs is missing. It does not start the appliance."""
    for python in dict.fromkeys(pythons):
        argv = [python, "-I", "-c", "import guestfs"]
        if Path(python).exists() and not subprocess.run(argv, capture_output=True, check=False).returncode:
            return
    raise _not_installed()


def _not_installed() -> StepError:
    return StepError(
        Exit.INVALID,
        "libguestfs is not installed",
        "no Python here has its binding",
        f"as root, run: apt-get install {PACKAGES}",
    )


def _attempt(
    python: str,
    order: Mapping[str, Any],
    folder: Path,
    report: Report,
    stop: Stop,
    end: float,
    settings: Mapping[str, str],
) -> Facts:
    with _child(python, folder, settings) as process:
        lines = _Lines(process, stop, end, LaunchWatch(process.pid))
        assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()  # and it stays open: the child ends when this process does
        for line in lines:
            if "started" in line:
                lines.launch = None
            facts = _heard(line, report, lines.tail)
            if facts is not None:
                return facts
        code = process.wait()
    raise _unexpected(code, lines.tail)


def _memory() -> int:
    given = os.environ.get("LIBGUESTFS_MEMSIZE", "")
    return int(given) if given.isdecimal() else MEMORY_MIB


def _heard(line: Mapping[str, Any], report: Report, tail: str) -> Facts | None:
    """What a line of the child means; the facts at its end. `tail`: the end of its messages.

    The child has read hostile disks, so nothing of its lines is trusted.

    Raises:
        StepError: CORRUPT, for a line that cannot be used.
        _MissingError, _NotStartedError: likewise.
    """
    if "progress" in line:
        _report(line["progress"], report)
    elif "facts" in line:
        return _facts(line["facts"])
    elif "failed" in line:
        raise _failure(line["failed"], tail)
    return None


class _Progress(Document):
    """A line about the progress."""

    done: Count
    total: Count
    text: str


def _report(progress: Any, report: Report) -> None:
    try:
        found = _Progress.model_validate(progress)
    except ValidationError as error:
        raise _unusable(f"its progress is not valid: {first_error(error)}") from None
    report(found.done, found.total, printable(found.text[:200], "?"))


def _facts(found: Any) -> Facts:
    try:
        return Facts.model_validate(found)
    except ValidationError as error:
        raise _unusable(f"what was read from them exceeds the bounds: {first_error(error)}") from None


def _unusable(why: str) -> StepError:
    return StepError(Exit.CORRUPT, "the disks cannot be described", why, "vmferry leaves them as they are")


def _failure(failed: Any, tail: str) -> Exception:
    if not isinstance(failed, dict):
        return _unusable("its failure is not valid")
    if failed.get("kind") == "missing":
        return _MissingError(str(failed.get("text", "")))
    text = str(failed.get("text", "")).splitlines()
    if failed.get("kind") == "edit":
        why = " ".join(text)[:500]
        code = Exit.NO_SPACE if "No space left" in why else Exit.UNSUPPORTED
        return EditFailedError(code, "the files of the guest cannot be changed", why)
    return _NotStartedError(" ".join([*text[:1], *tail.splitlines()[-3:]]))


def _unexpected(code: int, tail: str) -> StepError:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return StepError(
        Exit.INTERNAL,
        f"the program that asks libguestfs {how}",
        tail.strip().rpartition("\n")[2],
        "try again; if this happens each time, give it more memory",
    )


class _Lines:
    """The JSON lines of the child, until it closes its output; keeps the end of its messages."""

    def __init__(
        self, process: subprocess.Popen[bytes], stop: Stop, end: float, launch: LaunchWatch | None
    ) -> None:
        self._process = process
        self._stop = stop
        self._end = end
        self.launch = launch
        """While the appliance starts."""
        self._messages = b""

    @property
    def tail(self) -> str:
        return self._messages.decode(errors="replace")

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """The lines.

        Raises:
            StepError: INTERNAL, after the end of the time; CORRUPT, for too long an answer.
            _NotStartedError, Stopped: likewise.
        """
        rest, total = b"", 0
        for chunk in self._chunks():
            total += len(chunk)
            if total > MOST_OUTPUT:
                raise StepError(Exit.CORRUPT, "the disks cannot be described", "the description is too long")
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in map(_parsed, lines) if line is not None)

    def _chunks(self) -> Iterator[bytes]:
        """What the child writes to its standard output."""
        assert self._process.stdout is not None  # noqa: S101 - both were opened as pipes
        assert self._process.stderr is not None  # noqa: S101
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            ready.register(self._process.stderr, selectors.EVENT_READ)
            while self._process.stdout in {key.fileobj for key in ready.get_map().values()}:
                self._stop.check()
                if time.monotonic() > self._end:
                    raise StepError(
                        Exit.INTERNAL,
                        "the inspection took too long",
                        "libguestfs did not answer in time",
                        "try again with more time; a damaged or hostile disk may never be answered",
                    )
                if self.launch is not None and (fault := self.launch.fault()):
                    raise _NotStartedError(" ".join([fault, *self.tail.splitlines()[-3:]]))
                for key, _ in ready.select(_TICK):
                    chunk = os.read(key.fd, 64 << 10)
                    if not chunk:
                        ready.unregister(key.fileobj)
                    elif key.fileobj is self._process.stdout:
                        yield chunk
                    else:
                        self._messages = (self._messages + chunk)[-_TAIL:]


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    """A line of the child; None for anything else that a library prints."""
    if not line.startswith(b"{"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


@contextlib.contextmanager
def _child(python: str, folder: Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    root = Path(steps.__file__).parents[1]
    program = f"import sys; sys.path.append({str(root)!r}); from steps.guest.collect import main; main()"
    process = subprocess.Popen(
        [python, "-I", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(folder, settings),
        start_new_session=True,
        preexec_fn=_limit,  # noqa: PLW1509 - it calls only setrlimit
    )
    try:
        yield process
    finally:
        _end(process)


def _limit() -> None:
    """Between fork and exec: leave no memory dumps, fill no file system."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def _environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Everything temporary goes into `folder`, apart from the folder of a socket, which libguestfs deletes.

    QEMU puts overlays into /var/tmp if TMPDIR is /tmp itself.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ours = {"LC_ALL": "C.UTF-8", "LIBGUESTFS_BACKEND": "direct", "TMPDIR": str(folder)}
    return {**kept, **ours, **settings}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child and everything that it started: QEMU is in its process group.

    QEMU ends at the first signal, and the child then deletes what libguestfs has in /tmp.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
