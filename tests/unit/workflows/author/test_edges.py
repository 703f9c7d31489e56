"""The nested DAGs match the stage table."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest

from steps.model.plan import TargetKind
from tests.unit.workflows.author.rendered import GATES, INNER, STAGES, dags, inner_dags, templates, waits
from workflows.author.dag import PARENT, exit_graph, graph
from workflows.stages import CLEANUP, Scope, stages_for

ROOT = "import"


def flattened() -> dict[str, set[str]]:
    """Stage to the stages it waits for, from the rendered DAGs alone."""
    found = inner_dags()
    return {task: before(dag, task) for dag, tasks in found.items() for task in tasks if task not in found}


def before(dag: str, task: str) -> set[str]:
    """What must be done before a task: its own predecessors, or without any those of its DAG."""
    own = waits(dags()[dag][task])
    if own:
        return {stage for name in own for stage in ends(name)}
    outer = next((outer for outer, tasks in dags().items() if dag in tasks), None)
    return before(outer, dag) if outer else set()


def ends(task: str) -> set[str]:
    """The last stages of a task: itself, or those stages of its DAG that nothing waits for."""
    if task not in dags():
        return {task}
    inside = dags()[task]
    awaited = {name for one in inside.values() for name in waits(one)}
    return {stage for name in set(inside) - awaited for stage in ends(name)}


def test_edges_match_the_stage_table() -> None:
    assert flattened() == {stage.name: set(stage.after) for stage in INNER}


def test_every_stage_has_a_template_and_every_template_is_used() -> None:
    used = {task["template"] for tasks in dags().values() for task in tasks.values()}
    assert set(templates()) == used | {ROOT, CLEANUP} == {stage.name for stage in STAGES} | set(dags())


def test_the_stages_of_the_end_run_one_after_the_other_however_the_one_before_ended() -> None:
    tasks = dags()[CLEANUP]
    order = {"halt": (), "release-source": ("halt",), "delete-scratch": ("release-source",)}
    assert list(tasks) == list(order)
    assert exit_graph(STAGES) == order
    ends = ("Succeeded", "Skipped", "Omitted", "Failed", "Errored")
    for name, before in order.items():
        expected = "".join(f"({' || '.join(f'{one}.{end}' for end in ends)})" for one in before)
        assert tasks[name].get("depends", "") == expected


def test_task_has_the_name_of_its_template() -> None:
    """`workflows.status.nodes` derives a node's stage from the last part of its name, which is the task's."""
    assert all(task["template"] == name for tasks in dags().values() for name, task in tasks.items())


def behind(tasks: dict[str, set[str]], task: str) -> set[str]:
    """Every task of a DAG that must be done before this one."""
    return tasks[task] | {far for near in tasks[task] for far in behind(tasks, near)}


@pytest.mark.parametrize("dag", dags())
def test_no_stage_waits_for_a_group(dag: str) -> None:
    """Otherwise a retry of it in Argo leaves that group Running for ever (workflows/author/dag.py)."""
    tasks = {name: set(waits(task)) for name, task in dags()[dag].items()}
    assert {task: behind(tasks, task) & set(dags()) for task in tasks if task not in dags()} == {
        task: set() for task in tasks if task not in dags()
    }


def test_disk_dag_is_inside_transfer_inside_import() -> None:
    found = {dag: outer for outer, tasks in dags().items() for dag in tasks if dag in dags()}
    assert found == {dag: outer for dag, outer in PARENT.items() if dag not in ("guest", "deliver")}
    per_disk = {stage.name for stage in STAGES if stage.scope is Scope.DISK}
    assert set(dags()["disks"]) == per_disk


def test_poweroff_gate_comes_before_the_lock() -> None:
    assert set(dags()[ROOT]) & {gate.name for gate in GATES} == {"approve-poweroff"}
    assert waits(dags()[ROOT]["transfer"]) == ["approve-poweroff"]


@pytest.mark.parametrize("target", TargetKind)
def test_dags_have_no_cycle(target: TargetKind) -> None:
    for tasks in graph(stages_for(target)).values():
        assert set(TopologicalSorter(tasks).static_order()) == set(tasks)
