"""The hooks of an import: their definitions, and the Pods and Workflows in which they run.

Only ImportHooks of the release namespace count. A hook is read when its import is planned, and again when it
begins: what the administrator has changed or withdrawn meanwhile counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from controller.operator.observe.fields import annotations_of, labels_of, mapping, rows, text
from controller.operator.options import Options
from steps.model import names
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.document import first_error
from steps.model.hook_verdict import STAGE
from steps.model.kinds import GROUP, IMPORT_HOOK, POD, WORKFLOW, Kind, Object
from steps.model.names import LABEL_HOOK
from steps.model.plan import HookPlan
from steps.model.printable import printable
from steps.runtime.cluster import Cluster
from workflows.api.import_hook import DEFAULT_SECONDS, ImportHook, OnHookFailure
from workflows.hooks import hook_faults

CREATED: Final = f"{GROUP}/created"
SECONDS: Final = f"{GROUP}/hook-seconds"
ON_FAILURE: Final = f"{GROUP}/hook-on-failure"
"""Annotations: when the controller created it, and the fields of its ImportHook at that time."""
POINT: Final = f"{GROUP}/hook-point"
DISK: Final = f"{GROUP}/hook-disk"
"""Annotations: where it runs."""
WORKFLOW_LABEL: Final = "workflows.argoproj.io/workflow"
"""Label of Argo on each pod of a Workflow."""
DEADLINE: Final = "DeadlineExceeded"
_LONGEST: Final = 400
_ENDED: Final = ("Succeeded", "Failed", "Error")


@dataclass(frozen=True)
class HookRun:
    """The Pod or Workflow of a hook."""

    name: str
    kind: Kind
    created: datetime | None
    seconds: int
    """How long the hook may take."""
    on_failure: OnHookFailure
    ended: bool = False
    succeeded: bool = False
    message: str = ""
    """Its last words, why it has failed, or why it has not begun yet."""
    point: str = ""
    disk: str = ""


@dataclass(frozen=True)
class Waiter:
    """A pod of a Workflow that waits for its hook and runs (`steps.hook`)."""

    uid: str
    point: str
    disk: str
    """Empty at a point of a stage of the whole VM."""


@dataclass(frozen=True)
class ResolvedHook:
    """A definition, or why there is none that the import may use."""

    hook: ImportHook | None = None
    fault: str = ""


def resolve_hook(cluster: Cluster, options: Options, name: str, namespace: str) -> ResolvedHook:
    """The hook of that name for an import of `namespace`.

    Raises:
        StepError: where the API does not answer.
    """
    # Those who may not use a hook do not learn whether it exists.
    missing = (
        f"the hook {name} does not exist, or imports of namespace {namespace} may not use it; write another "
        "one, or ask the administrator of vmferry"
    )
    try:
        found = cluster.get(IMPORT_HOOK, name, options.namespace)
    except StepError as error:
        if is_retryable(error.code):
            raise
        if error.code is not Exit.NOT_FOUND:  # such as hooks.allowed, which is false by now
            return ResolvedHook(fault=f"the hook {name} cannot be read: {error}")
        found = None  # the cluster has the CRDs of an older version
    hook, wrong = _hook_in(found) if found is not None else (None, "")
    if found is None or (hook is not None and not hook.spec.allows(namespace)):
        return ResolvedHook(fault=missing)
    if hook is None or wrong:
        return ResolvedHook(fault=f"the hook {name} is not valid: {wrong}; {_ASK}")
    if hook.spec.command:
        return ResolvedHook(
            fault=f"the hook {name} has a command, which only `vmferry run` starts; write another hook, or "
            "ask the administrator of vmferry for one with a container"
        )
    return ResolvedHook(hook)


def _hook_in(found: Object) -> tuple[ImportHook | None, str]:
    """The hook in an object, or what is wrong with it."""
    try:
        hook = ImportHook.model_validate(
            {**found, "spec": found.get("spec") or {}}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        return None, first_error(error)
    return hook, next(hook_faults(hook), "")


_ASK: Final = "ask the administrator of vmferry to correct it"


def hook_reasons(
    cluster: Cluster, options: Options, hooks: Iterable[HookPlan], namespace: str
) -> Iterator[str]:
    """Why hooks of an import cannot be used, once for each hook."""
    for name in dict.fromkeys(hook.name for hook in hooks):
        if fault := resolve_hook(cluster, options, name, namespace).fault:
            yield f"spec.hooks: {fault}"


def read_runs(cluster: Cluster, options: Options, run: str) -> tuple[HookRun, ...]:
    """The Pods and Workflows of all hooks of a run.

    Raises:
        StepError: where the API does not answer.
    """
    return tuple(
        _read(kind, found)
        for kind in (POD, WORKFLOW)
        for found in cluster.find(kind, options.namespace, {LABEL_HOOK: run})
    )


def read_waiters(cluster: Cluster, options: Options, run: str, workflow: str) -> tuple[Waiter, ...]:
    """The pods of a Workflow that wait for hooks now.

    Raises:
        StepError: where the API does not answer.
    """
    labels = {names.LABEL_RUN: run, names.LABEL_STAGE: STAGE, WORKFLOW_LABEL: workflow}
    found = cluster.find(POD, options.namespace, labels)
    return tuple(_waiter(one) for one in found if _is_running(one))


def _is_running(pod: Object) -> bool:
    is_deleted = bool(pod["metadata"].get("deletionTimestamp"))
    return not is_deleted and mapping(pod.get("status")).get("phase") == "Running"


def _waiter(pod: Object) -> Waiter:
    labels = labels_of(pod)
    point, disk = text(labels.get(names.LABEL_POINT)), text(labels.get(names.LABEL_DISK))
    return Waiter(str(pod["metadata"]["uid"]), point, disk)


def _read(kind: Kind, found: Object) -> HookRun:
    notes, status = annotations_of(found), mapping(found.get("status"))
    phase = text(status.get("phase"))
    given = text(notes.get(ON_FAILURE))
    seconds = text(notes.get(SECONDS))
    return HookRun(
        name=str(found["metadata"]["name"]),
        kind=kind,
        created=_time(text(notes.get(CREATED))),
        seconds=int(seconds) if seconds.isdecimal() and len(seconds) < 9 else DEFAULT_SECONDS,
        on_failure=OnHookFailure(given) if given in list(OnHookFailure) else OnHookFailure.VETO,
        ended=phase in _ENDED,
        succeeded=phase == "Succeeded",
        point=text(notes.get(POINT)),
        disk=text(notes.get(DISK)),
        message=_clean(_of_pod(status) if kind is POD else text(status.get("message"))),
    )


def _of_pod(status: Mapping[str, Any]) -> str:
    if status.get("reason") == DEADLINE:
        return DEADLINE
    first = next(rows(status.get("containerStatuses")), {})
    state = mapping(first.get("state"))
    ended, waiting = mapping(state.get("terminated")), mapping(state.get("waiting"))
    if ended:
        words = text(ended.get("message"))
        code = ended.get("exitCode")
        if code == 0:
            return words
        end = "out of memory" if ended.get("reason") == "OOMKilled" else f"exit code {code}"
        return ": ".join(part for part in (end, words) if part.strip())
    if waiting:
        return ": ".join(text(waiting.get(key)) for key in ("reason", "message") if waiting.get(key))
    unscheduled = (row for row in rows(status.get("conditions")) if row.get("status") == "False")
    about = next((row for row in unscheduled if row.get("type") == "PodScheduled"), {})
    return text(status.get("message")) or text(about.get("message"))


def _clean(words: str) -> str:
    """On one line and bounded: the program of a hook may have echoed foreign text."""
    line = printable(" ".join(words.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _time(written: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(written)
    except ValueError:
        return None
    return when if when.tzinfo else None
