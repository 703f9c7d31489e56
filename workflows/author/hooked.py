"""What a WorkflowTemplate has in addition for imports with hooks: a node at each point, and the DAGs. Pure.

A Workflow chooses it by its entrypoint, so imports without hooks run exactly the same DAGs as ever, and the
files of the other templates do not change. The parameter `hooks` has the points at which this import has a
hook; the other nodes are skipped.

The node of a hook is a pod that only waits (`steps.hook`). The controller runs the hook in a pod or Workflow
of its own and writes its end into an annotation of the Workflow. So no hook sees the parameters, the claims
or the Secrets of the import, and a hook may be any WorkflowTemplate: its groups are in another Workflow
(dag.py says why they must not be in this one). A suspended node would not do: a retry in Argo leaves one that
has failed as it is (argo-workflows workflow/util/util.go, isExecutionNodeType).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from hera.workflows import WorkflowTemplate

from steps.model import hook_verdict, names
from steps.model.plan import DiskWay, Moment
from steps.model.sources import SourceKind
from workflows.argo_names import CHECKED, HOOKED, HOOKS
from workflows.author.dag import DELIVER, DISKS, FAN_OUTS, FINISH, GUEST, IMPORT, TRANSFER
from workflows.author.installation import Installation
from workflows.author.pods import container
from workflows.author.template import by_name, template
from workflows.hooks import IMAGE, SERVE, Point, has_points
from workflows.stages import STAGES, Identity, Image, Scope, Stage

Json = dict[str, Any]
HOOK: Final = hook_verdict.STAGE
"""The template of a hook at a point of a stage of the VM."""
DISK_HOOK: Final = "hook-of-disk"
POINT: Final = "point"
"""The input of both: the point."""
ROW: Final = Stage(
    HOOK,
    "Wait for the hook",
    after=(),
    identity=Identity.SERVE,
    image=Image.TARGET,
    api=True,
    outputs=(hook_verdict.OUTPUT,),
)
"""It may do what `serve` may: read its Workflow, and report."""
_DAGS: Final = (IMPORT, TRANSFER, DISKS, GUEST, DELIVER, FINISH)
_ROWS: Final = {stage.name: stage for stage in STAGES}
_AND: Final = " && "


def hooked_templates(
    settings: Installation, way: DiskWay = DiskWay.PULL, *, guest: bool = False
) -> list[Json]:
    """What the template of imports without a boot check has in addition."""
    parts = by_name(template(settings, way=way, guest=guest))
    return [
        _waiting(settings, HOOK, Scope.MACHINE),
        _waiting(settings, DISK_HOOK, Scope.DISK),
        *(_hooked(parts[name], {dag: dag + HOOKED for dag in _DAGS}) for name in _DAGS if name in parts),
    ]


def checked_hooked_templates(
    settings: Installation, way: DiskWay = DiskWay.PULL, *, guest: bool = False
) -> list[Json]:
    """What it has in addition to those for imports with a boot check, too."""
    parts = by_name(template(settings, way=way, guest=guest, boot_check=True))
    own = (IMPORT, FINISH)  # from the root to the group that holds `check`
    renamed = {dag: f"{dag}{CHECKED if dag in own else ''}{HOOKED}" for dag in _DAGS}
    return [_hooked(parts[name], renamed) for name in own]


def _waiting(settings: Installation, name: str, scope: Scope) -> Json:
    """The pod that waits for a hook."""
    with WorkflowTemplate(name=name) as made:
        container(replace(ROW, scope=scope), settings, SourceKind.VMWARE, ())
    (part,) = made.to_dict()["spec"]["templates"]
    inputs = part.get("inputs", {}).get("parameters", [])
    labels = {**part["metadata"]["labels"], names.LABEL_POINT: f"{{{{inputs.parameters.{POINT}}}}}"}
    own = {"name": hook_verdict.POD_UID_ENV, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    return {
        **part,
        "name": name,
        "metadata": {**part["metadata"], "labels": labels},
        "inputs": {"parameters": [{"name": POINT}, *inputs]},
        "container": {**part["container"], "env": [own]},
        "pendingTimeout": settings.pending_timeout,
    }


def _hooked(part: Json, renamed: dict[str, str]) -> Json:
    """A DAG with a hook before and after each of its stages."""
    tasks = part["dag"]["tasks"]
    inside = {task["name"] for task in tasks}
    made = [one for task in tasks for one in _with_hooks(task, part["name"], inside, renamed)]
    return {**part, "name": renamed[part["name"]], "dag": {**part["dag"], "tasks": made}}


def _with_hooks(task: Json, dag: str, inside: set[str], renamed: dict[str, str]) -> list[Json]:
    """A task between its hooks; a group, and a stage without points, only waits for those of others."""
    name = task["name"]
    row = _ROWS.get(name)
    waits = task["depends"].split(_AND) if "depends" in task else []
    if row is not None and row.awaits in inside:  # else a veto after that stage would come too late
        waits.append(row.awaits)
    waits = sorted({_after(one) for one in waits})
    if name == SERVE and IMAGE in inside:  # both begin together
        return [_depending(task, [Point(Moment.BEFORE, IMAGE).name])]
    if row is None or not has_points(row):
        return [_depending({**task, "template": renamed.get(name, task["template"])}, waits)]
    before, after = Point(Moment.BEFORE, name), Point(Moment.AFTER, name)
    return [
        _node(before, task, dag, waits),
        _depending(task, [before.name]),
        _node(after, task, dag, [name]),
    ]


def _after(name: str) -> str:
    """What a task waits for instead of a task: the hook after it."""
    row = _ROWS.get(name)
    return Point(Moment.AFTER, name).name if row is not None and has_points(row) else name


def _node(point: Point, task: Json, dag: str, waits: list[str]) -> Json:
    """The node of a hook. It is skipped where its stage is, and where the import has no hook."""
    asked = f"{{{{='{point.name}' in split(workflow.parameters.{HOOKS}, ' ')}}}}"
    whens = [asked, *([task["when"]] if "when" in task else [])]
    given = [{"name": POINT, "value": point.name}]
    if dag in FAN_OUTS:
        given.append({"name": "disk", "value": "{{inputs.parameters.disk}}"})
    node: Json = {
        "name": point.name,
        "template": DISK_HOOK if dag in FAN_OUTS else HOOK,
        "when": _AND.join(whens),
        "arguments": {"parameters": given},
    }
    return _depending(node, waits)


def _depending(task: Json, waits: list[str]) -> Json:
    return {**task, "depends": _AND.join(waits)} if waits else task
