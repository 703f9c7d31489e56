"""Makes a dry run: preflight as a child process, which changes nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from controller.operator import probe
from controller.operator.act import objects
from controller.operator.decide.actions import DryRun
from controller.operator.decide.dryrun import HASH, config_map_data, with_plan, with_refusal
from controller.operator.options import Options
from steps.model import names
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.kinds import Object
from steps.model.machine import Machine
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.runtime.program import MACHINE
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import ImportStatus, PlannedReference

SECONDS: Final = 120.0
"""Seconds that preflight may take."""


def make_dry_run(
    cluster: Cluster,
    options: Options,
    action: DryRun,
    before: ImportStatus,
    import_: VirtualMachineImport,
    now: datetime,
) -> ImportStatus:
    """The status after a dry run; the plan goes to a ConfigMap of the release namespace.

    Raises:
        StepError: where the source does not answer; the dry run can be retried.
    """
    generation = import_.metadata.generation
    try:
        data = config_map_data(action.plan, run_preflight(action.plan, action.credentials))
    except StepError as error:
        if is_retryable(error.code):
            raise
        return with_refusal(before, str(error), generation, now)
    name = names.planned(action.plan.run)
    cluster.apply(_config_map(action.plan, name, data, options.namespace))
    reference = PlannedReference(config_map=f"{options.namespace}/{name}", hash=data[HASH])
    return with_plan(before, reference, generation, now)


def run_preflight(plan: Plan, credentials: Mapping[str, str], seconds: float = SECONDS) -> Machine:
    """The VM at its source, without a wait for it. Raises StepError with preflight's error message."""
    values = {key: base64.b64decode(value) for key, value in credentials.items()}
    plan = plan.model_copy(update={"source": plan.source.model_copy(update={"wait_seconds": 0})})
    with probe.request_folder(plan.to_json(), values) as folder:
        answer = probe.run_program("steps.preflight", folder, seconds)
        if answer is None:
            raise StepError(Exit.UNREACHABLE, "the source did not answer", f"no answer within {seconds:g} s")
        if answer.code:
            raise StepError(Exit(answer.code) if answer.code in list(Exit) else Exit.INTERNAL, answer.words)
        return Machine.load(folder / MACHINE)


def _config_map(plan: Plan, name: str, data: Mapping[str, str], namespace: str) -> Object:
    config_map = objects.request(plan, "", namespace)
    del config_map["metadata"]["annotations"]
    config_map["metadata"]["name"] = name
    return config_map | {"data": dict(data)}
