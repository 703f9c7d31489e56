"""Containers as child processes, for the stand-in kubelet: real step programs against real sockets.

The paths of a pod become folders of their own. The memory limit of the container ends the process as the
kernel does (`OOMKilled`), from a thread that reads its resident memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from steps.model.contract import CREDENTIALS, OUTPUTS, REQUEST, TERMINATION_LOG_ENV
from steps.model.kinds import Object
from tests.unit.controller.operator.kubelet import MESSAGE_BYTES, Exited, Files

UNITS: Final = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
WATCH_SECONDS: Final = 0.01
LONGEST_LOG: Final = 4 << 20


def run(pod: Object, files: Files) -> Process:
    """Start the program of a pod."""
    folder = tempfile.TemporaryDirectory(prefix="vmferry-pod-")
    root = Path(folder.name)
    for path, content in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    places = {str(path): str(root / str(path).lstrip("/")) for path in (REQUEST, CREDENTIALS, OUTPUTS)}
    for place in places.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    words = root / "termination-log"
    words.touch()
    (container,) = pod["spec"]["containers"]
    command = [sys.executable, *container["command"][1:]]
    command += [places.get(argument, argument) for argument in container["args"]]
    for option, folder_ in (("--request", REQUEST), ("--credentials", CREDENTIALS), ("--outputs", OUTPUTS)):
        command += [option, places[str(folder_)]]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": places[str(OUTPUTS)],
        "PYTHONSAFEPATH": "1",  # as in the images, like the next
        "PYTHONUNBUFFERED": "1",
        TERMINATION_LOG_ENV: str(words),
        **{row["name"]: row.get("value", "") for row in container["env"]},
    }
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    limit = container["resources"]["limits"]["memory"]
    return Process(process, folder, int(limit[:-2]) * UNITS[limit[-2:]])


@dataclass
class Process:
    """A running program."""

    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]
    limit: int
    most: int = 0
    """Bytes of memory that it has used at most."""
    out_of_memory: bool = False
    _watcher: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def poll(self) -> Exited | None:
        code = self.process.poll()
        if code is None:
            return None
        self._watcher.join()
        root = Path(self.folder.name)
        words = (root / "termination-log").read_bytes()[-MESSAGE_BYTES:].decode(errors="replace")
        log = (root / "log").read_bytes()[-LONGEST_LOG:].decode(errors="replace")
        # A process that a signal ended has 128 + its number in a container.
        exit_code = code if code >= 0 else 128 - code
        return Exited(exit_code, words, "OOMKilled" if self.out_of_memory else "", log)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self._watcher.join()
        self.folder.cleanup()

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.most = max(self.most, _resident(self.process.pid))
            if self.most > self.limit:
                self.out_of_memory = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.process.pid, signal.SIGKILL)
            time.sleep(WATCH_SECONDS)


def _resident(pid: int) -> int:
    """Bytes of resident memory; 0 after the end."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
