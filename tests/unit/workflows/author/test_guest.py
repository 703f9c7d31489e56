"""The WorkflowTemplates of imports that ask for a stage with all disks: the disks fan out twice."""

from __future__ import annotations

import json
from typing import Final

import pytest

from steps.model.plan import DiskWay, TargetKind
from steps.model.sources import SourceKind
from tests.unit.workflows.author.rendered import CHART, Json, parse
from workflows.argo_names import template_name
from workflows.author.dag import PARENT, graph, home
from workflows.author.template import OF_GUEST
from workflows.mounts import pod_patch
from workflows.stages import Stage, stage_named, stages_for

LAST: Final = {
    DiskWay.PULL: {"serve", "image"},
    DiskWay.LAND: {"hand-over"},
    DiskWay.MIXED: {"serve", "image", "hand-over"},
}


def file(kind: SourceKind, way: DiskWay, *, guest: bool = True) -> Json:
    name = template_name(kind, way, guest=guest).removeprefix("vmferry-")
    return parse((CHART / "files" / f"{name}.yaml").read_text())


def templates(way: DiskWay, *, guest: bool = True) -> dict[str, Json]:
    spec = file(SourceKind.VMWARE, way, guest=guest)["spec"]
    return {one["name"]: one for one in spec["templates"]}


def tasks(way: DiskWay, dag: str) -> dict[str, Json]:
    return {task["name"]: task for task in templates(way)[dag]["dag"]["tasks"]}


def rows(way: DiskWay) -> tuple[Stage, ...]:
    return stages_for(TargetKind.HARVESTER, way, asked=OF_GUEST)


@pytest.mark.parametrize("way", DiskWay)
class TestGraph:
    def test_disks_fan_out_before_and_after_the_stages_with_all_disks(self, way: DiskWay) -> None:
        assert set(tasks(way, "disks")) == {"export", "convert"}
        assert set(tasks(way, "guest")) == set(OF_GUEST)
        assert set(tasks(way, "deliver")) == LAST[way]
        transfer = tasks(way, "transfer")
        assert {name: task.get("depends") for name, task in transfer.items()} == {
            "poweroff": None,
            "disks": "poweroff",
            "guest": "disks",
            "deliver": "guest",
        }
        assert "build" in tasks(way, "finish")

    def test_no_stage_waits_for_a_group(self, way: DiskWay) -> None:
        """Otherwise a retry of it in Argo leaves that group Running for ever (workflows/author/dag.py)."""
        dags = graph(rows(way))
        for waits in dags.values():
            for task in waits.keys() - dags.keys():
                behind, todo = set[str](), [task]
                while todo:
                    new = set(waits[todo.pop()]) - behind
                    behind |= new
                    todo += new
                assert not behind & dags.keys(), task

    def test_groups_are_tasks_of_the_groups_around_them(self, way: DiskWay) -> None:
        dags = graph(rows(way))
        found = {dag: outer for outer, waits in dags.items() for dag in waits if dag in dags}
        assert found == PARENT
        assert {home(stage) for stage in rows(way)} <= {*dags, "cleanup"}

    def test_both_fan_outs_are_over_the_disks_of_admit(self, way: DiskWay) -> None:
        transfer = tasks(way, "transfer")
        assert {name: transfer[name]["withParam"] for name in ("disks", "deliver")} == dict.fromkeys(
            ("disks", "deliver"), "{{inputs.parameters.disks}}"
        )

    def test_every_input_of_a_dag_is_given_and_used(self, way: DiskWay) -> None:
        made = templates(way)
        for one in made.values():
            for task in one.get("dag", {}).get("tasks", ()):
                wanted = {
                    part["name"] for part in made[task["template"]].get("inputs", {}).get("parameters", ())
                }
                given = {part["name"] for part in task.get("arguments", {}).get("parameters", ())}
                assert wanted == given, task["name"]

    def test_what_is_mounted_comes_from_the_controller_and_from_no_step(self, way: DiskWay) -> None:
        made = templates(way)
        assert made["name-claims"] == {
            "name": "name-claims",
            "suspend": {},
            "outputs": {"parameters": [{"name": "claims", "valueFrom": {"supplied": {}}}]},
        }
        inputs = {
            part["name"]: part["value"]
            for part in tasks(way, "import")["transfer"]["arguments"]["parameters"]
        }
        assert inputs["claims"] == "{{tasks.name-claims.outputs.parameters.claims}}"
        waits = {name: task.get("depends") for name, task in tasks(way, "import").items()}
        assert (waits["name-claims"], waits["approve-poweroff"]) == ("admit", "name-claims")
        assert made["inspect"]["podSpecPatch"] == pod_patch(stage_named("inspect"))
        assert tasks(way, "guest")["inspect"]["when"] == "{{=inputs.parameters.claims != 'none'}}"

    def test_the_inspection_has_no_credentials_no_token_and_no_right(self, way: DiskWay) -> None:
        inspect = templates(way)["inspect"]
        assert inspect["serviceAccountName"] == "vmferry-guest"
        assert {volume["name"] for volume in inspect["volumes"]} == {"request", "tmp"}
        assert "api-access" not in json.dumps(inspect)
        assert inspect["container"]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        }
        users = inspect.get("securityContext", {"runAsUser": 10001})["runAsUser"]
        assert users == (10001 if way is DiskWay.PULL else 107), "who wrote the disks can read them"
        assert inspect["metadata"]["labels"]["migration.harvesterhci.io/scratch"] == "true"

    def test_build_reads_what_was_found(self, way: DiskWay) -> None:
        assert templates(way)["build"]["container"]["args"] == ["--workflow", "{{workflow.name}}"]
        plain = templates(way, guest=False)["build"]["container"]
        assert "args" not in plain

    @pytest.mark.parametrize("kind", SourceKind)
    def test_templates_differ_only_in_image_and_name_of_the_provider(
        self, way: DiskWay, kind: SourceKind
    ) -> None:
        text = json.dumps(file(kind, way)["spec"]).replace(f"vmferry/{kind.provider}:", "vmferry/vmware:")
        assert text.replace(kind, "VmwareSource") == json.dumps(file(SourceKind.VMWARE, way)["spec"])


def test_a_second_fan_out_passes_on_only_what_its_stages_need() -> None:
    wanted = {
        DiskWay.PULL: ["disk"],
        DiskWay.LAND: ["disk", "landed"],
        DiskWay.MIXED: ["disk", "landed", "way"],
    }
    for way, names in wanted.items():
        assert [part["name"] for part in templates(way)["deliver"]["inputs"]["parameters"]] == names


def test_in_a_landing_the_vm_is_built_after_the_inspection() -> None:
    found = {stage.name: stage.after for stage in rows(DiskWay.LAND)}
    assert found["hand-over"] == ("inspect",)
    assert found["build"] == ("hand-over",)
    assert found["approve-start"] == ("build",)
    plain = {stage.name: stage.after for stage in stages_for(TargetKind.HARVESTER, DiskWay.LAND)}
    assert plain["build"] == ("approve-poweroff",)
