"""What a WorkflowTemplate has in addition for imports with hooks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

import pytest

from steps.model.plan import BootCheckPlan, HookPlan, Moment
from tests.unit.builders import a_plan
from tests.unit.workflows.author.rendered import CHART, Json, parse
from workflows.author.chart import checked_files, hooked_files, hooked_names
from workflows.author.hooked import DISK_HOOK, HOOK
from workflows.author.installation import Installation
from workflows.author.template import template
from workflows.author.workflow import author
from workflows.hooks import point_of

NAMES: Final = list(hooked_names())
HOOKED: Final = a_plan().model_copy(
    update={
        "hooks": (
            HookPlan(moment=Moment.BEFORE, stage="poweroff", name="cmdb"),
            HookPlan(moment=Moment.AFTER, stage="start", name="notify"),
        )
    }
)


@functools.cache
def added(name: str) -> dict[str, Json]:
    return {one["name"]: one for one in parse((CHART / "files" / name).read_text())["templates"]}


@functools.cache
def base(name: str, *, boot_check: bool = False) -> dict[str, Json]:
    """The template to which the file is added."""
    _, way, guest = hooked_names()[name]
    made = template(Installation(), way=way, guest=guest, boot_check=boot_check)
    return {one["name"]: one for one in made["spec"]["templates"]}


def with_boot_check(name: str) -> dict[str, Json]:
    return added(name.replace("/hooks", "/check", 1))


def tasks_of(part: Json) -> dict[str, Json]:
    return {task["name"]: task for task in part.get("dag", {}).get("tasks", [])}


def all_before(tasks: dict[str, Json], name: str) -> set[str]:
    direct = [word for word in tasks[name].get("depends", "").split(" && ") if word]
    return {*direct, *(earlier for one in direct for earlier in all_before(tasks, one))}


def dags(parts: dict[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    for name, part in parts.items():
        if "dag" in part:
            yield name, tasks_of(part)


def test_the_files_are_up_to_date() -> None:
    for name, text in hooked_files().items():
        assert (CHART / "files" / name).read_text() == text, "run: make golden"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_other_templates_is_replaced(name: str) -> None:
    check = {
        one["name"]: one
        for one in parse(checked_files()[name.replace("hooks/hooks", "boot-check/check")])["templates"]
    }
    parts = [base(name), check, added(name), with_boot_check(name)]
    names = [one for part in parts for one in part]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", NAMES)
def test_without_its_hooks_it_is_the_plain_graph(name: str) -> None:
    """Each stage waits for what it waits for otherwise, and possibly for more."""
    both = {False: added(name), True: with_boot_check(name)}
    for boot_check, parts in both.items():
        plain = base(name, boot_check=boot_check)
        for dag, tasks in dags(parts):
            own = dag.removesuffix("-hooked").removesuffix("-checked")
            expected = tasks_of(plain[own])
            stages = {task for task in tasks if point_of(task) is None}
            assert stages == set(expected)
            for task in stages:
                assert all_before(expected, task) <= all_before(tasks, task), (dag, task)
                assert tasks[task].get("arguments") == expected[task].get("arguments")
                assert tasks[task].get("when") == expected[task].get("when")


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_before_a_stage_holds_it_and_one_after_it_holds_all_later_ones(name: str) -> None:
    for dag, tasks in dags(added(name)):
        for task in tasks:
            point = point_of(task)
            if point is None:
                continue
            if point.moment is Moment.BEFORE:
                assert task in all_before(tasks, point.stage), dag
                continue
            assert point.stage in all_before(tasks, task)
            later = [one for one in tasks if point.stage in all_before(tasks, one) and one != task]
            assert all(task in all_before(tasks, one) for one in later), (dag, task)


@pytest.mark.parametrize("name", NAMES)
def test_the_node_of_a_hook_is_a_pod_that_waits_and_sees_nothing_of_the_import(name: str) -> None:
    parts = added(name)
    for hook in (HOOK, DISK_HOOK):
        assert parts[hook]["container"]["command"] == ["python", "-m", "steps.hook"]
        mounted = {mount["name"] for mount in parts[hook]["container"]["volumeMounts"]}
        assert mounted <= {"request", "tmp"}, "no scratch, no credentials, no Secret"
        (own,) = parts[hook]["container"]["env"]
        assert own["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    for _, tasks in dags(parts):
        for task, row in tasks.items():
            if point_of(task) is not None:
                asked = f"{{{{='{task}' in split(workflow.parameters.hooks, ' ')}}}}"
                assert row["when"].split(" && ")[0] == asked
                given = {one["name"]: one["value"] for one in row["arguments"]["parameters"]}
                assert given["point"] == task
                assert (row["template"] == DISK_HOOK) is ("disk" in given)


@pytest.mark.parametrize("name", NAMES)
def test_every_task_exists(name: str) -> None:
    everything = base(name, boot_check=True) | added(name) | with_boot_check(name)
    for _, tasks in dags(added(name) | with_boot_check(name)):
        for task in tasks.values():
            assert task["template"] in everything


@pytest.mark.parametrize("name", NAMES)
def test_no_stage_waits_for_a_group(name: str) -> None:
    """Else a retry in Argo would not end (workflows/author/dag.py)."""
    for dag, tasks in dags(added(name) | with_boot_check(name)):
        groups = {task for task, row in tasks.items() if row["template"].endswith("-hooked")}
        for task in tasks.keys() - groups:
            assert not groups & all_before(tasks, task), (dag, task)


def test_a_veto_after_the_check_of_a_disk_comes_before_its_hand_over() -> None:
    tasks = tasks_of(added("hooks/hooks-land.yaml")["disks-hooked"])
    assert "after-convert" in all_before(tasks, "hand-over")


def test_serve_begins_with_image() -> None:
    tasks = tasks_of(added("hooks/hooks.yaml")["disks-hooked"])
    assert tasks["serve"]["depends"] == tasks["image"]["depends"] == "before-image"
    assert "before-serve" not in tasks


def test_a_workflow_chooses_it_by_its_entrypoint() -> None:
    hooked, plain = author(HOOKED, Installation()), author(a_plan(), Installation())
    assert hooked["spec"].pop("entrypoint") == "import-hooked"
    parameters = hooked["spec"]["arguments"]["parameters"]
    assert parameters.pop() == {"name": "hooks", "value": "before-poweroff after-start"}
    assert hooked == plain


def test_a_workflow_names_no_hook() -> None:
    """Only points are in it: words of our own, and nothing that a tenant has written."""
    assert "cmdb" not in str(author(HOOKED, Installation()))


def test_a_workflow_may_have_hooks_and_a_boot_check() -> None:
    both = HOOKED.model_copy(update={"boot_check": BootCheckPlan()})
    assert author(both, Installation())["spec"]["entrypoint"] == "import-checked-hooked"
