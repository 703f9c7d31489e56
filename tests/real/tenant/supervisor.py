"""Runs the controller as Kubernetes does: a process that has ended is started again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from controller.operator.options import PATH_ENV
from tests.real.controller import crowd
from tests.real.controller.apiserver import ROOT, ApiServer

LEASE_LOST: Final = 1
"""Exit code of a controller that has lost its Lease, as on a machine that is too slow for its deadline."""
POLL_SECONDS: Final = 0.1


@dataclass
class Supervisor:
    """The controller of a server. `start` and `stop` may be called again and again."""

    server: ApiServer
    options: Path
    kubeconfig: Path
    ends: list[int] = field(default_factory=list)
    """Exit codes of processes that ended by themselves."""
    peak: int = 0
    """Bytes of memory that a process has used at most."""
    _thread: threading.Thread | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def log(self) -> Path:
        """What all processes have logged."""
        return self.server.folder / "controller.log"

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process, as by the deletion of its pod."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def faults(self) -> list[int]:
        """Exit codes that are no consequence of a slow machine."""
        return [code for code in self.ends if code != LEASE_LOST]

    def _work(self) -> None:
        while not self._stopping.is_set():
            with self.log.open("ab") as log:
                self._run(log)

    def _run(self, log: IO[bytes]) -> None:
        """One process, until it ends or must end."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "KUBECONFIG": str(self.kubeconfig),
            PATH_ENV: str(self.options),
        }
        command = [sys.executable, "-m", "controller"]
        with subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process:
            while process.poll() is None and not self._stopping.wait(POLL_SECONDS):
                with contextlib.suppress(OSError, AssertionError):  # it is just ending
                    self.peak = max(self.peak, crowd.peak(process))
            if process.poll() is not None:
                self.ends.append(process.returncode)
                return
            process.terminate()
            process.wait(60)
