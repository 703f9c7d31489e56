"""At which points hooks may run, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.plan import HookPlan, Moment, TargetKind
from tests.unit.builders import a_machine, a_plan, a_source, an_import
from workflows.api.import_hook import ImportHook
from workflows.api.spec import VirtualMachineImportSpec
from workflows.hooks import HookDocument, Point, hook_faults, planned, point_of, reasons
from workflows.plan import Invalid, plan
from workflows.settings import Settings
from workflows.stages import STAGES, Scope

ALLOWED = Settings(target=TargetKind.HARVESTER, hooks=True)


def spec(*rows: dict[str, Any]) -> VirtualMachineImportSpec:
    return VirtualMachineImportSpec.model_validate({"hooks": list(rows)})


def why(*rows: dict[str, Any], settings: Settings = ALLOWED) -> list[str]:
    return list(reasons(spec(*rows), settings))


def hook(**given: Any) -> ImportHook:
    return ImportHook.model_validate(
        {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "ImportHook",
            "metadata": {"name": "cmdb", "namespace": "vmferry"},
            "spec": given,
        }
    )


def test_a_row_names_a_point_and_a_hook() -> None:
    rows = planned(spec({"before": "poweroff", "name": "cmdb"}, {"after": "start", "name": "notify"}))
    assert rows == (
        HookPlan(moment=Moment.BEFORE, stage="poweroff", name="cmdb"),
        HookPlan(moment=Moment.AFTER, stage="start", name="notify"),
    )
    assert [row.point for row in rows] == ["before-poweroff", "after-start"]


def test_no_stage_is_taken_for_a_point() -> None:
    assert not [stage.name for stage in STAGES if point_of(stage.name)]
    assert point_of("after-hand-over") == Point(Moment.AFTER, "hand-over")


def test_the_cleanup_has_no_points() -> None:
    ends = [stage.name for stage in STAGES if stage.scope is Scope.EXIT]
    assert ends
    assert not [name for name in ends if point_of(f"before-{name}") or point_of(f"after-{name}")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"name": "cmdb"}, "exactly one of before and after"),
        ({"name": "cmdb", "before": "start", "after": "build"}, "exactly one of before and after"),
        ({"name": "../cmdb", "before": "start"}, "is not the name of a hook"),
        ({"name": "{{workflow.name}}", "before": "start"}, "is not the name of a hook"),
        ({"before": "start"}, "is not the name of a hook"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused(row: dict[str, Any], words: str) -> None:
    (reason,) = why(row)
    assert words in reason


def test_a_point_has_one_hook() -> None:
    (reason,) = why({"before": "start", "name": "one"}, {"before": "start", "name": "two"})
    assert "spec.hooks has 2 hooks before 'start', and a point has one hook" in reason


def test_there_are_at_most_16() -> None:
    (reason,) = why(*({"before": "start", "name": f"hook-{number}"} for number in range(17)))
    assert reason == "spec.hooks has 17 rows; write at most 16"


def test_an_installation_may_not_allow_them() -> None:
    (reason,) = why({"before": "start", "name": "cmdb"}, settings=Settings(target=TargetKind.HARVESTER))
    assert "the chart's value hooks.allowed" in reason


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("powerof", "'powerof' is not a stage of this import; its stages are preflight, admit, poweroff"),
        ("hand-over", "is not a stage of this import"),
        ("check", "is not a stage of this import"),
        ("approve-poweroff", "is not a stage of this import"),
        ("serve", "runs as long as image; write before: image"),
        ("release-source", "is a part of the cleanup"),
        ("delete-scratch", "is a part of the cleanup"),
    ],
)
def test_a_stage_that_the_import_does_not_have_is_refused(stage: str, words: str) -> None:
    import_ = an_import(hooks=[{"before": stage, "name": "cmdb"}])
    with pytest.raises(Invalid) as refused:
        plan(import_, a_source(), ALLOWED)
    (reason,) = refused.value.reasons
    assert words in reason


def test_a_gate_that_is_asked_for_has_points() -> None:
    import_ = an_import(hooks=[{"before": "approve-start", "name": "cmdb"}], approvals=["start"])
    assert plan(import_, a_source(), ALLOWED).hooks[0].point == "before-approve-start"


def test_a_hook_runs_one_thing() -> None:
    assert not list(hook_faults(hook(container={"image": "example.com/cmdb:1"})))
    for given in ({}, {"container": {"image": "a"}, "command": ["true"]}):
        (fault,) = hook_faults(hook(**given))
        assert fault.startswith("ImportHook vmferry/cmdb must have exactly one of")


def test_namespaces_may_be_limited() -> None:
    limited = hook(command=["true"], allowedNamespaces=["team-a"]).spec
    assert (limited.allows("team-a"), limited.allows("team-b")) == (True, False)
    assert hook(command=["true"]).spec.allows("team-b")


def test_the_document_has_the_vm_and_no_credentials() -> None:
    address = "http://user:c4nary@vcenter.example.com"
    made = a_plan()
    made = made.model_copy(update={"source": made.source.model_copy(update={"endpoint": address})})
    row = HookPlan(moment=Moment.BEFORE, stage="export", name="cmdb")
    text = HookDocument.of(made, row, "disk-0", a_machine(), "web").to_json()
    read = HookDocument.model_validate_json(text)
    assert (read.hook, read.stage, read.disk, read.machine) == ("cmdb", "export", "disk-0", a_machine())
    assert (read.import_.name, read.target.name) == (made.import_.name, "web")
    assert "c4nary" not in text
