"""How `serve` and `image` of a disk communicate: a JSON description of the disk, at a secret URL.

serve writes the description for image, as only serve mounts the scratch: what is served and where, and its
SHA-512 once that is computed. image answers by the VirtualMachineImage (see `sibling`).

There are two secrets. The run's token leads to the description; only these two steps know it. The disk's own
token is in the URL that the target gets, and stays in its objects: Harvester's webhook refuses to change
`spec.url` of an image (pkg/image/common/validator.go, URLConsistency). So each attempt of serve makes a new
one, and it is worth nothing when that attempt has ended.
"""

from __future__ import annotations

import re
import secrets
import ssl
import time
import urllib.error
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
TOKEN_BYTES: Final = 24
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")
_HIDDEN: Final = "…"


class ServedDisk(Document):
    """serve's description of the disk. Sizes in bytes."""

    format: DiskFormat
    size: int
    virtual_size: int
    landed: str
    """Changes with the file; known at once."""
    token: str
    """The secret part of the disk's URL; each attempt of serve has its own."""
    taken_for: str = ""
    """The format for which qemu-img takes the disk inside if nobody names one; empty for a raw disk."""
    sha512: str = ""
    """Empty while it is being computed."""

    @classmethod
    def of(cls, file: Path, ready: Ready) -> ServedDisk:
        """The description of a finished disk, without digest and with a new token.

        Raises:
            StepError: INVALID without a file.
        """
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
            token=secrets.token_urlsafe(TOKEN_BYTES),
            taken_for=ready.taken_for,
        )

    def path(self, disk: str) -> str:
        """The path of the disk's URL."""
        return f"/{self.token}/{disk}.{self.format}"

    def display_path(self, disk: str) -> str:
        """The path for logs."""
        return f"/{_HIDDEN}/{disk}.{self.format}"


@dataclass(frozen=True)
class ServedUrl:
    """Where a disk is described. `token` is the run's secret: the target does not get it."""

    token: str
    origin: str = ""

    def description_path(self, disk: str) -> str:
        return f"/{self.token}/{disk}.json"

    def redact(self, text: str) -> str:
        """The text without the token of any attempt, because others quote the URL in their errors."""
        text = text.replace(self.token, _HIDDEN)
        return re.sub(rf"({re.escape(self.origin)}/)[A-Za-z0-9_-]{{16,128}}/", rf"\1{_HIDDEN}/", text)


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

    def url(self, disk: str, served_disk: ServedDisk) -> str:
        """Where the target fetches it."""

    def redact(self, text: str) -> str:
        """The text without the secret part of that."""


class HttpServing:
    """The disk served by the `serve` step over HTTP.

    With an origin of https, its certificate must be valid for the origin, and signed by a CA of the file `ca`
    or, without that, of the system.
    """

    def __init__(self, address: ServedUrl, ca: Path | None = None) -> None:
        self._address = address
        self._tls = _tls_context(ca) if address.origin.startswith("https:") else None

    def served_disk(self, disk: str) -> ServedDisk | None:
        """The description; None without an answer.

        Raises:
            StepError: UNTRUSTED for a certificate that the target would refuse as well.
        """
        url = self._address.origin + self._address.description_path(disk)
        try:
            with internal_http.request(url, tls=self._tls) as answer:
                return ServedDisk.model_validate_json(answer.read(1 << 16))
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise self._untrusted(error.reason) from None
            return None
        except (OSError, ValidationError):
            return None  # not started yet, or between two pods: the caller's patience decides

    def url(self, disk: str, served_disk: ServedDisk) -> str:
        return self._address.origin + served_disk.path(disk)

    def redact(self, text: str) -> str:
        return self._address.redact(text)

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> StepError:
        return StepError(
            Exit.UNTRUSTED,
            f"the certificate at {self._address.origin} is not trusted",
            error.verify_message,
            "renew it: it must be valid for that host, and signed by the CA that is given with it",
        )


def _tls_context(ca: Path | None) -> ssl.SSLContext:
    """Raises StepError (INVALID) if the file has no certificate."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise StepError(
            Exit.INVALID, f"{ca} is not a file with certificates of CAs", str(error), "write PEM into it"
        ) from None


class ServeStep:
    """The `serve` step of one disk, as `image` sees it."""

    def __init__(
        self,
        serving: Serving,
        disk: str,
        stop: Stop,
        *,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`check` is called while the step does not answer; it raises if it never will."""
        self._serving = serving
        self._disk = disk
        self._stop = stop
        self._check = check
        self._clock = clock

    def served_disk(self, *, digest: bool = False) -> ServedDisk:
        """The description; with `digest`, once it has that.

        Raises:
            StepError: UNREACHABLE, if serve does not answer for `PATIENCE`; the errors of `check`.
        """
        last_answer = self._clock()
        while True:
            served_disk = self._serving.served_disk(self._disk)
            if served_disk is not None and (served_disk.sha512 or not digest):
                return served_disk
            if served_disk is None:
                self._check()
            last_answer = self._clock() if served_disk is not None else last_answer
            if self._clock() - last_answer > PATIENCE:
                raise StepError(
                    Exit.UNREACHABLE,
                    f"{self._disk} is not served",
                    f"its serve step did not report for {PATIENCE / 60:g} minutes",
                    "check why its pod does not run: quota, parallelism, its claim",
                )
            self._stop.sleep(POLL)

    def url(self, served_disk: ServedDisk) -> str:
        """Where the target fetches the disk."""
        return self._serving.url(self._disk, served_disk)

    def is_elsewhere(self, url: str) -> bool:
        """Whether the disk is served at another URL than this one now."""
        served_disk = self._serving.served_disk(self._disk)
        return served_disk is not None and url != self.url(served_disk)

    def redact(self, text: str) -> str:
        """The text without the secret part of the URL."""
        return self._serving.redact(text)
