"""Lands a file in a separate process: `python -m tests.real.disk.child SOURCE OUT FORMAT DIE_AT`.

Before the DIE_AT-th call that changes what a crash leaves on disk (fdatasync, fsync, rename, unlink) the
process kills itself; -1 means never. Prints its peak memory in KiB.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steps.disk import checkpoint, pump
from steps.disk.land import Source, land
from steps.runtime.stop import Stop


def die_before(function: Callable[..., Any], countdown: list[int]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        if countdown[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        countdown[0] -= 1
        return function(*arguments, **named)

    return counted


def main(url: str, out: str, wanted: Any, die_at: str) -> None:
    if int(die_at) >= 0:
        countdown = [int(die_at)]
        os.fdatasync = die_before(os.fdatasync, countdown)
        os.fsync = die_before(os.fsync, countdown)
        Path.replace = die_before(Path.replace, countdown)  # type: ignore[method-assign]
        Path.unlink = die_before(Path.unlink, countdown)  # type: ignore[method-assign]
        checkpoint.SAVE_EVERY_BYTES = 1 << 20  # type: ignore[misc]
        pump.CHUNK = 1 << 16  # type: ignore[misc]
    source = Source(url, format="vmdk", identity="child")
    land(source, Path(out), format=wanted, capacity=None, report=lambda done, total: None, stop=Stop())
    # Not getrusage: its peak is inherited from the parent process.
    sys.stdout.write(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
