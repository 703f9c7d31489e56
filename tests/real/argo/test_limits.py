"""One VM at a time: no second VM is off before the first one is transferred."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.argo.ground import Ground
from tests.real.argo.world import RUNNING, Imported, World, a_vm

pytestmark = pytest.mark.argo
Make = Callable[..., World]


def test_limit_of_one_runs_four_imports_in_turn(ground: Ground, make: Make, tmp_path: Path) -> None:
    vms = [a_vm(tmp_path, f"queue-{number}") for number in range(4)]
    made = make(vms)
    key = f"vmwaresource.{made.namespace}.vcenter"
    limits: dict[str, str | None] = {f"{key}.machines": "1", f"{key}.streams": "4"}
    ground.limits(limits)
    watch = Watch(made)
    with watch:
        ground.apply(*made.source(), *(made.manifest(vm["name"]) for vm in vms))
        watch.imports = [made.imported(vm["name"]) for vm in vms]
        for one in watch.imports:
            one.until(RUNNING, seconds=600)
    assert watch.looks > 50
    assert watch.most == 1, watch.worst
    turns = [
        messages
        for messages in watch.messages
        if re.search(r"1 of 1 VMs of vcenter are in transfer \(queue-\d\);", messages)
    ]
    assert turns, watch.messages
    shown = re.compile(r"vmware\.\S+\.machines of ConfigMap vmferry-limits")  # the key of the account
    assert all(shown.search(messages) for messages in turns)
    ground.limits(dict.fromkeys(limits))


class Watch:
    """Watches all the time which VMs are off at the source and not yet transferred."""

    def __init__(self, made: World) -> None:
        self._made = made
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.imports: list[Imported] = []
        self.looks = 0
        self.most = 0
        self.worst: list[str] = []
        self.messages: set[str] = set()
        """Messages of the imports."""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.2):
            # Look first at what is off, then at what is transferred: in the other order a VM that is both
            # would count.
            off = {vm["name"] for vm in self._made.simulator.vms() if vm["power"] == "off"}
            under_way = sorted(one.name for one in self.imports if one.name in off and not transferred(one))
            self.messages |= {one.status.message for one in self.imports}
            self.looks += 1
            if len(under_way) > self.most:
                self.most, self.worst = len(under_way), under_way


def transferred(imported: Imported) -> bool:
    """Whether every disk of it has become an image."""
    nodes = ((imported.workflow or {}).get("status") or {}).get("nodes") or {}
    return any(node["displayName"] == "transfer" and node["phase"] == "Succeeded" for node in nodes.values())
