"""Two imports of one VM, or with one name, at a time: one goes first and the other names it (real Argo)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.argo.ground import Ground, eventually
from tests.real.argo.world import INVALID, RUNNING, World, a_vm

pytestmark = pytest.mark.argo
Make = Callable[..., World]


def test_second_import_of_one_vm_or_name_waits_or_is_refused(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    made = make([a_vm(tmp_path, "pair"), a_vm(tmp_path, "other")])
    made.simulator.faults(pauseAt=65536)
    first = made.begin("pair", name="pair-1", targetVirtualMachineName="one")
    eventually(lambda: made.simulator.held(0), first.describe)
    # Harvester refuses a second VM with the same MAC.
    row = {"sourceNetwork": "VM Network", "destinationNetwork": "vlan1", "mac": "new"}
    second = made.begin("pair", name="pair-2", targetVirtualMachineName="two", networkMapping=[row])
    twin = made.begin("other", name="twin", targetVirtualMachineName="one")

    eventually(lambda: second.summary.reason == "VirtualMachineTaken", second.describe)
    assert "import pair-1 imports pair of VmwareSource" in second.status.message
    assert twin.until(INVALID).message.startswith("import pair-1 is creating VirtualMachine")
    assert made.simulator.vm("other")["power"] == "on"
    assert second.workflow is None

    made.simulator.clear()
    first.until(RUNNING)
    second.until(RUNNING)
    assert made.simulator.vm("pair")["shutdowns"] == 1, "it was off already"
    twin.change(targetVirtualMachineName="three")
    twin.leaves(INVALID)
    twin.until(RUNNING)
