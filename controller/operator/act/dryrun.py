"""Makes a dry run: preflight in a check pod, then the checks of `admit` in another. Both change nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from controller.operator.act import objects
from controller.operator.act.target_pod import answer_of
from controller.operator.checkpods.check import DRY_RUN, Check, Ended, Owner, Problem
from controller.operator.checkpods.runner import CheckPods
from controller.operator.decide.actions import DryRun
from controller.operator.decide.dryrun import (
    HASH,
    config_map_data,
    is_repeated,
    with_plan,
    with_refusal,
)
from controller.operator.options import Options
from steps.model import names
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.kinds import IMPORT, Object
from steps.model.machine import Machine
from steps.model.machine_output import from_output
from steps.model.mapping import shape
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from workflows import texts
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import ImportStatus, PlannedReference

SECONDS: Final = 120.0
"""Seconds that the source may take to answer everything."""


def owner_of(import_: VirtualMachineImport) -> Owner:
    """The owner of the check pod of an import's dry run."""
    return Owner(IMPORT, import_.metadata.namespace, import_.metadata.name)


def make_dry_run(
    cluster: Cluster,
    options: Options,
    checks: CheckPods,
    action: DryRun,
    before: ImportStatus,
    import_: VirtualMachineImport,
    now: datetime,
) -> ImportStatus | None:
    """The status after a dry run, or None while it runs. The plan goes to a ConfigMap.

    The caller writes the status and then closes the check.

    Raises:
        StepError: where the source does not answer; the caller closes the check, and the dry run is repeated.
    """
    generation, owner = import_.metadata.generation, owner_of(import_)
    check = check_of(action, before, import_)
    ended = checks.ask(check)
    if ended is None:
        return None
    if ended.version != check.version:  # the spec or the Secret has changed meanwhile
        checks.close(owner)
        return None
    try:
        machine = _machine(checks, owner, ended)
        shape(action.plan, machine)
    except StepError as error:
        if is_retryable(error.code):
            raise
        return with_refusal(before, str(error), generation, now)
    pod = checks.pod(owner)
    answer = answer_of(cluster, options, action.plan, machine, pod, now) if pod is not None else None
    if answer is None:
        return None
    data = config_map_data(action.plan, machine, answer)
    name = names.planned(action.plan.run)
    cluster.apply(_config_map(action.plan, name, data, options.namespace))
    reference = PlannedReference(config_map=f"{options.namespace}/{name}", hash=data[HASH])
    if answer.refused:
        reasons = texts.message(tuple(one.message for one in answer.refused))
        return with_refusal(before, reasons, generation, now, reference)
    return with_plan(before, reference, generation, now)


def check_of(action: DryRun, before: ImportStatus, import_: VirtualMachineImport) -> Check:
    """The check that finds the VM at its source. It does not wait for a source that does not answer."""
    source = action.plan.source.model_copy(update={"wait_seconds": 0})
    plan = action.plan.model_copy(update={"source": source})
    request = plan.to_json()
    return Check(
        owner=owner_of(import_),
        uid=import_.metadata.uid,
        version=hashlib.sha256(request.encode()).hexdigest()[:16],
        source=plan.source.kind,
        program=DRY_RUN,
        request=request,
        credentials=action.credentials,
        seconds=SECONDS,
        pods=plan.pods,
        has_failed=is_repeated(before),
    )


def _machine(checks: CheckPods, owner: Owner, ended: Ended) -> Machine:
    """The VM at its source. Raises StepError with preflight's error message."""
    if ended.problem is not None:
        failure = _FAILURES[ended.problem]
        code = Exit.UNSUPPORTED if ended.problem is Problem.OUT_OF_MEMORY else Exit.UNREACHABLE
        raise StepError(code, failure, ended.message)
    if ended.code:
        code = Exit(ended.code) if ended.code in list(Exit) else Exit.INTERNAL
        raise StepError(code, ended.message or f"the dry run ended with exit code {ended.code}")
    return from_output(checks.document(owner))


_FAILURES: Final[Mapping[Problem, str]] = {
    Problem.NOT_STARTED: "the dry run could not start",
    Problem.INTERRUPTED: "the dry run was interrupted",
    Problem.TIMEOUT: "the dry run took too long",
    Problem.OUT_OF_MEMORY: "the dry run needs too much memory",
}


def _config_map(plan: Plan, name: str, data: Mapping[str, str], namespace: str) -> Object:
    config_map = objects.request(plan, "", namespace)
    del config_map["metadata"]["annotations"]
    config_map["metadata"]["name"] = name
    return config_map | {"data": dict(data)}
