"""What the real CDI and the real API server refuse, and what vmferry says then.

The VM has disks without a system: KubeVirt starts it all the same.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.contract import Exit
from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE, Object
from steps.targets.cluster import markers
from steps.targets.cluster.vm_objects import attached_claims
from tests.real import scenario
from tests.real.cluster.lab import Lab
from tests.real.e2e import harness
from tests.real.laptop.desk import same_bytes
from tests.real.simulator import Simulator
from tests.real.standins.api import Api
from tests.real.standins.process import eventually
from tests.real.virt.proxy import spoiling
from tests.real.virt.storage import await_profile

pytestmark = [pytest.mark.vcenter, pytest.mark.usefixtures("cdi")]

MIB: Final = 1 << 20
VM: Final = "shop"
SIZE: Final = 256 * MIB
ROOM: Final = 2 * SIZE + 302 * MIB
"""What CDI makes of a disk on a Block volume: its claim, the populator's, and scratch with 15 % more."""
RUN_SECONDS: Final = 1500.0


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness.random_disk(tmp_path_factory.mktemp("disks") / "system.img", SIZE, data=4 * MIB)


@pytest.fixture(scope="module")
def vcenter(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    machine = harness.machine(VM, original, power="on", memoryMiB=128, cpus=1)
    with harness.vcenter(tmp_path_factory.mktemp("vc"), machine) as simulator:
        yield simulator


class Desk:
    """A user who imports the VM into a namespace by `vmferry run`."""

    def __init__(self, lab: Lab, namespace: str, folder: Path, vcenter: Simulator) -> None:
        self.lab = lab
        self.namespace = namespace
        self._folder = folder
        self._vcenter = vcenter
        self.into = folder / "into"
        self._before: list[tuple[str, str]] = []

    def run(self, storage_class: str, **spec: Any) -> harness.Ended:
        """`vmferry run`, to its end."""
        self._vcenter.set_power(VM, "on")
        self._before = harness.tasks(self._vcenter, VM)
        secret, source, import_ = scenario.manifests(self._vcenter, self.namespace)
        import_["metadata"]["name"] = VM
        import_["spec"] |= {"virtualMachineName": VM, "folder": None, "networkMapping": []}
        import_["spec"] |= {"storageClass": storage_class, **spec}
        path = scenario.write(self._folder / "import.yaml", [secret, source, import_])
        environment = {"KUBECONFIG": str(self.lab.place.kubeconfig), "SVC_ADDRESS": self.lab.host}
        argv = ("run", "--to", "kubevirt", "-f", path, "--into", self.into, *harness.QUICK)
        with harness.started(self._folder, *argv, **environment) as run:
            return run.wait(RUN_SECONDS)

    def is_untouched(self) -> bool:
        """Whether the VM still runs at its source, and was never shut down in between."""
        return self._vcenter.vm(VM)["power"] == "on" and harness.tasks(self._vcenter, VM) == self._before

    def logs(self, stage: str) -> str:
        return "\n".join(log.read_text() for log in self.into.rglob(f"{stage}-*.log"))

    def made(self, kind: Any) -> list[Object]:
        return self.lab.cluster.find(kind, self.namespace)


@pytest.fixture
def desk(lab: Lab, namespace: str, tmp_path: Path, vcenter: Simulator) -> Desk:
    return Desk(lab, namespace, tmp_path, vcenter)


@contextmanager
def cdi_config(lab: Lab, **config: Any) -> Iterator[None]:
    """Settings of CDI while the body runs."""
    before: Object = json.loads(lab.kubectl("get", "cdi", "cdi", "-o", "json"))["spec"]["config"]
    _set_config(lab, {**before, **config})
    try:
        yield
    finally:
        _set_config(lab, before)


def _set_config(lab: Lab, config: Object) -> None:
    """CDI's operator copies the settings to CDIConfig, which its controllers and vmferry read."""
    change = json.dumps([{"op": "replace", "path": "/spec/config", "value": config}])
    lab.kubectl("patch", "cdi", "cdi", "--type=json", "--patch", change)

    def taken() -> bool:
        stored: Object = json.loads(lab.kubectl("get", "cdiconfig", "config", "-o", "json"))
        shares = config["filesystemOverhead"].get("storageClass", {})
        shown = stored["status"]["filesystemOverhead"].get("storageClass", {})
        proxy, used = config.get("importProxy", {}), stored["status"]["importProxy"]
        return bool(
            stored["spec"] == config and shares.items() <= shown.items() and proxy.items() <= used.items()
        )

    eventually(taken, "CDI's new settings", 120)


@contextmanager
def storage_class(
    lab: Lab, provisioner: str = "lab.local/disk", modes: Object | None = None
) -> Iterator[str]:
    """A class of its own; `modes` is a set of its StorageProfile."""
    name = f"own-{secrets.token_hex(3)}"
    metadata = {"name": name}
    lab.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": metadata,
            "provisioner": provisioner,
        }
    )
    await_profile(lab, name)
    if modes is not None:
        change = json.dumps({"spec": {"claimPropertySets": [modes]}})
        lab.kubectl("patch", "storageprofile", name, "--type=merge", "--patch", change)
        jsonpath = "jsonpath={.status.claimPropertySets[0].volumeMode}"
        eventually(
            lambda: lab.kubectl("get", "storageprofile", name, "-o", jsonpath) == modes["volumeMode"],
            "the modes of the StorageProfile",
        )
    try:
        yield name
    finally:
        lab.kubectl("delete", "storageclass", name)


def test_a_changed_byte_is_found_by_cdi_and_a_new_attempt_repairs_it(
    lab: Lab, desk: Desk, csi_class: str, original: Path
) -> None:
    first: list[str] = []

    def is_first_try() -> bool:
        uids = [one["metadata"]["uid"] for one in desk.made(DATA_VOLUME)]
        first.extend([] if first else uids)
        return uids == first

    with spoiling(lab.host, is_first_try) as proxy:
        url = f"http://{lab.host}:{proxy.server_address[1]}"
        with cdi_config(lab, importProxy={"HTTPProxy": url}):
            ended = desk.run(csi_class)
    assert proxy.spoiled.is_set(), "no byte was changed"
    assert ended.code == 0, ended.err
    assert "checksum" in desk.logs("image").lower()
    (machine,) = desk.made(MACHINE)
    (claim,) = attached_claims(machine).values()
    assert same_bytes(original, lab.place.disk(Api(lab.place.kubeconfig), desk.namespace, claim))
    (data_volume,) = desk.made(DATA_VOLUME)
    assert data_volume["metadata"]["uid"] not in first
    assert data_volume["metadata"]["annotations"][markers.INTEGRITY] == "sha512"


def test_a_volume_that_is_too_small_is_one_clear_error(lab: Lab, desk: Desk) -> None:
    """A new ext4 of the lab loses more than the share that this test sets for CDI, so the disk never fits."""
    with (
        storage_class(lab) as name,
        cdi_config(lab, filesystemOverhead={"global": "0.15", "storageClass": {name: "0"}}),
    ):
        ended = desk.run(name)
        assert ended.code == Exit.NO_SPACE, ended.err
        assert "DataVolume too small" in ended.error
        assert "filesystemOverhead" in ended.error
        assert desk.made(MACHINE) == []


def test_a_quota_without_room_for_what_cdi_makes_is_refused_before_power_off(
    lab: Lab, desk: Desk, csi_class: str
) -> None:
    quota(lab, desk.namespace, ROOM - 1)
    ended = desk.run(csi_class)
    assert ended.code == Exit.NO_SPACE, ended.err
    assert "requests.storage" in ended.error
    assert desk.is_untouched()
    assert desk.made(CLAIM) == desk.made(DATA_VOLUME) == []


def test_a_quota_with_just_enough_room_lets_the_import_pass(lab: Lab, desk: Desk, csi_class: str) -> None:
    quota(lab, desk.namespace, ROOM)
    ended = desk.run(csi_class)
    assert ended.code == 0, ended.err


def test_a_network_of_multus_is_refused_before_power_off_without_multus(desk: Desk, csi_class: str) -> None:
    mapping = [{"sourceNetwork": "VM Network", "destinationNetwork": "default/vlan1"}]
    ended = desk.run(csi_class, networkMapping=mapping)
    assert ended.code == Exit.NOT_FOUND, ended.err
    assert "Multus is not installed" in ended.error
    assert desk.is_untouched()


def quota(lab: Lab, namespace: str, size: int) -> None:
    """A quota of the storage of a namespace, in bytes; returns when it is enforced."""
    lab.kubectl("--namespace", namespace, "create", "quota", "small", f"--hard=requests.storage={size}")
    where = ("--namespace", namespace, "wait", "quota/small")
    lab.kubectl(*where, "--for=jsonpath={.status.hard}", "--timeout=60s")
