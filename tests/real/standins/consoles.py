"""The serial consoles of the test guests that a stand-in for KubeVirt starts: each is a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.real import scenario
from tests.real.standins.lab import Lab
from tests.real.standins.process import eventually

BOOT_SECONDS: Final = 300.0
"""Seconds for a guest to start and report with QEMU's own emulation, on a busy host."""


def console_of(lab: Lab, namespace: str) -> Path:
    """The console of the VM of the scenario in this namespace."""
    return lab.state / "consoles" / f"{namespace}-{scenario.VM}.log"


def fresh_console(lab: Lab, namespace: str) -> Path:
    """The console of the guest that will run there. That of an earlier run is deleted."""
    console = console_of(lab, namespace)
    console.unlink(missing_ok=True)
    return console


def reported(console: Path) -> str:
    """The text of the console, as soon as the guest has reported everything."""

    def complete() -> str:
        text = console.read_text(errors="replace") if console.exists() else ""
        return text if "VMFERRY-GUEST done" in text else ""

    return eventually(complete, "the guest's report", BOOT_SECONDS)
