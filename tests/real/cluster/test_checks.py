"""Check pods under the real kubelet, scheduler, garbage collector and Pod Security."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.operator.checkpods.objects import LABEL_CHECK
from controller.operator.sources.check import NOT_STARTED
from steps.model.kinds import CONFIG_MAP, IMPORT, POD, SECRET, SOURCES, Object
from steps.model.sources import SourceKind
from tests.real import scenario
from tests.real.cluster.world import World
from tests.real.standins.process import eventually
from workflows.api.conditions import find
from workflows.api.status import ImportStatus, SourceStatus

SECONDS = 180.0


def status_of(world: World) -> SourceStatus:
    """The status of the one source of this test."""
    (source,) = world.lab.find(SOURCES[SourceKind.VMWARE], world.namespace)
    return SourceStatus.read(source.get("status"))


def is_ready(world: World) -> bool:
    return status_of(world).status == "clusterReady"


def left(world: World) -> list[Object]:
    return [one for kind in (POD, SECRET) for one in world.lab.find(kind, **{LABEL_CHECK: "true"})]


@pytest.mark.smoke
def test_a_source_is_checked_in_a_pod_that_leaves_nothing(world: World) -> None:
    eventually(lambda: is_ready(world), "the source to be ready", SECONDS)
    assert status_of(world).verification.check, "the uid of the pod"
    eventually(lambda: not left(world), "the check's pod and Secret to go", SECONDS)
    assert world.vcenter.simulator.sessions() == []


def test_a_dry_run_reads_the_vm_from_the_log_of_its_pod(world: World) -> None:
    world.submit(dryRun=True)

    def planned() -> str:
        found = world.lab.get(IMPORT, scenario.VM, world.namespace) or {}
        status = ImportStatus.read(found.get("status"))
        return status.planned.config_map if status.planned else ""

    eventually(planned, "the plan", SECONDS)
    page = world.lab.get(CONFIG_MAP, planned().partition("/")[2])
    assert page is not None
    assert f"VirtualMachine {world.namespace}/{scenario.VM}" in page["data"]["plan.txt"]
    eventually(lambda: not left(world), "the pod and Secret of the dry run to go", SECONDS)
    assert world.vcenter.simulator.vm(scenario.VM)["power"] == "on"


@pytest.fixture
def without_image(world: World) -> Iterator[World]:
    """The check pods have an image that does not exist."""
    world.chart.install(images={"digests": {"vmware": "sha256:" + "0" * 64}}, checks={"startSeconds": 10})
    yield world
    world.chart.install()


def test_an_image_that_does_not_exist_is_named_in_the_status(without_image: World) -> None:
    world = without_image
    annotation = "migration.harvesterhci.io/retry=true"
    (source,) = world.lab.find(SOURCES[SourceKind.VMWARE], world.namespace)
    world.lab.kubectl(
        *("annotate", "vmwaresource.migration.harvesterhci.io", source["metadata"]["name"], annotation),
        *("-n", world.namespace, "--overwrite"),
    )

    def reasons() -> list[str]:
        """Of the source's condition, and of the Events: a source that was ready stays ready."""
        error = find(status_of(world).conditions, "ClusterError")
        events = world.lab.kubectl("get", "events", "-n", world.namespace, "-o", "jsonpath={..reason}")
        return [error.reason if error else "", *events.split()]

    eventually(lambda: NOT_STARTED in reasons(), f"the reason {NOT_STARTED}", SECONDS)
