"""What a user reads while an import runs, fails, is retried, waits or is deleted: only true statements."""

from __future__ import annotations

import pytest

from steps.model import names
from steps.model.kinds import EVENT, MACHINE, WORKFLOW, Object
from tests.unit.controller.operator.world import KEY, World
from tests.unit.workflows.status.situations import Json, exited, failed, found, node, upto
from workflows.api.conditions import find

WORDS = "quota images of namespace default is used up; raise it"
LOCK = "vmferry/ConfigMap/vmferry-limits/vmwaresource.default.vcenter.machines"


def begun(**spec: object) -> World:
    world = World(**spec)
    world.look()
    return world


def events(world: World) -> list[tuple[str, str, str, int]]:
    """(type, reason, message, count) of every Event about the import, in the order of writing."""
    listed = sorted(world.cluster.all(EVENT, KEY[0]), key=lambda one: int(one["metadata"]["resourceVersion"]))
    return [(one["type"], one["reason"], one["message"], one["count"]) for one in listed]


def about(world: World, text: str) -> list[tuple[str, str]]:
    return [(kind, reason) for kind, reason, message, _ in events(world) if text in message]


@pytest.mark.parametrize("stage", ["image", "build", "export"])
def test_a_failure_is_one_event_and_a_warning(stage: str) -> None:
    """The step fails, the exit handler runs, and half a minute later the Workflow fails."""
    world = begun()
    disk = None if stage == "build" else "disk-0"
    broken = [*upto(stage), failed(stage, 13, WORDS, disk)]
    world.argo(*broken)
    world.look(2)
    world.argo(*broken, exited(), phase="Failed")
    world.look(2)
    assert world.status.import_status == "VMMigrationFailed"
    reason = "DiskImageFailed" if stage == "image" else "NoSpace"
    assert about(world, WORDS) == [("Warning", reason)]
    assert all(count == 1 for *_, count in events(world))


def test_a_final_failure_is_not_reported_as_a_retry() -> None:
    world = begun()
    world.argo(*upto("image"), failed("image", 13, WORDS, "disk-0"))
    world.look()
    assert not about(world, "tried again")
    world = begun()
    world.argo(*upto("image"), node("image", "Running", "disk-1"), failed("image", 30, "no answer", "disk-0"))
    world.look()
    assert about(world, "image disk-0 failed and will be retried: no answer") == [
        ("Warning", "DiskImageFailed")
    ]


def test_a_refused_image_is_not_reported_as_being_filled() -> None:
    world = begun()
    world.argo(*upto("image"), *(node("image", "Running", disk) for disk in ("disk-0", "disk-1")))
    world.look()
    assert about(world, "The target was asked to create an image of every disk") == [
        ("Normal", "DiskImageSubmitted")
    ]
    assert not about(world, "is being filled")


def failing_at(stage: str) -> World:
    world = begun()
    for at in ("poweroff", "image", "build", stage):
        world.argo(*upto(at))
        world.look()
    world.argo(*upto(stage), failed(stage, 30, "no answer"), phase="Failed")
    world.look(2)
    assert world.status.import_status == "VMMigrationFailed"
    return world


def test_a_retry_in_argo_repeats_no_event() -> None:
    """The VM had been deleted when Argo repeated `start` alone; the Event about the built VM came again."""
    world = failing_at("start")
    before = events(world)
    world.argo(*upto("start"), node("start", "Running"))
    world.look(2)
    fresh = [one for one in events(world) if one not in before]
    assert [(kind, reason, count) for kind, reason, _, count in fresh] == [("Normal", "Resumed", 1)]
    assert "completed work is not repeated" in fresh[0][2]


def test_a_retry_by_annotation_reports_that_work_is_not_repeated() -> None:
    world = failing_at("build")
    before = events(world)
    world.annotate(retry="true")
    world.look(2)
    for at in ("export", "image", "build"):
        world.argo(*upto(at))
        world.look()
    fresh = [one for one in events(world) if one not in before]
    reached = [message for _, reason, message, _ in fresh if reason in ("SourceReady", "DisksExported")]
    assert len(reached) == 2
    assert all("completed work is not repeated" in message for message in reached)
    assert all(count == 1 for *_, count in fresh)
    (named,) = [message for _, reason, message, _ in fresh if reason == "WorkflowNamed"]
    assert named.endswith("-r1 runs the import; completed work is not repeated")


def test_an_image_stopped_with_its_workflow_is_not_reported_as_failed() -> None:
    world = begun()
    world.argo(*upto("image"), *(node("image", "Running", disk) for disk in ("disk-0", "disk-1")))
    world.look()
    workflow = world.workflow()
    workflow["spec"]["shutdown"] = "Stop"
    stopped = "workflow shutdown with strategy:  Stop"
    world.argo(*upto("image"), *(failed("image", None, stopped, disk) for disk in ("disk-0", "disk-1")))
    world.look()
    assert "DiskImageFailed" not in world.events()
    assert world.summary.reason == "Cancelling"


# --- waiting


def waiting(world: World) -> Json:
    return node(
        "transfer",
        "Pending",
        kind="DAG",
        message=f"Waiting for {LOCK} lock. Lock status: 0/2",
        synchronizationStatus={"waiting": LOCK},
    )


def holder(world: World, name: str, namespace: str) -> str:
    """A Workflow that holds a lock; its key in Argo's form."""
    workflow = f"vmi-{name}-0a1b2c3d-g1"
    labels = {names.LABEL_NAME: name, names.LABEL_NAMESPACE: namespace}
    made: Object = {
        "apiVersion": WORKFLOW.api_version,
        "kind": WORKFLOW.kind,
        "metadata": {"name": workflow, "namespace": "vmferry", "labels": labels},
    }
    world.cluster.put(made)
    return f"vmferry/{workflow}/{workflow}-17"


def test_a_wait_names_the_holders_except_in_other_namespaces() -> None:
    world = begun()
    run = world.workflows()[0]
    held = [holder(world, "kill-a", "default"), holder(world, "payroll", "finance")]
    sync = {"semaphore": {"waiting": [{"semaphore": LOCK, "holders": held}]}}
    world.argo(found(), waiting(world), name=run, synchronization=sync)
    world.look()
    assert "2 of 2 VMs of vcenter are in transfer (kill-a, 1 of other namespaces)" in world.status.message
    assert "vmwaresource.default.vcenter.machines of ConfigMap vmferry-limits" in world.status.message
    assert "payroll" not in world.status.message
    assert world.summary.message == world.status.message


def test_the_message_of_kubevirt_is_shown_while_a_vm_starts() -> None:
    world = begun()
    world.found()
    world.argo(*upto("start"), node("start", "Running"))
    world.look()
    reasons = [{"type": "Ready", "status": "False", "message": "pods are forbidden by quota"}]
    status = {"printableStatus": "Starting", "conditions": reasons}
    vm = {"name": world.status.imported_virtual_machine_name, "namespace": "default"}
    world.cluster.put(
        {"apiVersion": MACHINE.api_version, "kind": MACHINE.kind, "metadata": vm, "status": status}
    )
    assert world.look() == 15.0
    assert world.status.message.endswith(": Starting; Ready False: pods are forbidden by quota")
    assert world.summary.message == world.status.message
    before = world.cluster.writes()
    world.look(2)
    assert world.cluster.writes() == before
    world.cluster.denied.add(("get", MACHINE))
    world.look()
    assert "Starting;" not in world.status.message


# --- deletion


def test_the_status_during_deletion() -> None:
    world = begun()
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    world.delete()
    world.look()
    assert world.status.message.startswith("Deleting: vmferry stops the running steps, then releases")
    assert world.summary.reason == "Deleting"
    assert world.status.import_status == "sourceReady"
    assert about(world, "Deleting: ") == [("Normal", "Deleting")]
    before = world.cluster.writes()
    world.look(2)
    assert world.cluster.writes() == before


def test_the_status_during_deletion_of_a_failed_import() -> None:
    world = begun()
    world.argo(found(), node("poweroff"), failed("export", None, "pod deleted", "disk-0"), phase="Error")
    world.look(2)
    world.delete()
    world.look(2)
    assert world.status.message == "Deleting: vmferry releases what it holds at the source"
    summary = find(world.status.import_conditions, "Succeeded")
    assert summary is not None
    assert summary.status == "Unknown"
