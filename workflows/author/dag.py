"""The stage table as nested DAGs, as Argo runs them. Pure.

    import{ preflight … transfer{ poweroff disks⟨disk⟩{ export … image } } finish{ build … start } }
    cleanup{ halt … release-source … delete-scratch }        the exit handler

Where the import asks for a stage of the whole VM between stages of its disks, the disks fan out twice:

    transfer{ poweroff disks⟨disk⟩{ export convert } guest{ inspect } deliver⟨disk⟩{ serve image } }

In no DAG does a stage wait for a group, directly or indirectly; only a group may. Otherwise a retry in Argo
would not end. For each failed stage, Argo sets the groups on the path from it back to the root to Running:
those that hold it, and those in its own DAG that finished before it (argo-workflows workflow/util/util.go,
resetPath). The path from a group leads directly to the group around it. Argo visits only what an unfulfilled
task waits for directly (workflow/controller/dag.go, executeDAGTask), so it does not visit a group that
finished before a stage: that group would stay Running for ever, and so would the Workflow. So a stage that
waits for all disks is in a group of its own, `guest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from workflows.stages import CLEANUP, Scope, Stage, stage_named

IMPORT: Final = "import"
TRANSFER: Final = "transfer"
DISKS: Final = "disks"
GUEST: Final = "guest"
"""The stages with all disks of the VM."""
DELIVER: Final = "deliver"
"""The second fan-out: the stages of a disk after those."""
FAN_OUTS: Final = (DISKS, DELIVER)
FINISH: Final = "finish"
ON_EXIT: Final = "onExit"
"""The last part of the name of its node (argo-workflows workflow/common, GenerateOnExitNodeName)."""
PARENT: Final = {DISKS: TRANSFER, GUEST: TRANSFER, DELIVER: TRANSFER, TRANSFER: IMPORT, FINISH: IMPORT}
"""DAGs that are a task of the same name in another DAG."""
_IF_ASKED: Final = (GUEST, DELIVER)

Graph = dict[str, dict[str, tuple[str, ...]]]
"""The DAGs by name. Each has its tasks by name, with the tasks they wait for."""


def graph(stages: Iterable[Stage]) -> Graph:
    """The DAGs of a table, tasks in its order. A DAG waits for what any stage in it waits for outside."""
    by_name = {stage.name: stage for stage in stages if stage.scope is not Scope.EXIT}
    dags: dict[str, dict[str, set[str]]] = {
        dag: {} for dag in (IMPORT, TRANSFER, DISKS, GUEST, DELIVER, FINISH)
    }
    for stage in by_name.values():
        for task, dag in _places(stage):
            waits = dags[dag].setdefault(task, set())
            waits |= {other for name in stage.after if (other := _seen_from(dag, by_name[name]))} - {task}
    return {
        dag: {task: tuple(sorted(waits)) for task, waits in tasks.items()}
        for dag, tasks in dags.items()
        if tasks or dag not in _IF_ASKED
    }


def exit_graph(stages: Iterable[Stage]) -> dict[str, tuple[str, ...]]:
    """The DAG of the exit handler: its tasks, with the tasks they wait for."""
    return {stage.name: stage.after for stage in stages if stage.scope is Scope.EXIT}


def home(stage: Stage) -> str:
    """The DAG in which a stage is a task."""
    if stage.scope is Scope.EXIT:
        return CLEANUP
    if stage.scope is Scope.DISK:
        return DELIVER if _after_all_disks(stage) else DISKS
    if stage.scratches:
        return GUEST
    if stage.in_transfer:
        return TRANSFER
    return FINISH if _after_transfer(stage) else IMPORT


def _after_all_disks(stage: Stage) -> bool:
    """Whether a stage with all disks must finish before this stage."""
    before = [stage_named(name) for name in stage.after]
    return any(earlier.scratches or _after_all_disks(earlier) for earlier in before)


def _after_transfer(stage: Stage) -> bool:
    """Whether a stage of the transfer must finish before this stage."""
    before = [stage_named(name) for name in stage.after]
    return any(earlier.in_transfer or _after_transfer(earlier) for earlier in before)


def _places(stage: Stage) -> Iterator[tuple[str, str]]:
    """(task, DAG) of a stage and of every DAG that contains it, from the inside out."""
    task, dag = stage.name, home(stage)
    yield task, dag
    while dag in PARENT:
        task, dag = dag, PARENT[dag]
        yield task, dag


def _seen_from(dag: str, stage: Stage) -> str | None:
    """The task of `dag` that is this stage or contains it; None when the stage is outside."""
    return next((task for task, place in _places(stage) if place == dag), None)
