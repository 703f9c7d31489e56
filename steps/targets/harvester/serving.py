"""How `serve` and `image` of a disk communicate: a secret URL, and a JSON description of the disk.

serve writes the description for image, as only serve mounts the scratch: what is served, and its SHA-512 once
that is computed. image answers by the VirtualMachineImage (see `sibling`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from steps.model.contract import Exit, StepError
from steps.model.document import Document
from steps.model.plan import DiskFormat
from steps.model.scratch import Ready
from steps.runtime import internal_http
from steps.runtime.stop import Stop

PATIENCE: Final = 15 * 60.0
"""Seconds that image and serve wait for each other to appear: quota or parallelism may hold one back."""
POLL: Final = 2.0
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


class ServedDisk(Document):
    """serve's description of the disk. Sizes in bytes."""

    format: DiskFormat
    size: int
    virtual_size: int
    landed: str
    """Changes with the file; known at once."""
    sha512: str = ""
    """Empty while it is being computed."""

    @classmethod
    def of(cls, file: Path, ready: Ready) -> ServedDisk:
        """The description of a finished disk, without digest. Raises StepError (INVALID) without a file."""
        try:
            stat = file.stat()
        except OSError as error:
            raise StepError(
                Exit.INVALID, f"{file.name} is not there", error.strerror or "", "run convert first"
            ) from None
        return cls(
            format=ready.format,
            size=stat.st_size,
            virtual_size=ready.virtual_size,
            landed=f"{stat.st_size}-{stat.st_mtime_ns}",
        )


@dataclass(frozen=True)
class ServedUrl:
    """Where a disk is served. `token` is the secret part: only the target gets it."""

    token: str
    origin: str = ""

    def path(self, disk: str, disk_format: DiskFormat) -> str:
        return f"/{self.token}/{disk}.{disk_format}"

    def description_path(self, disk: str) -> str:
        return f"/{self.token}/{disk}.json"

    def redact(self, text: str) -> str:
        """The text without the token, because others quote the URL in their errors."""
        return text.replace(self.token, "…")


def read_token(path: Path) -> str:
    """The secret part of the URL.

    Raises:
        StepError: INVALID, if there is none, or if it is not valid in a path.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StepError(
            Exit.INVALID, f"there is no token at {path}", error.strerror or "", "mount the run's address"
        ) from None
    if not _TOKEN.fullmatch(token):
        raise StepError(
            Exit.INVALID, f"the token at {path} is not valid", remedy="use 16 to 128 letters and digits"
        )
    return token


class Serving(Protocol):
    """A disk that is being served, as image sees it."""

    def served_disk(self, disk: str) -> ServedDisk | None:
        """The description; None while there is no answer."""

    def url(self, disk: str, disk_format: DiskFormat) -> str:
        """Where the target fetches it."""

    def redact(self, text: str) -> str:
        """The text without the secret part of that."""


class HttpServing:
    """The disk served by the `serve` step over HTTP."""

    def __init__(self, address: ServedUrl) -> None:
        self._address = address

    def served_disk(self, disk: str) -> ServedDisk | None:
        url = self._address.origin + self._address.description_path(disk)
        try:
            with internal_http.request(url) as answer:
                return ServedDisk.model_validate_json(answer.read(1 << 16))
        except (OSError, ValidationError):
            return None  # not started yet, or between two pods: the caller's patience decides

    def url(self, disk: str, disk_format: DiskFormat) -> str:
        return self._address.origin + self._address.path(disk, disk_format)

    def redact(self, text: str) -> str:
        return self._address.redact(text)


def await_served_disk(
    serving: Serving,
    disk: str,
    stop: Stop,
    *,
    digest: bool = False,
    check: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> ServedDisk:
    """The description; with `digest`, once it has that. `check` is called while there is none.

    Raises:
        StepError: UNREACHABLE, if serve does not answer for `PATIENCE`; the errors of `check`.
    """
    last_answer = clock()
    while True:
        served_disk = serving.served_disk(disk)
        if served_disk is not None and (served_disk.sha512 or not digest):
            return served_disk
        if served_disk is None:
            check()
        last_answer = clock() if served_disk is not None else last_answer
        if clock() - last_answer > PATIENCE:
            raise StepError(
                Exit.UNREACHABLE,
                f"{disk} is not served",
                f"its serve step did not report for {PATIENCE / 60:g} minutes",
                "check why its pod does not run: quota, parallelism, its claim",
            )
        stop.sleep(POLL)
