"""The WorkflowTemplate: the stage table as nested DAGs over the stages' pods. Pure.

Fields that Hera's models lack (they are for Argo 4.0) are added to the finished document.
tests/unit/workflows/author compares the document with its expected form, because those models silently drop
names they do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hera.workflows import DAG, Parameter, Suspend, Task, WorkflowTemplate
from hera.workflows import models as m

from steps.model import names
from steps.model.plan import DiskWay, Gate, TargetKind
from steps.model.sources import SourceKind
from workflows import argo_names, mounts
from workflows.author.dag import FAN_OUTS, FINISH, GUEST, IMPORT, TRANSFER, Graph, exit_graph, graph, home
from workflows.author.installation import Installation
from workflows.author.pods import (
    DISK,
    KEEP_OFF,
    LANDED,
    RUN,
    UNDO,
    WAY,
    container,
    disk_inputs,
    executor_patch,
    pod_security,
    semaphore,
    volume_inputs,
)
from workflows.stages import (
    CHECK,
    CLAIMS,
    CLEANUP,
    HALT,
    INSPECT,
    NAME_CLAIMS,
    RELEASE_SOURCE,
    Identity,
    Limit,
    Scope,
    Stage,
    stages_for,
)

Json = dict[str, Any]

TITLE: Final = "workflows.argoproj.io/title"
DESCRIPTION: Final = "workflows.argoproj.io/description"
DISPLAY_NAME: Final = "workflows.argoproj.io/display-name"
ENDED: Final = ("Succeeded", "Skipped", "Omitted", "Failed", "Errored")
"""Every end of a task, as a condition of the next one (docs/enhanced-depends-logic.md)."""
NO_SIDECARS: Final = {"sidecar.istio.io/inject": "false"}
"""A mesh's sidecar does not end when the step does (docs/sidecar-injection.md)."""


def template(
    settings: Installation,
    kind: SourceKind = SourceKind.VMWARE,
    way: DiskWay = DiskWay.PULL,
    *,
    guest: bool = False,
    boot_check: bool = False,
) -> Json:
    """The WorkflowTemplate for sources of `kind` and that way of the disks.

    With `guest` it has the stages that work on the guest's system, with all disks of the VM. With
    `boot_check` it has the stage `check` (`checked_templates`).
    """
    asked = (*(OF_GUEST if guest else ()), *((CHECK,) if boot_check else ()))
    stages = stages_for(TargetKind.HARVESTER, way, asked=asked)
    with _workflow(settings, kind, way, guest=guest) as workflow:
        for stage in stages:
            _stage(stage, settings, kind, _earlier_documents(stage, stages), inspected=guest)
        _dags(graph(stages), stages)
        _exit_handler(stages)
    return _add_missing_fields(workflow.to_dict(), stages, settings)


def checked_templates(
    settings: Installation, way: DiskWay = DiskWay.PULL, *, guest: bool = False
) -> list[Json]:
    """What a WorkflowTemplate has in addition for imports with a boot check: `check`, and the DAGs to it.

    The chart adds it where boot checks are allowed. It is the same for all kinds of source. A Workflow
    chooses it by its entrypoint, so imports without a boot check run exactly the same DAGs as ever.
    """
    plain = by_name(template(settings, way=way, guest=guest))
    whole = by_name(template(settings, way=way, guest=guest, boot_check=True))
    dags = (IMPORT, FINISH)  # from the root to the group that holds the stage
    renamed = {name: f"{name}{argo_names.CHECKED}" for name in dags}
    found = [one for name, one in whole.items() if name not in plain]
    for name in dags:
        tasks = whole[name]["dag"]["tasks"]
        dag = {
            "tasks": [{**task, "template": renamed.get(task["template"], task["template"])} for task in tasks]
        }
        found.append({**whole[name], "name": renamed[name], "dag": {**whole[name]["dag"], **dag}})
    return found


def by_name(document: Json) -> dict[str, Json]:
    """The templates of a WorkflowTemplate by their names."""
    return {one["name"]: one for one in document["spec"]["templates"]}


_DESCRIPTIONS: Final = {
    DiskWay.PULL: "Checks the VM, shuts it down, copies each disk and creates an image from it, "
    "creates the VM from the images and starts it. A failed step can be retried alone.",
    DiskWay.LAND: "Checks the VM, shuts it down, copies each disk to its volume, creates the VM meanwhile, "
    "hands the volumes over and starts the VM. A failed step can be retried alone.",
    DiskWay.MIXED: "Checks the VM, shuts it down, copies each disk to its volume or creates an image of it, "
    "creates the VM over the volumes and starts it. A failed step can be retried alone.",
}


OF_GUEST: Final = (INSPECT,)
"""The stages that only these templates have. `vmferry run` has further ones."""
_OF_GUEST_DESCRIPTION: Final = " Before the disks are handed on, it looks into all of them together."


def _workflow(settings: Installation, kind: SourceKind, way: DiskWay, *, guest: bool) -> WorkflowTemplate:
    return WorkflowTemplate(
        name=argo_names.template_name(kind, way, guest=guest),
        annotations={
            TITLE: f"Import a VM from a source of kind {kind}",
            DESCRIPTION: _DESCRIPTIONS[way] + (_OF_GUEST_DESCRIPTION if guest else ""),
        },
        entrypoint=IMPORT,
        # The only handler. A handler on a failed task is a child of it (workflow/controller/exit_handler.go),
        # and a retry keeps a failed task with a succeeded descendant, so it silently does nothing. This one
        # is not a child of any node; a retry deletes it with everything in it (workflow/util/util.go).
        on_exit=CLEANUP,
        service_account_name=argo_names.service_account(Identity.DATA),
        security_context=pod_security(settings.user),
        pod_spec_patch=executor_patch(settings),
        pod_metadata=m.Metadata(labels={names.LABEL_RUN: RUN, **NO_SIDECARS}),
        # A claim is deleted only after its pods. After a failure all pods stay, for their logs.
        pod_gc=m.PodGC(strategy="OnWorkflowSuccess"),
        ttl_strategy=m.TTLStrategy(
            seconds_after_success=settings.keep_succeeded, seconds_after_failure=settings.keep_failed
        ),
        arguments=[
            *(Parameter(name=name) for name in ("run", "source")),
            *(
                Parameter(name=name, value="false", enum=["true", "false"])
                for name in ("undo", KEEP_OFF, *(f"approve-{gate}" for gate in Gate), *_of_landing(way))
            ),
        ],
    )


def _of_landing(way: DiskWay) -> tuple[str, ...]:
    return () if way is DiskWay.PULL else (mounts.FINAL_CLAIMS,)


def _stage(
    stage: Stage, settings: Installation, kind: SourceKind, published: Sequence[str], *, inspected: bool
) -> None:
    if stage.gate or stage.answer:
        Suspend(name=stage.name)
    else:
        container(stage, settings, kind, published, inspected=inspected)


def _earlier_documents(stage: Stage, stages: Sequence[Stage]) -> list[str]:
    """The documents that earlier stages have added to the request before this stage runs."""
    before = [other for other in stages if other.name in stage.after]
    return [name for other in before for name in (*other.publishes, *_earlier_documents(other, stages))]


def _dags(dags: Graph, stages: Sequence[Stage]) -> None:
    """The nested DAGs. The outer DAGs pass on the list of disks, then one disk."""
    gates = {stage.name for stage in stages if stage.gate}
    inputs_by_dag = {
        IMPORT: (),
        TRANSFER: ("disks", CLAIMS) if GUEST in dags else ("disks",),
        **{dag: _disk_inputs(stages, dag) for dag in FAN_OUTS},
        GUEST: (CLAIMS,),
        FINISH: (),
    }
    conditions = {name: f"{{{{workflow.parameters.{name}}}}} == true" for name in gates}
    conditions |= {
        stage.name: f"{_input(LANDED)} == false"
        for stage in stages
        if stage.volume and stage.scope is Scope.DISK
    }
    conditions |= {stage.name: mounts.CONDITION for stage in stages if stage.scratches}
    conditions |= {
        stage.name: f"{_input(WAY)} == {stage.way}" for stage in stages if stage.mixed and stage.way
    }
    for dag in dags:
        lock = semaphore(Limit.MACHINES) if dag == TRANSFER else None
        inputs = [Parameter(name=name) for name in inputs_by_dag[dag]]
        with DAG(name=dag, inputs=inputs, synchronization=lock):
            for name, waits in dags[dag].items():
                Task(
                    name=name,
                    template=name,
                    depends=" && ".join(waits) or None,
                    when=conditions.get(name),
                    arguments=_arguments(name, stages),
                    with_param="{{inputs.parameters.disks}}" if name in FAN_OUTS else None,
                )


def _exit_handler(stages: Sequence[Stage]) -> None:
    """The DAG of what runs at the end: one task after the other, however the one before ended.

    Argo runs it like a single handler: it passes on to the tasks that they belong to the handler, so they run
    after a stop, too (workflow/controller/dag.go, onExitTemplate). This needs the handler's own display name,
    `WORKFLOW.onExit` (IsPartOfExitHandler in pkg/apis/workflow/v1alpha1).
    """
    conditions = {stage.name: "{{workflow.status}} == Succeeded" for stage in stages if stage.after_success}
    conditions[HALT] = f"{{{{workflow.status}}}} != Succeeded || {UNDO} == true"
    with DAG(name=CLEANUP):
        for name, waits in exit_graph(stages).items():
            ended = [f"({' || '.join(f'{before}.{phase}' for phase in ENDED)})" for before in waits]
            Task(
                name=name,
                template=name,
                depends=" && ".join(ended) or None,
                when=conditions.get(name),
                arguments={HALT: f"{{{{tasks.{HALT}.status}}}}"} if name == RELEASE_SOURCE else {},
            )


def _arguments(task: str, stages: Sequence[Stage]) -> dict[str, str]:
    if task == TRANSFER:
        passed = {"disks": "{{tasks.admit.outputs.parameters.disks}}"}
        if any(stage.scratches for stage in stages):
            passed[CLAIMS] = f"{{{{tasks.{NAME_CLAIMS}.outputs.parameters.{CLAIMS}}}}}"
        return passed
    if task in FAN_OUTS:
        inputs = _disk_inputs(stages, task)
        if inputs == ("disk",):
            return {"disk": "{{item}}"}
        return {name: f"{{{{item.{name}}}}}" for name in inputs}  # a row of steps.model.landing
    row = next((stage for stage in stages if stage.name == task), None)
    if task == GUEST or (row is not None and row.scratches):
        return {CLAIMS: _input(CLAIMS)}
    if row is None or row.scope is not Scope.DISK:
        return {}
    return {"disk": DISK, **{name: _input(name) for name in disk_inputs(row)}}


def _disk_inputs(stages: Sequence[Stage], dag: str) -> tuple[str, ...]:
    """What a DAG of a disk must know of it."""
    inside = [stage for stage in stages if home(stage) == dag]
    on_volume = next((stage for stage in inside if stage.volume), None)
    needs_landed = on_volume is not None or any(stage.awaits for stage in inside)
    return (
        "disk",
        *(volume_inputs(on_volume) if on_volume is not None else ()),
        *((LANDED,) if needs_landed else ()),
        *((WAY,) if any(stage.mixed for stage in inside) else ()),
    )


def _input(name: str) -> str:
    return f"{{{{inputs.parameters.{name}}}}}"


def _add_missing_fields(document: Json, stages: Sequence[Stage], settings: Installation) -> Json:
    """What Hera has no field for: display names, and a limit to waiting (argo-workflows 4.1).

    A stage that takes a lock has no limit, because Argo also counts the wait for the lock and then fails the
    stage without a retry (workflow/controller/operator.go, checkTemplateTimeouts: "also covers …
    synchronization").
    """
    rows = {stage.name: stage for stage in stages}
    for entry in document["spec"]["templates"]:
        name, row = entry["name"], rows.get(entry["name"])
        if row is not None and row.answer:  # the suspended node keeps it until somebody supplies it
            entry["outputs"] = {"parameters": [{"name": row.answer, "valueFrom": {"supplied": {}}}]}
        elif row is not None and not row.gate and row.limit is None:
            entry["pendingTimeout"] = settings.pending_timeout
        if shown := _display_name(name, row):
            entry["annotations"] = {DISPLAY_NAME: shown}
    return document


def _display_name(name: str, row: Stage | None) -> str | None:
    """Letters, digits, dashes, dots: otherwise the node is an Error (operator.go, displayNameRegex)."""
    if name in FAN_OUTS:
        return DISK
    if row is None:
        return None
    return f"{name}-{DISK}" if row.scope is Scope.DISK else None
