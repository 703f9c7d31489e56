"""qemu-img: info, check, compare, measure, convert, dd. Formats are always named, never guessed.

A guessed format lets the author of the disk choose how it is read: a raw disk whose first bytes are a
qcow2 header with a backing file would show the host's files (CVE-2024-32498 in OpenStack).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steps.disk import self_contained
from steps.disk.faults import FREE_SPACE_REMEDY
from steps.model.contract import Exit, StepError
from steps.runtime.stop import Stop

_PROGRESS: Final = re.compile(rb"\((\d+\.\d+)/100%\)")
_NODE: Final = re.compile(r"json:\{.*\}\}")
"""An image's name that `_image` makes, in qemu-img's messages."""
_NO_ROOM: Final = ("No space left on device", "Disk quota exceeded")
_DIFFERENT: Final = 1
"""qemu-img compare: 0 is identical, 1 different, more is an error (qemu-img(1)); 1 is also how it ends
when it cannot begin, for want of open files for example (tests/real/disk/test_qemu.py): the word decides."""
_MISMATCH: Final = "mismatch"
_LEAKS: Final = 3
"""qemu-img check: leaked clusters only, no damage (qemu-img(1))."""
_NO_CHECKS: Final = 63
"""qemu-img check: the format has none (qemu-img(1)). Of raw there is nothing to check; what a VHD says of its
own length is looked at whenever it is opened (block/vpc.c, vpc_open)."""
_MAX_ERROR_CHARS: Final = 600
"""Most characters of qemu-img's output in an error: check has a line for every damaged entry."""
_STOP_CHECK_SECONDS: Final = 0.1
"""Seconds between two checks of the stop flag."""
_LIBC: Final = ctypes.CDLL(None)  # loaded before any fork: nothing may be looked up after it
_LOCKED: Final = re.compile(r'Failed to get (shared )?"[\w ]+" lock')
"""Another process has opened the image (block/file-posix.c, raw_check_lock_bytes)."""
_LOCK_SECONDS: Final = 30.0
"""How long the qemu-img of a killed step may take to end, while the kernel still writes for it."""
_MORE_MEMORY: Final = "vmferry retries; if this happens each time, give the step more memory"
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True)
class Info:
    """The result of `qemu-img info` for a self-contained image. Sizes in bytes."""

    format: str
    virtual_size: int
    actual_size: int


@dataclass(frozen=True)
class Measure:
    """Bytes an image needs in a format: now, and when it is full."""

    required: int
    fully_allocated: int


class ImageInUseError(StepError):
    """Another process holds the lock of an image, so nothing was read or written."""


def info(path: Path, image_format: str) -> Info:
    """Inspect an image, and refuse it if a part of its content is in other files.

    Raises:
        StepError: CORRUPT if it is not such an image, UNSUPPORTED if it depends on other files.
    """
    _refuse_by_header(path, image_format)
    report = _run_json("info", path, *_image(path, image_format))
    _refuse_other_files(path, report)
    return Info(report["format"], report["virtual-size"], report.get("actual-size", 0))


def check(path: Path, image_format: str) -> None:
    """Prove that an image's own tables are consistent and lead to bytes of the file.

    Leaked clusters are no damage; a format without such checks passes.

    Raises:
        StepError: CORRUPT.
    """
    result = _run("check", *_image(path, image_format))
    if result.returncode not in (0, _LEAKS, _NO_CHECKS):
        raise _failure("check", path, result.stderr or result.stdout, result.returncode)


def compare(a: Path, a_format: str, b: Path, b_format: str) -> bool:
    """Whether two disks hold the same bytes; their lengths may differ if the rest is zero.

    Raises:
        StepError: one of them cannot be read.
    """
    *first_format, first = _image(a, a_format)
    *second_format, second = _image(b, b_format, option="-F")
    result = _run("compare", *first_format, *second_format, first, second)
    different = result.returncode == _DIFFERENT and _MISMATCH in result.stdout
    if result.returncode and not different:
        raise _failure("compare", a, result.stderr, result.returncode)
    return not different


def measure(path: Path, image_format: str, target_format: str) -> Measure:
    """How large an image becomes in the format `target_format`. Raises StepError as `info` does."""
    report = _run_json("measure", path, "-O", target_format, *_image(path, image_format))
    return Measure(report["required"], report["fully-allocated"])


def read_head(path: Path, image_format: str, count: int) -> bytes:
    """The first bytes of the disk in an image, at most `count`. Check the image by `info` before.

    Unless it is raw, a file next to it is written for a moment.

    Raises:
        StepError: CORRUPT; NO_SPACE.
    """
    if image_format == "raw":
        with path.open("rb") as file:
            return file.read(count)
    head = path.with_name(path.name + ".head")
    *options, name = _image(path, image_format)
    options += ["-O", "raw", f"bs={count}", "count=1"]
    try:
        result = _run("dd", *options, f"if={name}", f"of={_absolute_name(head)}")
        if result.returncode:
            raise _failure("dd", path, result.stderr, result.returncode)
        return head.read_bytes()
    finally:
        head.unlink(missing_ok=True)


def cover(path: Path, image_format: str, layer: Path, size: int) -> None:
    """Write an empty qcow2 image over a disk, so that it has `size` bytes. The disk is only read.

    Raises:
        StepError: NO_SPACE; INTERNAL.
    """
    argv = ["-f", "qcow2", "-F", image_format, "-b", str(path.absolute()), str(layer.absolute()), str(size)]
    result = _run("create", *argv)
    if result.returncode:
        raise _failure("create", path, result.stderr, result.returncode)


def convert(
    source: Path,
    source_format: str,
    target: Path,
    target_format: str,
    *,
    report: Callable[[int, int], None],
    stop: Stop,
) -> None:
    """Convert a self-contained image; `target` appears when it is complete.

    Raises:
        StepError: as `info` and `check`; NO_SPACE, with the partial file removed, as it is of no use later.
        Stopped: likewise.
    """
    size = info(source, source_format).virtual_size
    check(source, source_format)  # or what lies behind the end of a file that is cut short becomes zeros
    partial = target.with_name(target.name + ".partial")
    # No ulimit -v: qemu-img's threads need address space, not memory, and abort without it.
    argv = [
        "convert",
        "-p",
        "-O",
        target_format,
        *_image(source, source_format),
        _absolute_name(partial),
    ]
    try:
        _run_with_progress(argv, target, lambda fraction: report(round(size * fraction), size), stop)
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def create_overlay(overlay: Path, base: Path, base_format: str) -> None:
    """Create an empty qcow2 image that shows the disk of `base`, in the same folder, until it is written to.

    The name of the base in it is relative, so the folder can be mounted elsewhere.

    Raises:
        StepError: NO_SPACE; CORRUPT.
    """
    names = ["-b", base.name, "-F", base_format, _absolute_name(overlay)]
    result = _run("create", "-q", "-f", "qcow2", *names)
    if result.returncode:
        overlay.unlink(missing_ok=True)
        raise _failure("create", overlay, result.stderr, result.returncode)
    _sync(overlay)
    _sync(overlay.parent)


def changed_bytes(overlay: Path) -> int:
    """Bytes of data in an overlay of `create_overlay`. Blocks that are zero there have none.

    Raises:
        StepError: CORRUPT.
    """
    result = _run("map", "--output=json", *_image(overlay, "qcow2"))
    if result.returncode:
        raise _failure("map", overlay, result.stderr, result.returncode)
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return sum(row["length"] for row in rows if row["depth"] == 0 and row["data"])


def commit(
    overlay: Path, base: Path, base_format: str, *, report: Callable[[float], None], stop: Stop
) -> None:
    """Write an overlay of `create_overlay` into its base. The overlay stays, so this can be repeated.

    A kill leaves the base damaged until a repetition has ended. Then it is the same as without the kill, but
    for leaked clusters, which are freed here.

    The qemu-img of a killed step may still be ending and hold the lock. It gets some time for that.

    Raises:
        StepError: NO_SPACE, CORRUPT or INTERNAL; ImageInUseError, if another process keeps the disk open.
        Stopped: likewise.
    """
    argv = ["commit", "-p", "-d", *_image(overlay, "qcow2")]
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            _run_with_progress(argv, base, report, stop, verb="commit")
            break
        except ImageInUseError:
            if time.monotonic() > end:
                raise
            stop.sleep(_STOP_CHECK_SECONDS)
    if base_format == "qcow2":
        result = _run("check", "-q", "-r", "leaks", *_image(base, base_format))
        if result.returncode not in (0, _LEAKS):
            raise _failure("check", base, result.stderr or result.stdout, result.returncode)
    _sync(base)
    _sync(base.parent)


def _run_with_progress(
    argv: Sequence[str],
    target: Path,
    report: Callable[[float], None],
    stop: Stop,
    *,
    verb: str = "convert",
) -> None:
    """Run qemu-img to its end or to a stop, and report its progress."""
    with _start_qemu_img(argv) as process:
        output = bytearray()
        while process.poll() is None:
            stop.check()
            _read_some(process, output)
            percentages = _PROGRESS.findall(output[-64:])
            if percentages:
                report(float(percentages[-1]) / 100)
        _read_some(process, output)
        if process.returncode:
            message = _PROGRESS.sub(b"", output).decode(errors="replace")
            raise _failure(verb, target, message, process.returncode)
        report(1)


def _die_with_parent() -> None:
    """Between fork and exec: qemu-img ends with a killed step; it would otherwise continue to write.

    PR_SET_PDEATHSIG of prctl(2); in a pod the container's end does the same.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _start_qemu_img(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["qemu-img", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - a step that runs qemu-img has one thread
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _read_some(process: subprocess.Popen[bytes], output: bytearray) -> None:
    """Add what the process printed within the next moment."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_CHECK_SECONDS)
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    os.set_blocking(process.stdout.fileno(), False)
    output += process.stdout.read() or b""


def _refuse_by_header(path: Path, image_format: str) -> None:
    """Refuse an image whose first bytes refer to other files: QEMU may open these at once.

    vmdk: QEMU treats data without a sparse extent's magic as text, and also an extent of capacity 0
    (block/vmdk.c, vmdk_open and vmdk_open_vmdk4).
    """
    try:
        with path.open("rb") as file:

            def read(offset: int, count: int) -> bytes:
                return os.pread(file.fileno(), count, offset) if offset < 1 << 62 else b""

            self_contained.check(image_format, read, size=path.stat().st_size, name=path.name)
            head = read(0, 20).ljust(20, b"\0")
    except OSError:
        return  # qemu-img reports what is wrong
    is_text = not head.startswith(b"KDMV") or not any(head[12:20])
    if image_format == "vmdk" and is_text:
        raise _incomplete_image(path, "it is not a sparse VMDK: the data of a descriptor is in other files")


def _refuse_other_files(path: Path, report: dict[str, Any]) -> None:
    """Refuse backing files, external data files, and extents in files other than the image."""
    specific = report.get("format-specific", {}).get("data", {})
    extents = [extent.get("filename") for extent in specific.get("extents", [])]
    references = [
        report.get("backing-filename"),
        report.get("full-backing-filename"),
        specific.get("data-file"),
    ]
    references += [name for name in extents if name and Path(name).name != path.name]
    reference = next(filter(None, references), None)
    if reference:
        raise _incomplete_image(path, f"it refers to {reference}")


def _incomplete_image(path: Path, why: str) -> StepError:
    remedy = "export it without snapshots, as one file"
    return StepError(Exit.UNSUPPORTED, f"{path.name} is not a whole disk", why, remedy)


def _run_json(verb: str, path: Path, *argv: str) -> dict[str, Any]:
    result = _run(verb, "--output=json", *argv)
    if result.returncode:
        raise _failure(verb, path, result.stderr, result.returncode)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def _run(verb: str, *argv: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["qemu-img", verb, *argv], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise StepError(Exit.INVALID, "qemu-img is not installed", remedy="install qemu-utils") from None


def _image(path: Path, image_format: str, *, option: str = "-f") -> list[str]:
    """The arguments for an image: the option with its format, then its name.

    A VHD has two sizes, which may differ. qemu-img chooses by the program that wrote the image (block/vpc.c,
    vpc_open), in another way in each version: the end of a disk would be missing, or its size would not be
    the one that preflight has found (`steps.disk.virtual_size`).
    """
    if image_format != "vpc":
        return [option, image_format, _absolute_name(path)]
    node = {
        "driver": "vpc",
        "force_size_calc": "current_size",
        "file": {"driver": "file", "filename": _absolute_name(path)},
    }
    return [f"json:{json.dumps(node)}"]


def _absolute_name(path: Path) -> str:
    """An absolute name: QEMU would treat the text before a colon in a relative one as a protocol."""
    return str(path.absolute())


def _failure(verb: str, path: Path, output: str, returncode: int) -> StepError:
    why = " ".join(_NODE.sub(path.name, output).replace("qemu-img: ", "").split())
    why = why if len(why) <= _MAX_ERROR_CHARS else f"{why[:_MAX_ERROR_CHARS]} ..."
    if returncode < 0:  # not the image's fault: the cause of the kill may have ended
        what = f"qemu-img {verb} was killed by {signal.Signals(-returncode).name} while it read {path.name}"
        return StepError(Exit.INTERNAL, what, why, _MORE_MEMORY)
    if _LOCKED.search(output):
        remedy = "end the program that uses the disk, then retry"
        return ImageInUseError(Exit.INTERNAL, f"another program uses {path.name}", why, remedy)
    if any(text in output for text in _NO_ROOM):
        free = os.statvfs(path.parent)
        why = f"{why}; {free.f_bavail * free.f_frsize} bytes are free"
        return StepError(Exit.NO_SPACE, f"no room for {path}", why, FREE_SPACE_REMEDY)
    return StepError(Exit.CORRUPT, f"qemu-img {verb} refuses {path.name}", why)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
