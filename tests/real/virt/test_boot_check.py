"""`spec.bootCheck` on the real KubeVirt: what a guest does is read from outside, and a stuck one gets SATA.

The guest of the tests without a driver for virtio is the same image with another kernel command line of the
same length, so the file systems need not be made again.
"""

from __future__ import annotations

import base64
import json
import mmap
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.booting import BootResult, Verdict
from steps.model.kinds import CONFIG_MAP, MACHINE, Object
from steps.targets.cluster import markers
from steps.targets.cluster.boot.check import FAILED_ON_SATA, ON_SATA
from tests.real import scenario
from tests.real.argo.ground import RELEASE, Ground
from tests.real.argo.place import FAILED, RUNNING, Imported
from tests.real.cluster.lab import Lab
from tests.real.e2e import harness
from tests.real.guest import datadisk
from tests.real.simulator import Simulator
from tests.real.standins.process import eventually
from tests.real.virt import sources
from tests.real.virt.guests import PNG
from workflows.api.conditions import find

pytestmark = [pytest.mark.vm, pytest.mark.vcenter, pytest.mark.usefixtures("cdi")]

COMMAND_LINE: Final = b"scsi_mod.scan=sync usb-storage.delay_use=0 nvme_core.multipath=N"
"""The end of the guest's kernel command line (tests/real/guest/files/grub.cfg)."""
LOGIN: Final = b"login=1"
NO_VIRTIO: Final = b"module_blacklist=virtio_blk rescue=1 login=1"
RUN_SECONDS: Final = 2400.0
CHECK_SECONDS: Final = 1200
"""Guests are emulated, and the machine may be busy."""
DELETE_SECONDS: Final = 400.0
VM: Final = "web-01"


@pytest.fixture(scope="module", autouse=True)
def _guest() -> None:
    scenario.guest_image()


def with_command_line(folder: Path, words: bytes) -> Path:
    """A copy of the guest's disk whose kernel gets `words` instead of the end of its command line."""
    copy = folder / "system.img"
    subprocess.run(["cp", "--sparse=always", scenario.GUEST, copy], check=True)
    with copy.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(COMMAND_LINE)
        assert at >= 0, "the guest's command line has changed"
        while at >= 0:
            content[at : at + len(COMMAND_LINE)] = words.ljust(len(COMMAND_LINE))
            at = content.find(COMMAND_LINE, at)
    return copy


@contextmanager
def offered(
    folder: Path, host: str, namespace: str, *disks: Path
) -> Iterator[tuple[Simulator, list[Object]]]:
    """A simulated vCenter with a running VM; its disks are on NVMe, which becomes virtio."""
    vm: dict[str, Any] = {
        "disks": [{"file": str(disk), "controller": "nvme"} for disk in disks],
        "nics": [{"network": sources.NETWORK, "mac": scenario.MACS[0]}],
    }
    described = scenario.inventory(disks[-1], **vm)
    with Simulator.start(described, folder / "vcenter", listen=f"{host}:0") as simulator:
        yield simulator, scenario.manifests(simulator, namespace, networkMapping=[], storageClass="wffc")


def with_check(documents: list[Object], **spec: Any) -> list[Object]:
    """The manifests with a boot check."""
    *others, import_ = documents
    wanted = {"timeoutSeconds": CHECK_SECONDS, **spec.pop("bootCheck", {})}
    changed = {**import_["spec"], "bootCheck": wanted, "gracefulShutdownTimeoutSeconds": 30, **spec}
    return [*others, {**import_, "spec": changed}]


def embedded(
    lab: Lab, folder: Path, documents: list[Object], seconds: float = RUN_SECONDS, **more: str
) -> harness.Ended:
    path = scenario.write(folder / "import.yaml", documents)
    environment = {**more, "KUBECONFIG": str(lab.place.kubeconfig), "SVC_ADDRESS": lab.host}
    argv = ("run", "--to", "kubevirt", "-f", path, "--into", folder / "into")
    with harness.started(folder, *argv, **environment) as run:
        return run.wait(seconds)


def stored(lab: Lab, namespace: str) -> Object:
    found = lab.get(MACHINE, VM, namespace)
    assert found is not None
    return found


def buses(vm: Object) -> set[str]:
    return {disk["disk"]["bus"] for disk in vm["spec"]["template"]["spec"]["domain"]["devices"]["disks"]}


def result_of(workflow: Object) -> BootResult:
    """The result of the last attempt of `check` in a Workflow, or in the state of an embedded run."""
    nodes = workflow["status"]["nodes"].values()
    values = [
        parameter["value"]
        for node in nodes
        for parameter in (node.get("outputs") or {}).get("parameters") or []
        if parameter["name"] == "booted"
    ]
    return BootResult.model_validate_json(values[-1])


def test_a_guest_without_virtio_boots_from_sata(lab: Lab, namespace: str, tmp_path: Path) -> None:
    data = datadisk.make(tmp_path / "data.img", stay=True)
    system = with_command_line(tmp_path, NO_VIRTIO)
    with offered(tmp_path, lab.host, namespace, system, data.path) as (_, documents):
        ended = embedded(lab, tmp_path, with_check(documents))
    assert ended.code == 0, ended.err
    assert "did not boot as the VM was built" in ended.err
    vm = stored(lab, namespace)
    assert buses(vm) == {"sata"}
    assert vm["metadata"]["annotations"][markers.BOOT_CHECK] == ON_SATA
    assert not vm["metadata"].get("ownerReferences")
    result = result_of(json.loads((tmp_path / "into" / "run.json").read_text()))
    assert (result.verdict, result.fell_back) in ((Verdict.BOOTED, True), (Verdict.SILENT, True))
    kept = tmp_path / "into" / "boot-check"
    assert "Dropping to a shell" in (kept / "console-built.txt").read_text()
    assert "login:" in (kept / "console-sata.txt").read_text()
    for name in ("built", "sata"):
        assert (kept / f"screen-{name}.png").read_bytes().startswith(PNG)


def test_a_disk_without_a_boot_loader_fails_the_import_and_the_source_runs_again(
    lab: Lab, namespace: str, tmp_path: Path
) -> None:
    data = datadisk.make(tmp_path / "data.img")
    with offered(tmp_path, lab.host, namespace, data.path) as (simulator, documents):
        ended = embedded(lab, tmp_path, with_check(documents, onFailure="restorePower"))
        power = simulator.vm(scenario.VM)["power"]
    assert ended.code == 16, ended.err
    assert "does not boot" in ended.err
    assert power == "on"
    vm = stored(lab, namespace)
    assert vm["spec"]["runStrategy"] == "Halted"
    annotations = vm["metadata"]["annotations"]
    assert annotations[markers.BOOT_CHECK] == FAILED_ON_SATA
    assert markers.STALE in annotations
    result = result_of(json.loads((tmp_path / "into" / "run.json").read_text()))
    assert result.verdict is Verdict.STUCK
    assert result.evidence.written_bytes is not None, "the API server passed the request on to virt-handler"
    assert result.evidence.written_bytes < 256 << 10


def test_in_a_pod_the_restricted_identity_sees_everything(
    lab: Lab, ground: Ground, namespace: str, tmp_path: Path
) -> None:
    """Console, counters, screenshot: nothing is missing under vmferry-boot, through the NetworkPolicies."""
    data = datadisk.make(tmp_path / "data.img", stay=True)
    system = with_command_line(tmp_path, LOGIN)
    ground.install(kubevirt={"disks": "pull"}, bootCheck={"allowed": True})
    with offered(tmp_path, lab.host, namespace, system, data.path) as (_, documents):
        ground.apply(*with_check(documents))
        imported = Imported(ground, namespace, scenario.VM)
        status = imported.until(RUNNING, seconds=RUN_SECONDS)
        condition = find(status.import_conditions, "BootChecked")
        assert condition is not None
        assert condition.status == "True", condition.message
        assert condition.reason in ("Booted", "NetworkSilent")
        workflow = imported.workflow
        assert workflow is not None
        result = result_of(workflow)
        assert result.evidence.missing == ()
        assert result.evidence.read_bytes
        assert not result.fell_back
        run = imported.run
        kept = ground.cluster.get(CONFIG_MAP, names.boot(run), RELEASE)
        assert kept is not None
        assert "login:" in kept["data"]["console-built.txt"]
        assert base64.b64decode(kept["binaryData"]["screen-built.png"]).startswith(PNG)
        imported.delete()
        eventually(
            lambda: ground.cluster.get(CONFIG_MAP, names.boot(run), RELEASE) is None,
            "deletion of what the check kept",
            DELETE_SECONDS,
        )


def test_a_stuck_guest_fails_an_import_in_argo_and_a_retry_checks_it_again(
    lab: Lab, ground: Ground, namespace: str, tmp_path: Path
) -> None:
    data = datadisk.make(tmp_path / "data.img")
    ground.install(kubevirt={"disks": "pull"}, bootCheck={"allowed": True})
    with offered(tmp_path, lab.host, namespace, data.path) as (_, documents):
        ground.apply(*with_check(documents, bootCheck={"fallBack": False}))
        imported = Imported(ground, namespace, scenario.VM)
        status = imported.until(FAILED, seconds=RUN_SECONDS)
        assert status.step == "check"
        condition = find(status.import_conditions, "BootChecked")
        assert condition is not None
        assert (condition.status, condition.reason) == ("False", "Stuck")
        assert stored(lab, namespace)["spec"]["runStrategy"] == "Halted"
        ground.argo("retry", status.workflow.name if status.workflow else "")
        imported.leaves(FAILED)
        again = imported.until(FAILED, seconds=RUN_SECONDS)
        assert again.step == "check"
        assert stored(lab, namespace)["spec"]["runStrategy"] == "Halted"
        imported.delete()
        eventually(
            lambda: lab.get(MACHINE, VM, namespace) is None,
            "deletion of a VM that was not handed over",
            DELETE_SECONDS,
        )
