"""qemu-img: one function for each verb, formats always named, its exit codes as errors.

A format guessed from the content would let a guest choose how its own disk is read (CVE-2008-2004), and an
image that leans on other files could make any file of this machine part of a disk: both are refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steps.contract import Exit, StepError
from steps.stop import Stop

PROGRESS: Final = re.compile(rb"\((\d+\.\d+)/100%\)")
"""What `qemu-img convert -p` prints: `    (12.34/100%)` and a carriage return."""
NO_SPACE: Final = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True)
class Info:
    """What qemu-img says of an image; bytes."""

    format: str
    virtual_size: int
    actual_size: int


def info(path: Path, image_format: str) -> Info:
    """Describe an image that stands by itself.

    Raises:
        StepError: CORRUPT, when it is no such image; UNSUPPORTED, when it leans on other files.
    """
    found = json.loads(_run("info", "--output=json", "-f", image_format, str(path)))
    _refuse_others(path, found)
    return Info(found["format"], found["virtual-size"], found.get("actual-size", 0))


def _refuse_others(path: Path, found: dict[str, Any]) -> None:
    """Backing files, qcow2's external data files and VMDK's extents are all other files."""
    data = found.get("format-specific", {}).get("data", {})
    extents = [extent.get("filename") for extent in data.get("extents", ())]
    others = [found.get("backing-filename"), data.get("data-file")]
    others += [name for name in extents if name != str(path)]
    named = [str(other) for other in others if other]
    if named:
        raise StepError(
            Exit.UNSUPPORTED,
            f"{path.name} leans on another file ({named[0]})",
            remedy="export the disk as one file that stands by itself",
        )


def check(path: Path, image_format: str) -> None:
    """Check an image's own structure.

    Raises:
        StepError: CORRUPT.
    """
    _run("check", "-q", "-f", image_format, str(path))


def compare(first: Path, first_format: str, second: Path, second_format: str) -> bool:
    """Whether two images hold the same bytes (qemu-img(1): exit code 1 says they differ)."""
    argv = ["qemu-img", "compare", "-q", "-f", first_format, "-F", second_format, str(first), str(second)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise _failed("compare", done.returncode, done.stderr)
    return done.returncode == 0


def convert(
    source: Path,
    source_format: str,
    out: Path,
    out_format: str,
    *,
    report: Callable[[int, int], None],
    stop: Stop,
) -> None:
    """Convert an image to another format; `out` appears when it is whole.

    Raises:
        StepError: NO_SPACE; CORRUPT, UNSUPPORTED for the source.
        Stopped: qemu-img is ended and what it wrote removed.
    """
    size = info(source, source_format).virtual_size
    partial = out.with_name(out.name + ".partial")
    argv = ["qemu-img", "convert", "-p", "-f", source_format, "-O", out_format, str(source), str(partial)]
    try:
        with _started(argv) as process:
            for percent in _percents(process):
                report(int(size * percent / 100), size)
                stop.check()
            _end(process)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(out)


@contextlib.contextmanager
def _started(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process for as long as the body runs; it does not outlive an error in it."""
    try:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise _missing() from None
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise _failed("convert", process.returncode, errors.decode(errors="replace"))


def _percents(process: subprocess.Popen[bytes]) -> Iterator[float]:
    """The percentages qemu-img prints, as they come."""
    output = process.stdout.fileno() if process.stdout else -1
    text = b""
    while chunk := os.read(output, 4096):
        text = (text + chunk)[-64:]
        for match in PROGRESS.findall(text):
            yield float(match)


def _run(verb: str, *argv: str) -> str:
    try:
        done = subprocess.run(["qemu-img", verb, *argv], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise _missing() from None
    if done.returncode:
        raise _failed(verb, done.returncode, done.stderr + done.stdout)
    return done.stdout


def _failed(verb: str, code: int, errors: str) -> StepError:
    why = " ".join(errors.replace("qemu-img: ", "").split()) or f"exit code {code}"
    if any(sign in errors for sign in NO_SPACE):
        return StepError(Exit.NO_SPACE, f"qemu-img {verb} ran out of space", why, "make room, then retry")
    if code < 0:
        return StepError(Exit.UNREACHABLE, f"qemu-img {verb} was ended by signal {-code}", why)
    return StepError(Exit.CORRUPT, f"qemu-img {verb} failed", why, "export the disk again")


def _missing() -> StepError:
    return StepError(Exit.INVALID, "qemu-img is missing", remedy="install the package qemu-utils")
