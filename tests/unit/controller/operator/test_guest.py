"""An import whose disks are looked into: the controller says what is mounted, and shows what was found."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.guest_judge import judged
from steps.model.guest_output import to_output
from steps.model.kinds import CONFIG_MAP, WORKFLOW, WORKFLOW_TEMPLATE, Object
from steps.model.plan import GuestPlan, Plan
from steps.model.workflow_nodes import nodes_of
from steps.runtime.program import PLAN
from tests.unit.controller.operator.world import World
from tests.unit.steps.model.test_guest_judge import a_kernel, a_linux, facts
from tests.unit.workflows.status.situations import failed, found, node
from workflows.api.conditions import find
from workflows.status.packed import pack

ASKED: Final[dict[str, Any]] = {"guest": {"inspect": True}}
SUPPLIED: Final = {"parameters": [{"name": "claims", "valueFrom": {"supplied": {}}}]}


def a_world(**spec: Any) -> World:
    world = World(**(ASKED | spec))
    world.cluster.put(
        {
            "apiVersion": WORKFLOW_TEMPLATE.api_version,
            "kind": WORKFLOW_TEMPLATE.kind,
            "metadata": {"name": "vmferry-vmware-guest", "namespace": "vmferry"},
        }
    )
    return world


def waiting() -> Object:
    return node("name-claims", "Running", kind="Suspend", templateName="name-claims", outputs=SUPPLIED)


def begun(**spec: Any) -> World:
    """A Workflow that waits for the names of the claims."""
    world = a_world(**spec)
    world.look()
    world.found()
    world.argo(found(("disk-0",)), node("admit"), waiting())
    return world


def named(world: World) -> Object:
    nodes = nodes_of(world.workflow()["status"]).values()
    (one,) = [one for one in nodes if one.get("templateName") == "name-claims"]
    return dict(one)


def inspected(*, virtio: bool = True) -> Object:
    kernel = a_kernel() if virtio else a_kernel(in_initramfs=("ahci", "sd_mod"), installed=("e1000e",))
    guest = judged(facts(a_linux({"kernels": (kernel,)})))
    outputs = {"exitCode": "0", "parameters": [{"name": "guest", "value": to_output(guest)}]}
    return node("inspect", outputs=outputs)


def test_the_wish_chooses_the_template_with_the_stages() -> None:
    world = a_world()
    world.look()
    assert world.workflow()["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware-guest"
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert request is not None
    assert Plan.model_validate_json(request["data"][PLAN]).guest == GuestPlan(inspect=True)


def test_an_installation_without_the_image_refuses_it_and_says_how() -> None:
    world = a_world()
    settings = world.options.settings.model_copy(update={"guest": False})
    world.options = world.options.model_copy(update={"settings": settings})
    world.look()
    assert world.workflows() == []
    assert "guest.enabled" in world.status.message


def test_the_controller_names_the_claims_and_resumes_the_workflow() -> None:
    world = begun()
    world.look()
    one = named(world)
    assert one["phase"] == "Succeeded"
    assert one["outputs"] == {"parameters": [{"name": "claims", "value": "disk-0:scratch"}]}
    assert one["finishedAt"]


def test_it_says_the_same_once_more_after_a_kill() -> None:
    world = begun()
    world.look()
    first = named(world)["outputs"]
    world.argo(found(("disk-0",)), node("admit"), waiting())
    world.look()
    assert named(world)["outputs"] == first


def test_it_does_so_where_argo_has_packed_the_nodes() -> None:
    world = begun()
    status = world.workflow()["status"]
    status["compressedNodes"] = pack(status.pop("nodes"))
    world.look()
    assert world.status.import_status == "virtualMachineImportValid"
    assert "nodes" not in world.workflow()["status"]
    assert named(world)["phase"] == "Succeeded"


def test_what_the_steps_report_changes_no_mount() -> None:
    """`disks` of admit, and its name, are outputs of a step; a hostile one gets nothing mounted by them."""
    world = begun()
    hostile = [{"disk": "disk-0", "claim": "vmi-other-0a1b2c3d-g1-disk-0", "mounts": "env"}, "disk-7"]
    outputs = {"parameters": [{"name": "disks", "value": json.dumps(hostile)}]}
    world.argo(found(("disk-9", "disk-0")), node("admit", outputs=outputs), waiting())
    world.look()
    assert named(world)["outputs"]["parameters"][0]["value"] == "disk-0:scratch"


def test_a_workflow_that_is_stopped_is_not_resumed() -> None:
    world = begun()
    world.apply(cancel=True)
    world.look(2)
    assert named(world)["phase"] == "Running"
    assert world.workflow()["spec"]["shutdown"] == "Stop"


def test_before_admit_has_published_the_vm_nothing_is_said() -> None:
    world = a_world()
    world.look()
    world.argo(found(("disk-0",)), waiting())
    world.look()
    assert named(world)["phase"] == "Running"


@pytest.mark.parametrize(("virtio", "bus"), [(True, "virtio"), (False, "sata")])
def test_the_result_is_a_condition_an_event_and_the_bus_of_the_disks(virtio: bool, bus: str) -> None:
    world = begun()
    world.argo(found(("disk-0",)), node("admit"), node("export", disk="disk-0"), inspected(virtio=virtio))
    world.look()
    condition = find(world.status.import_conditions, "GuestInspected")
    assert condition is not None
    assert condition.status == "True"
    assert condition.reason == ("Fits" if virtio else "NeedsConversion")
    assert "Debian GNU/Linux 12" in condition.message
    assert f"disks: {bus}" in condition.message
    assert [row.bus_type for row in world.status.disk_import_status] == [bus]
    assert "GuestInspected" in world.events()
    assert ("GuestInspected" in world.warnings()) is not virtio


def test_an_inspection_that_was_asked_for_and_fails_ends_the_import() -> None:
    world = begun()
    why = "libguestfs is not installed"
    world.argo(found(("disk-0",)), node("admit"), failed("inspect", 10, why), phase="Failed")
    world.look()
    assert world.status.import_status == "VMMigrationFailed"
    assert why in world.status.message


def test_the_exit_handler_alone_runs_from_the_plain_template() -> None:
    """A template with the stages may be gone: an installation may have turned them off."""
    world = begun()
    world.argo(found(("disk-0",)), node("admit"), node("poweroff"), node("inspect", "Running"))
    world.look()
    (name,) = world.workflows()
    world.cluster.drop(WORKFLOW, name, "vmferry")
    world.delete()
    world.look(3)
    (cleanup,) = world.workflows()
    assert cleanup != name
    assert world.workflow()["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware"
