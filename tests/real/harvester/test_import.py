"""`vmferry run --to harvester` with the real controllers and webhooks of Harvester and KubeVirt."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind, Object
from tests.real import scenario
from tests.real.cluster.lab import OURS, Lab
from tests.real.e2e import harness
from tests.real.harvester.install import network
from tests.real.harvester.refusals import emptied
from tests.real.simulator import Simulator
from tests.real.standins import harvester_machines
from tests.real.standins.api import Api
from tests.real.standins.asked import gone
from tests.real.standins.crds import LONGHORN_CLASS, V1_CLASS
from tests.real.standins.lab import Lab as Place
from tests.real.standins.process import eventually, running
from tests.real.standins.webhook import own_address

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

VM: Final = "shop"
OPTIONS: Final = ("--harvester", "real", "--grace", "2", "--default-class")
BACKENDS: Final = {"backingimage": V1_CLASS, "cdi": LONGHORN_CLASS}
SECONDS: Final = 240.0


@pytest.fixture(scope="module")
def place(lab: Lab) -> Iterator[Place]:
    with running(lab.place, *OPTIONS):
        yield lab.place


@pytest.fixture(scope="module")
def api(place: Place) -> Api:
    return Api(place.kubeconfig)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("disks")
    return [harness.random_disk(folder / f"{number}.img", 8 * harness.MIB) for number in range(2)]


@pytest.fixture(scope="module")
def vcenter(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A VM as vSphere makes one: four vCPUs, each with its own socket."""
    nic = {"network": "VM Network", "mac": scenario.MACS[0], "type": "vmxnet3"}
    made = harness.machine(VM, *originals, power="off", cpus=4, coresPerSocket=1, memoryMiB=128, nics=[nic])
    with harness.vcenter(tmp_path_factory.mktemp("vc"), made) as simulator:
        yield simulator


@dataclass(frozen=True)
class Desk:
    """A user's environment, and the namespace to import into."""

    folder: Path
    place: Place
    api: Api
    vcenter: Simulator
    space: str

    def run(self, name: str, storage_class: str) -> None:
        """Run one import to its end; a second one with the same name is another import."""
        into = self.folder / f"{name}-{secrets.token_hex(3)}"
        secret, source, import_ = scenario.manifests(self.vcenter)
        import_["metadata"] = {"name": name, "namespace": self.space}
        mapping = [{"sourceNetwork": "VM Network", "destinationNetwork": f"{self.space}/vlan1"}]
        wanted = {"virtualMachineName": VM, "folder": None, "networkMapping": mapping}
        import_["spec"] = {**import_["spec"], **wanted, "storageClass": storage_class}
        path = scenario.write(into.with_suffix(".yaml"), [secret, source, import_])
        argv: list[str | Path] = ["run", "--to", "harvester", "-f", path, "--into", into, *harness.QUICK]
        environment = {"KUBECONFIG": str(self.place.kubeconfig), "SVC_ADDRESS": own_address(self.api.host)}
        ended = harness.vmferry(*argv, **environment)
        assert ended.code == 0, ended.err

    def machine(self) -> Object:
        found = self.api.get(MACHINE, self.space, VM)
        assert found is not None
        return found

    def made(self, kind: Kind) -> dict[str, Object]:
        things, _ = self.api.list(kind)
        here = [one for one in things if one["metadata"]["namespace"] == self.space]
        return {one["metadata"]["name"]: one for one in here}

    def digests(self) -> list[str]:
        """SHA-256 of each disk of the VM, over the original's size."""
        volumes = self.machine()["spec"]["template"]["spec"]["volumes"]
        names = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes]
        return [digest(self.place.disk(self.api, self.space, name)) for name in names]

    def delete(self, *disks: str) -> None:
        """Delete it as the UI does, with these disks ticked."""
        harvester_machines.remove(self.api, self.space, VM, disks)
        gone(self.api, MACHINE, self.space, VM)


def digest(path: Path, size: int = 8 * harness.MIB) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()


@pytest.fixture
def desk(tmp_path: Path, lab: Lab, place: Place, api: Api, vcenter: Simulator) -> Iterator[Desk]:
    space = f"real-{secrets.token_hex(3)}"
    named: dict[str, Any] = {"name": space, "labels": {OURS: ""}}
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": named})
    lab.apply(network(space, "vlan1"))
    yield Desk(tmp_path, place, api, vcenter, space)
    emptied(lab, space)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_default_vsphere_vm_runs(desk: Desk, originals: list[Path], backend: str) -> None:
    desk.run("one", BACKENDS[backend])
    machine = desk.machine()
    assert machine["status"]["ready"]
    cpu = machine["spec"]["template"]["spec"]["domain"]["cpu"]
    assert (cpu["sockets"], cpu["cores"], cpu["maxSockets"]) == (1, 4, 1)
    (nic,) = machine["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
    assert nic["macAddress"] == scenario.MACS[0]
    assert {one["spec"]["backend"] for one in desk.made(IMAGE).values()} == {backend}
    assert desk.digests() == [digest(path) for path in originals]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ticked", [(), ("disk-0", "disk-1")], ids=["none-ticked", "ticked"])
def test_a_deleted_vm_is_imported_again(
    desk: Desk, originals: list[Path], backend: str, ticked: tuple[str, ...]
) -> None:
    """No old volume becomes a volume of the new VM, and no volume that the user kept is lost."""
    desk.run("one", BACKENDS[backend])
    wanted = [digest(path) for path in originals]
    old = {name: one["metadata"]["uid"] for name, one in desk.made(CLAIM).items()}
    for name in old:
        spoil(desk, name)
    desk.delete(*ticked)
    kept = {} if ticked and backend == "backingimage" else old
    if not kept:
        eventually(lambda: not set(old) & set(desk.made(CLAIM)), "the ticked claims go")

    desk.run("two", BACKENDS[backend])
    assert desk.digests() == wanted, "an old volume is attached to the new VM"
    now = {name: one["metadata"]["uid"] for name, one in desk.made(CLAIM).items()}
    assert kept.items() <= now.items(), "a volume that was kept is gone"


def spoil(desk: Desk, claim: str) -> None:
    """Write to the disk, as a guest does after the import."""
    with desk.place.disk(desk.api, desk.space, claim).open("r+b") as file:
        file.write(b"the guest wrote this")
