"""The controller and an import with a boot check: its Workflow, its cleanup, its failure."""

from __future__ import annotations

from typing import Any

from steps.model import names
from steps.model.booting import BootResult, Verdict
from steps.model.kinds import CONFIG_MAP, WORKFLOW, WORKFLOW_TEMPLATE, Object
from steps.model.plan import BootCheckPlan, Plan, TargetKind
from tests.unit.controller.operator.hostile.test_leftovers import HOUR, backs, later
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import exited, failed, node, upto
from workflows.settings import Settings


def world(*, allowed: bool = True, **wanted: Any) -> World:
    made = World(bootCheck=wanted)
    settings = Settings(target=TargetKind.HARVESTER, boot_check=allowed)
    made.options = made.options.model_copy(update={"settings": settings})
    if allowed:
        template(made)["spec"] = {"templates": [{"name": "import"}, {"name": "import-checked"}]}
    return made


def template(made: World) -> Object:
    found = made.cluster.peek(WORKFLOW_TEMPLATE, "vmferry-vmware", "vmferry")
    assert found is not None
    return found


def test_a_template_of_an_older_chart_is_reported_before_anything_starts() -> None:
    made = world()
    template(made)["spec"] = {"templates": [{"name": "import"}]}
    made.look()
    assert made.workflows() == []
    assert "has no boot check; upgrade the chart" in made.status.model_dump_json()


def test_its_workflow_has_the_entrypoint_with_the_check() -> None:
    made = world(tcpPort=22)
    made.look()
    assert made.workflow()["spec"]["entrypoint"] == "import-checked"
    stored = made.cluster.peek(CONFIG_MAP, names.request(made.run), "vmferry")
    assert stored is not None
    assert Plan.model_validate_json(stored["data"]["plan.json"]).boot_check == BootCheckPlan(tcp_port=22)


def test_an_installation_that_does_not_allow_it_starts_nothing() -> None:
    made = world(allowed=False)
    made.look()
    assert made.workflows() == []
    assert "bootCheck.allowed" in made.status.model_dump_json()


def test_an_import_without_it_is_as_before() -> None:
    made = World()
    made.look()
    assert "entrypoint" not in made.workflow()["spec"]


def test_a_guest_that_does_not_boot_fails_the_import_with_an_event() -> None:
    made = world()
    made.look()
    made.found()
    result = BootResult(verdict=Verdict.STUCK, message="the guest stopped in the EFI shell")
    leaf = failed("check", 16, "the guest does not boot")
    leaf["outputs"] = {"exitCode": "16", "parameters": [{"name": "booted", "value": result.to_json()}]}
    made.argo(*upto("start"), node("start"), leaf, phase="Failed")
    made.look(2)
    assert made.status.import_status == "VMMigrationFailed"
    assert made.status.step == "check"
    assert "GuestStuck" in made.warnings()


def test_a_repeated_cleanup_needs_no_template_with_the_check() -> None:
    """The administrator may have turned boot checks off meanwhile."""
    made = world()
    made.look()
    made.found()
    done = BootResult(verdict=Verdict.BOOTED, message="its agent is connected")
    leaf = node(
        "check", outputs={"exitCode": "0", "parameters": [{"name": "booted", "value": done.to_json()}]}
    )
    made.argo(*upto("start"), node("start"), leaf, exited('["a snapshot"]'), phase="Succeeded")
    made.look(3)
    later(made, HOUR)
    (name,) = backs(made)
    cleanup = made.cluster.peek(WORKFLOW, name, "vmferry")
    assert cleanup is not None
    assert "entrypoint" not in cleanup["spec"]
