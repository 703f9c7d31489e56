"""What a program costs: wall and CPU seconds, peak memory, bytes written."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Seconds, KiB and bytes; `cpu` includes all children, `memory` is the largest process's."""

    wall: float
    cpu: float
    memory: int
    written: int

    def least(self, other: Cost) -> Cost:
        """The smaller figure of each kind: what the machine's noise added is taken away."""
        return Cost(
            min(self.wall, other.wall),
            min(self.cpu, other.cpu),
            min(self.memory, other.memory),
            min(self.written, other.written),
        )


def cost_of(argv: Sequence[str], folder: Path) -> Cost:
    """Run a program in `folder`, which must hold nothing but what it writes."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = bytearray()
    drain = threading.Thread(target=lambda: said.extend(process.stderr.read() if process.stderr else b""))
    drain.start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    wall = time.perf_counter() - start
    written = re.findall(r"write_bytes: (\d+)", Path(f"/proc/{process.pid}/io").read_text())
    _, status, usage = os.wait4(process.pid, 0)
    drain.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv[0]} failed: {said.decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, int(written[0]))
