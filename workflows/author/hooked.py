"""What a WorkflowTemplate has in addition for imports with hooks: a node at each point, and the DAGs. Pure.

A Workflow chooses it by its entrypoint, so imports without hooks run exactly the same DAGs as ever, and the
files of the other templates do not change. The parameter `hooks` has the points at which this import has a
hook; the other nodes are skipped.

The node of a hook is a suspended one. The controller runs the hook in a pod or Workflow of its own and then
writes the end of the node, as `argo node set` does. So no hook sees the parameters, the claims or the Secrets
of the import, and a hook may be any WorkflowTemplate: its groups are in another Workflow (dag.py says why
they must not be in this one). The output `verdict` has no value until the controller writes one, so RESUME in
the Argo UI does not skip a hook.
"""

from __future__ import annotations

from typing import Any, Final

from steps.model.plan import DiskWay, Moment
from workflows.argo_names import CHECKED, HOOKED, HOOKS
from workflows.author.dag import DELIVER, DISKS, FAN_OUTS, FINISH, GUEST, IMPORT, TRANSFER
from workflows.author.installation import Installation
from workflows.author.template import by_name, template
from workflows.hooks import IMAGE, SERVE, Point, has_points
from workflows.stages import STAGES

Json = dict[str, Any]
HOOK: Final = "hook"
"""The template of a hook at a point of a stage of the VM."""
DISK_HOOK: Final = "hook-of-disk"
HOOK_TEMPLATES: Final = (HOOK, DISK_HOOK)
VERDICT: Final = "verdict"
"""The output that the controller writes."""
_DAGS: Final = (IMPORT, TRANSFER, DISKS, GUEST, DELIVER, FINISH)
_ROWS: Final = {stage.name: stage for stage in STAGES}
_AND: Final = " && "


def hooked_templates(
    settings: Installation, way: DiskWay = DiskWay.PULL, *, guest: bool = False
) -> list[Json]:
    """What the template of imports without a boot check has in addition."""
    parts = by_name(template(settings, way=way, guest=guest))
    verdict = {"parameters": [{"name": VERDICT, "valueFrom": {"supplied": {}}}]}
    disk = {"inputs": {"parameters": [{"name": "disk"}]}}
    return [
        {"name": HOOK, "suspend": {}, "outputs": verdict},
        {"name": DISK_HOOK, "suspend": {}, **disk, "outputs": verdict},
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


def _hooked(part: Json, renamed: dict[str, str]) -> Json:
    """A DAG with a hook before and after each of its stages."""
    tasks = part["dag"]["tasks"]
    names = {task["name"] for task in tasks}
    made = [one for task in tasks for one in _with_hooks(task, part["name"], names, renamed)]
    return {**part, "name": renamed[part["name"]], "dag": {**part["dag"], "tasks": made}}


def _with_hooks(task: Json, dag: str, names: set[str], renamed: dict[str, str]) -> list[Json]:
    """A task between its hooks; a group, and a stage without points, only waits for those of others."""
    name = task["name"]
    row = _ROWS.get(name)
    waits = task["depends"].split(_AND) if "depends" in task else []
    if row is not None and row.awaits in names:  # else a veto after that stage would come too late
        waits.append(row.awaits)
    waits = sorted({_after(one) for one in waits})
    if name == SERVE and IMAGE in names:  # both begin together
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
    node: Json = {"name": point.name, "template": HOOK, "when": _AND.join(whens)}
    if dag in FAN_OUTS:
        value = "{{inputs.parameters.disk}}"
        node |= {"template": DISK_HOOK, "arguments": {"parameters": [{"name": "disk", "value": value}]}}
    return _depending(node, waits)


def _depending(task: Json, waits: list[str]) -> Json:
    return {**task, "depends": _AND.join(waits)} if waits else task
