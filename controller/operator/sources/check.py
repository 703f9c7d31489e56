"""The check of a source: what its pod runs, what the result means, and the source's status. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controller.operator.checkpods.check import VERIFY, Check, Ended, Owner, Problem, account_of
from controller.operator.observe.source import CLUSTER_ERROR, READY
from steps.model.contract import Exit
from steps.model.kinds import SECRET_SOURCES
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from workflows.api.conditions import put
from workflows.api.sources import Source
from workflows.api.status import Condition, ConditionStatus, SourceStatus, Verification
from workflows.plan import source_plan
from workflows.settings import Profile
from workflows.status.messages import exit_word

NOT_READY: Final = "clusterNotReady"
CLUSTER_READY: Final = "ClusterReady"
"""Type of a source's condition, as in vm-import-controller; see also `CLUSTER_ERROR`."""
NOT_STARTED: Final = "CheckNotStarted"
INTERRUPTED: Final = "CheckInterrupted"
_REASONS: Final[Mapping[Problem, str]] = {
    Problem.NOT_STARTED: NOT_STARTED,
    Problem.INTERRUPTED: INTERRUPTED,
    Problem.TIMEOUT: Exit.UNREACHABLE.word,
    Problem.OUT_OF_MEMORY: "AnswerTooLarge",
}


@dataclass(frozen=True)
class SourceVerdict:
    """Whether a source can be used, and if not, why (a reason and a sentence)."""

    ready: bool
    reason: str = "Verified"
    message: str = ""

    @property
    def is_about_the_source(self) -> bool:
        """Whether it says something about the source, and not only about the pod of the check."""
        return self.reason not in (NOT_STARTED, INTERRUPTED)


def check_of(
    owner: Owner,
    source: Source,
    credentials: Mapping[str, str],
    version: str,
    seconds: float,
    *,
    has_failed: bool,
    profile: Profile | None = None,
) -> Check:
    """The check of a source. `credentials` are base64; `version` is that of the spec and the credentials."""
    values = profile or Profile()
    return Check(
        owner=owner,
        uid=source.metadata.uid,
        version=version,
        source=SourceKind(source.kind),
        program=VERIFY,
        request=_plan(owner, source).model_copy(update={"proxy": values.proxy}).to_json(),
        credentials=credentials,
        seconds=seconds,
        arguments=("--run", _session_name(source)),
        pods=values.pods,
        account=account_of(source.spec.address, credentials),
        has_failed=has_failed,
    )


def _plan(owner: Owner, source: Source) -> SourcePlan:
    """How to reach the source. A Secret as a source names no datacenter."""
    plan = source_plan(source)
    if owner.kind not in SECRET_SOURCES.values():
        return plan
    return plan.model_copy(update={"from_secret": True, "any_datacenter": plan.kind is SourceKind.VMWARE})


def verdict_of(ended: Ended) -> SourceVerdict:
    """What the result of a check pod says about the source."""
    if ended.problem is None and ended.code == Exit.DONE:
        return SourceVerdict(ready=True)
    if ended.problem is not None:
        return SourceVerdict(ready=False, reason=_REASONS[ended.problem], message=_text(ended))
    reason = exit_word(ended.code) or "VerificationFailed"
    message = ended.message or f"{VERIFY} ended with exit code {ended.code}"
    return SourceVerdict(ready=False, reason=reason, message=message)


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


def _text(ended: Ended) -> str:
    match ended.problem:
        case Problem.NOT_STARTED:
            return f"the check could not start: {ended.message}"
        case Problem.INTERRUPTED:
            return f"the check was interrupted: {ended.message}; vmferry repeats it"
        case _:
            return ended.message


def _session_name(source: Source) -> str:
    """The name of the check at the source: also other clusters may use the account."""
    uid = source.metadata.uid or f"{source.metadata.namespace}/{source.metadata.name}"
    return f"verify-{hashlib.sha256(uid.encode()).hexdigest()[:16]}"
