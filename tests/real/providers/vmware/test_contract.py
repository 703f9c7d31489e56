"""The suite of every provider, with the simulated vCenter."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.provider_contract import Given, ProviderContract
from tests.real.simulator import StartSimulator, make_access

pytestmark = pytest.mark.vcenter

VM = "web"


def disk(path: Path, size: int, seed: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        file.write(random.Random(seed).randbytes(1 << 16))
    return path


class TestVmware(ProviderContract):
    @pytest.fixture
    def given(self, start_simulator: StartSimulator, tmp_path: Path) -> Given:
        originals = (disk(tmp_path / "a.raw", 3 << 20, 1), disk(tmp_path / "b.raw", 5 << 20, 2))
        disks = [{"file": str(originals[0])}, {"file": str(originals[1]), "controller": "sata"}]
        machine = {"name": VM, "folder": "prod", "power": "on", "disks": disks}
        machine["nics"] = [{"network": "VM Network"}]
        simulator = start_simulator({"datacenters": [{"name": "DC0", "vms": [machine]}]})
        return Given(
            access=lambda step: make_access(simulator, tmp_path, step=step, datacenter="DC0"),
            vm=VM,
            folder="prod",
            originals=originals,
            held=lambda: len(simulator.sessions()) + len(simulator.leases()),
            stops=lambda: simulator.vm(VM)["shutdowns"] + simulator.vm(VM)["powerOffs"],
        )
