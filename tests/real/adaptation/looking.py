"""What runs on the computer because of a run."""

from __future__ import annotations

import os

from tests.real.adaptation.conftest import Run
from tests.real.processes import command_lines


def processes(run: Run) -> list[str]:
    """Processes with files in the folders of a run: QEMU, qemu-nbd, virt-v2v."""
    folders = [os.fsencode(folder) for folder in (run.folder, run.temporary)]
    return [
        line.replace(b"\0", b" ").decode(errors="replace")[:200]
        for pid, line in command_lines()
        if pid != os.getpid() and any(folder in line for folder in folders)
    ]
