"""The serial consoles of guests that a stand-in for KubeVirt starts: each is a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.real import scenario
from tests.real.argo.ground import Ground, eventually
from tests.real.argo.place import Place

BOOT_SECONDS: Final = 240


def fresh_console(ground: Ground, made: Place) -> Path:
    """The console of the guest that will run there. That of an earlier run is deleted."""
    console = ground.lab.state / "consoles" / f"{made.namespace}-{scenario.VM}.log"
    console.unlink(missing_ok=True)
    return console


def reported(console: Path) -> str:
    """The text of the console, as soon as the guest has reported everything."""
    eventually(console.exists, "the guest's console", 60)
    eventually(
        lambda: "VMFERRY-GUEST done" in console.read_text(errors="replace"),
        "the guest's report",
        BOOT_SECONDS,
    )
    return console.read_text(errors="replace")
