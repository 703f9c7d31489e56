"""Checks a source in a child process with a deadline, and makes its status."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controller.operator import probe
from controller.operator.observe.source import READY
from controller.operator.options import Options
from steps.model.contract import Exit
from steps.model.sources import SourceKind
from steps.providers import is_installed, not_installed_message
from workflows import texts
from workflows.api.conditions import put
from workflows.api.sources import Source
from workflows.api.status import Condition, ConditionStatus, SourceStatus, Verification
from workflows.plan import source_plan, source_reasons
from workflows.status.messages import exit_word

NOT_READY: Final = "clusterNotReady"
CLUSTER_READY: Final = "ClusterReady"
CLUSTER_ERROR: Final = "ClusterError"
"""Types of a source's conditions, as in vm-import-controller."""
PROVIDER_NOT_INSTALLED: Final = "ProviderNotInstalled"


@dataclass(frozen=True)
class SourceVerdict:
    """Whether a source can be used, and if not, why (a reason and a sentence)."""

    ready: bool
    reason: str = "Verified"
    message: str = ""


def verify(source: Source, credentials: Mapping[str, bytes], options: Options) -> SourceVerdict:
    """Log in to the source and verify it, within `options.verify_seconds`."""
    if not is_installed(SourceKind(source.kind)):
        message = not_installed_message(SourceKind(source.kind))
        return SourceVerdict(ready=False, reason=PROVIDER_NOT_INSTALLED, message=message)
    if reasons := tuple(source_reasons(source)):
        return SourceVerdict(ready=False, reason="Invalid", message=texts.message(reasons))
    with probe.request_folder(source_plan(source).to_json(), credentials) as folder:
        result = probe.run_program(
            "steps.verify", folder, options.verify_seconds, "--run", _check_name(source)
        )
    if result is None:
        seconds = f"{options.verify_seconds:g} s"
        message = f"the source did not answer within {seconds}; check that the cluster can reach its address"
        return SourceVerdict(ready=False, reason="Unreachable", message=message)
    if result.code == Exit.DONE:
        return SourceVerdict(ready=True)
    reason = exit_word(result.code) or "VerificationFailed"
    return SourceVerdict(ready=False, reason=reason, message=result.words)


def _check_name(source: Source) -> str:
    """The name of the check at the source: also other clusters may use the account."""
    uid = source.metadata.uid or f"{source.metadata.namespace}/{source.metadata.name}"
    return f"verify-{hashlib.sha256(uid.encode()).hexdigest()[:16]}"


def status(
    verdict: SourceVerdict, before: SourceStatus, generation: int, now: datetime, record: Verification
) -> SourceStatus:
    """The source's status after a verdict. The conditions have vm-import-controller's types."""
    ready, message = verdict.ready, verdict.message
    conditions = before.conditions
    for kind, holds in ((CLUSTER_READY, ready), (CLUSTER_ERROR, not ready)):
        value = ConditionStatus.TRUE if holds else ConditionStatus.FALSE
        condition = Condition(type=kind, status=value, reason=verdict.reason, message=message)
        conditions = put(conditions, condition, now)
    return SourceStatus(
        status=READY if ready else NOT_READY,
        conditions=conditions,
        message=message,
        observed_generation=generation,
        verification=record,
    )
