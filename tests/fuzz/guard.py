"""Detects whatever a parser opens, changes, runs or calls outside its folder.

It watches in two ways, as neither sees everything: the interpreter's audit events (Python, sys.addaudithook)
report what this process is going to do, and inotify(7) on a folder of canaries reports what any process did,
which matters for qemu-img. Inputs name the canaries as backing, data and extent files.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_PATHS: Final = {
    "open": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.listdir": 1,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.scandir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
}
"""Audit events, and the number of their first arguments that are paths."""
_NEVER: Final = ("os.exec", "os.posix_spawn", "os.system", "os.startfile", "os.chdir", "socket.", "pty.")
_CODE: Final = (".py", ".pyc", ".so")
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVERYTHING: Final = 0xFFF
"""IN_ALL_EVENTS of sys/inotify.h."""
_EVENT: Final = struct.Struct("iIII")


class Outside(BaseException):
    """The parser touched something outside the folder; a BaseException, so that no handler hides it."""


class Guard:
    """Watches during `with guard.watching(...)`; one per process, as an audit hook cannot be removed."""

    def __init__(self, folder: Path, canaries: Path, programs: frozenset[str]) -> None:
        self._folder = os.path.realpath(folder)
        self._programs = programs
        self._active = False
        self._code = tuple({os.path.realpath(place) for place in (*sys.path, sys.prefix, sys.base_prefix)})
        self.seen: list[str] = []
        self._canaries = _watch(canaries)
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record in `seen` what happens outside."""
        self.seen = []
        _events(self._canaries)
        self._active = True
        try:
            yield
        finally:
            self._active = False
            self.seen += _events(self._canaries)

    def canaries(self) -> list[str]:
        """Events of the canaries since the last call, here or in `watching`."""
        return _events(self._canaries)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event in _PATHS:
            for path in arguments[: _PATHS[event]]:
                if not self._allowed(event, path, arguments):
                    self._refuse(f"{event} {path!r}")
        elif event == "subprocess.Popen":
            if Path(os.fsdecode(arguments[0])).name not in self._programs:
                self._refuse(f"runs {arguments[1]!r}")
        elif event.startswith(_NEVER):
            self._refuse(f"{event} {arguments!r}")

    def _refuse(self, what: str) -> None:
        self.seen.append(what)
        raise Outside(what)

    def _allowed(self, event: str, path: object, arguments: tuple[Any, ...]) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return True  # an open file
        name = os.fsdecode(path)
        real = os.path.realpath(name)
        if real == self._folder or real.startswith(self._folder + os.sep) or name == os.devnull:
            return True
        reads = event in {"os.listdir", "os.scandir"} or (event == "open" and not arguments[2] & _WRITES)
        is_code = name.endswith(_CODE) or event != "open"
        return reads and is_code and real.startswith(self._code)  # a late import


def _watch(folder: Path) -> int:
    """A file descriptor from which the events in `folder` can be read without blocking."""
    libc = ctypes.CDLL(None, use_errno=True)
    file: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if file < 0 or libc.inotify_add_watch(file, os.fsencode(folder), _EVERYTHING) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    return file


def _events(file: int) -> list[str]:
    """Events of the canaries since the last call."""
    names = []
    try:
        raw = os.read(file, 1 << 16)
    except BlockingIOError:
        return []
    while raw:
        _, mask, _, length = _EVENT.unpack_from(raw)
        name = raw[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
        names.append(f"canary {os.fsdecode(name)!r} touched (inotify mask {mask:#x})")
        raw = raw[_EVENT.size + length :]
    return names
