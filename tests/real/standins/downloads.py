"""A file downloaded in the background, with the faults and the speed that a test requests."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final

from tests.real.standins.formats import FormatError, info
from tests.real.standins.web import Web, WebError

CHUNK: Final = 1 << 18
HEAD_AND_GET: Final = 200


@dataclass
class Faults:
    """Downloads are numbered from 1, over all images. Each fault applies to the listed numbers.

    `fail`: the connection is cut half-way. `corrupt`: the last byte lands inverted. `rate`: bytes per second,
    0 for no limit.
    """

    rate: int = 0
    fail: frozenset[int] = frozenset()
    corrupt: frozenset[int] = frozenset()
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self) -> int:
        with self._lock:
            self._count += 1
            return self._count


class FetchError(Exception):
    """The reason for a failed download, with the text of Longhorn's backing-image-manager."""


class Download(threading.Thread):
    """GETs `url` into `file`, then passes it to `finish`; after a failure `error` is the reason."""

    def __init__(self, web: Web, url: str, file: Path, faults: Faults) -> None:
        super().__init__(daemon=True)
        self.size = 0
        self.done = 0
        self.sha512 = ""
        self.virtual_size = 0
        self.error = ""
        self.canceled = threading.Event()
        self._web = web
        self._url = url
        self._file = file
        self._faults = faults

    @property
    def percent(self) -> float:
        return 100 * self.done / self.size if self.size > 0 else 0.0

    def cancel(self) -> None:
        self.canceled.set()
        self.join(10)
        self._file.unlink(missing_ok=True)

    def run(self) -> None:
        try:
            self._fetch(self._faults.number())
            if not self.canceled.is_set():
                self.virtual_size = virtual_size(self._file)
                self.finish(self._file)
        except (FetchError, FormatError, WebError) as error:
            self.error = str(error)
        except TimeoutError:
            self.error = "context deadline exceeded"
        except (OSError, HTTPException) as error:
            self.error = str(error) or type(error).__name__

    def finish(self, file: Path) -> None:
        """Process the file; nothing here."""

    def _fetch(self, number: int) -> None:
        with self._web.ask("HEAD", self._url) as answer:
            self._expect(answer)
            self.size = int(answer.headers.get("Content-Length") or -1)
        with self._web.ask("GET", self._url) as answer:
            self._expect(answer)
            self._copy(answer, number)
        if self.size > 0 and self.done != self.size and not self.canceled.is_set():
            raise FetchError("unexpected EOF")

    def _expect(self, answer: HTTPResponse) -> None:
        if answer.status != HEAD_AND_GET:
            reason = f"{answer.status} {answer.reason}"
            raise FetchError(f"expected status code 200 from {self._url}, got {reason}")

    def _copy(self, answer: HTTPResponse, number: int) -> None:
        digest, began = hashlib.sha512(), time.monotonic()
        end = self.size // 2 if number in self._faults.fail else None
        with self._file.open("wb") as file:
            while (chunk := answer.read(CHUNK)) and not self.canceled.is_set():
                if end is not None and self.done + len(chunk) > end:
                    raise FetchError("unexpected EOF")
                self.done += len(chunk)
                if number in self._faults.corrupt and self.done == self.size:
                    chunk = chunk[:-1] + bytes([chunk[-1] ^ 0xFF])
                if chunk.count(0) == len(chunk):  # a hole stays a hole
                    file.seek(len(chunk), os.SEEK_CUR)
                else:
                    file.write(chunk)
                digest.update(chunk)
                self._slow_down(began)
            file.truncate()
        self.sha512 = digest.hexdigest()

    def _slow_down(self, began: float) -> None:
        if self._faults.rate:
            self.canceled.wait(max(0.0, self.done / self._faults.rate - (time.monotonic() - began)))


def virtual_size(file: Path) -> int:
    """The virtual size according to qemu-img; 0 if it cannot tell (sync_file.go, updateVirtualSizeNoLock)."""
    try:
        reason: dict[str, Any] = info(file)
    except FormatError:
        return 0
    return int(reason["virtual-size"])


def qemu_img(*arguments: str) -> str:
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FetchError(" ".join(done.stderr.split()) or f"qemu-img {arguments[0]}: {done.returncode}")
    return done.stdout
