"""The step `build` in a cluster after an inspection: the VM gets what the guest has drivers for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steps import build
from steps.model.contract import TERMINATION_LOG_ENV, Exit
from steps.model.guest_judge import judged
from steps.model.guest_output import to_output
from steps.model.volumes import VOLUMES
from steps.runtime import kubeapi
from tests.unit.steps.model.test_guest_judge import a_kernel, a_linux, facts
from tests.unit.steps.targets.harvester.test_programs import Locked, Pod
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World

WORKFLOW = "vmi-web-0a1b2c3d-g1"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    world = World()
    world.cluster.put(a_request(world.plan))
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(tmp_path / "words"))
    monkeypatch.setenv(kubeapi.NAMESPACE_ENV, "vmferry")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: Locked(world.cluster))
    world.publish_all()
    made = Pod(tmp_path, world)
    world.volumes().save(tmp_path / "request" / VOLUMES)
    return made


def inspected(pod: Pod, text: str) -> None:
    """The Workflow, with what `inspect` has reported."""
    outputs = {"parameters": [{"name": "guest", "value": text}]}
    node = {"name": f"{WORKFLOW}.transfer.guest.inspect", "templateName": "inspect", "outputs": outputs}
    status = {"nodes": {"1": {**node, "phase": "Succeeded"}}}
    metadata = {"name": WORKFLOW, "namespace": "vmferry"}
    pod.world.cluster.put(
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "status": status}
    )


def devices(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = pod.world.vm()["spec"]["template"]["spec"]["domain"]["devices"]
    return found


def buses(pod: Pod) -> set[str]:
    return {disk["disk"]["bus"] for disk in devices(pod)["disks"]}


def models(pod: Pod) -> set[str]:
    return {one["model"] for one in devices(pod)["interfaces"]}


def run(pod: Pod, *argv: str) -> Exit:
    return pod.run(build.body, build.arguments(), *argv)


def test_a_guest_without_virtio_gets_sata_and_e1000e(pod: Pod) -> None:
    kernel = a_kernel(in_initramfs=("ahci", "sd_mod"), installed=("e1000e",))
    inspected(pod, to_output(judged(facts(a_linux({"kernels": (kernel,)})))))
    assert run(pod, "--workflow", WORKFLOW) is Exit.DONE
    assert buses(pod) == {"sata"}
    assert models(pod) <= {"e1000e"}


def test_a_guest_with_virtio_gets_it(pod: Pod) -> None:
    inspected(pod, to_output(judged(facts(a_linux()))))
    assert run(pod, "--workflow", WORKFLOW) is Exit.DONE
    assert buses(pod) == {"virtio"}
    assert models(pod) <= {"virtio"}


@pytest.mark.parametrize("text", ["", "AAAA", "A" * 100_000])
def test_a_result_that_cannot_be_read_does_not_stop_the_import(pod: Pod, text: str) -> None:
    before = {disk.bus for disk in pod.world.shape.disks}
    inspected(pod, text)
    assert run(pod, "--workflow", WORKFLOW) is Exit.DONE
    assert buses(pod) == {str(bus) for bus in before}


def test_outside_of_a_cluster_the_result_is_a_file_of_the_request(pod: Pod) -> None:
    kernel = a_kernel(in_initramfs=("ahci", "sd_mod"), installed=("e1000e",))
    judged(facts(a_linux({"kernels": (kernel,)}))).save(pod.folder / "request" / "guest.json")
    assert run(pod) is Exit.DONE
    assert buses(pod) == {"sata"}
