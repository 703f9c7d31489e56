"""What runs on the computer because of a run, and how long to wait for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.real.adaptation.conftest import Run


def processes(run: Run) -> list[str]:
    """Processes with files in the folders of a run: QEMU, qemu-nbd, virt-v2v."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except OSError:
            continue
        ours = any(os.fsencode(folder) in line for folder in (run.folder, run.temporary))
        if ours and int(entry.name) != os.getpid():
            found.append(line.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
