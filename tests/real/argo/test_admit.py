"""What the target would refuse is found before the VM is shut down, within half a minute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.model.kinds import MACHINE, Object
from tests.real.argo.ground import Ground, eventually
from tests.real.argo.test_retry import no_room
from tests.real.argo.world import INVALID, RUNNING, Imported, World, a_vm

pytestmark = pytest.mark.argo
Make = Callable[..., World]

MAC = "00:50:56:8a:00:01"
SECONDS = 30
"""From `kubectl apply` to the refusal; the pods of `preflight` and `admit` take nearly all of it."""


def refused(made: World, vm: str, **spec: Any) -> Imported:
    """Check that an import is refused and that its VM at the source was not touched."""
    begun = time.monotonic()
    imported = made.begin(vm, **spec)
    imported.until(INVALID)
    took = time.monotonic() - begun
    assert took < SECONDS or not idle(), f"{took:.0f} s"
    assert made.simulator.vm(vm)["power"] == "on"
    assert made.simulator.vm(vm)["shutdowns"] == 0
    assert made.simulator.tasks() == []
    return imported


def idle() -> bool:
    """Whether the host has enough free CPU to promise a time in seconds."""
    return os.getloadavg()[0] <= 2 * (os.cpu_count() or 1)


def test_full_quota_is_refused_before_shutdown(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "no-room", disks=2)])
    with no_room(ground, made.namespace, 1) as give_room:
        imported = refused(made, "no-room")
        assert imported.summary.reason == "NoSpace"
        give_room()
    imported.annotate(retry="true")
    imported.leaves(INVALID)
    imported.until(RUNNING)
    assert made.simulator.vm("no-room")["shutdowns"] == 1


def test_duplicate_mac_is_refused_before_shutdown(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "same-mac") | {"nics": [{"network": "VM Network", "mac": MAC}]}])
    ground.apply(another(made.namespace, MAC))
    imported = refused(made, "same-mac")
    assert imported.summary.reason == "Conflict"
    assert MAC in imported.summary.message
    assert "payroll" not in imported.summary.message
    mapping = [{"sourceNetwork": "VM Network", "destinationNetwork": "vlan1", "mac": "new"}]
    imported.change(networkMapping=mapping)
    imported.leaves(INVALID)
    imported.until(RUNNING)
    vm = eventually(lambda: imported.machine("same-mac"), imported.describe)
    interfaces = vm["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
    assert MAC not in [one.get("macAddress") for one in interfaces]


def test_missing_network_is_refused_before_shutdown(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "no-net")])
    mapping = [{"sourceNetwork": "VM Network", "destinationNetwork": "vlan9"}]
    imported = refused(made, "no-net", networkMapping=mapping)
    assert f"{made.namespace}/vlan9" in imported.summary.message


def another(namespace: str, mac: str) -> Object:
    """A halted VM of another owner on the same network."""
    domain = {
        "cpu": {"cores": 1},
        "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
        "devices": {"interfaces": [{"name": "nic", "bridge": {}, "macAddress": mac}]},
    }
    networks = [{"name": "nic", "multus": {"networkName": f"{namespace}/vlan1"}}]
    return {
        "apiVersion": MACHINE.api_version,
        "kind": MACHINE.kind,
        "metadata": {"name": "payroll", "namespace": namespace},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": domain, "networks": networks}}},
    }
