"""The stage table as the nested DAGs that Argo runs: import{ … transfer{ … disks⟨disk⟩{ … } … } … }. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from workflows.stages import Scope, Stage

IMPORT: Final = "import"
TRANSFER: Final = "transfer"
DISKS: Final = "disks"
PARENT: Final = {DISKS: TRANSFER, TRANSFER: IMPORT}
"""DAGs that are a task, of the same name, in another one."""

Graph = dict[str, dict[str, tuple[str, ...]]]
"""The DAGs by name; each has its tasks by name with those they wait for."""


def graph(stages: Iterable[Stage]) -> Graph:
    """The DAGs of a table, tasks in its order. A DAG waits for what any stage in it waits for outside."""
    by_name = {stage.name: stage for stage in stages if stage.scope is not Scope.EXIT}
    found: dict[str, dict[str, set[str]]] = {IMPORT: {}, TRANSFER: {}, DISKS: {}}
    for stage in by_name.values():
        for task, dag in _places(stage):
            waits = found[dag].setdefault(task, set())
            waits |= {other for name in stage.after if (other := _seen_from(dag, by_name[name]))} - {task}
    return {
        dag: {task: tuple(sorted(waits)) for task, waits in tasks.items()} for dag, tasks in found.items()
    }


def home(stage: Stage) -> str:
    """The DAG in which a stage is a task."""
    if stage.scope is Scope.DISK:
        return DISKS
    return TRANSFER if stage.in_transfer else IMPORT


def _places(stage: Stage) -> Iterator[tuple[str, str]]:
    """(task, DAG) of a stage and of every DAG that it is in, from within outwards."""
    task, dag = stage.name, home(stage)
    yield task, dag
    while dag in PARENT:
        task, dag = dag, PARENT[dag]
        yield task, dag


def _seen_from(dag: str, stage: Stage) -> str | None:
    """The task of `dag` that is this stage or holds it; None when the stage is outside."""
    return next((task for task, place in _places(stage) if place == dag), None)
