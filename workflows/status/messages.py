"""What a Workflow does or why it failed: a reason, a step and a sentence for a person. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final

from steps.model.contract import Exit, is_retryable
from steps.model.kinds import GROUP
from workflows.hooks import point_of
from workflows.stages import EXIT_STAGES, STAGES, Scope, Stage
from workflows.status.locks import describe_lock
from workflows.status.nodes import Leaf, Phase, ended_order
from workflows.status.observed import Observed, Wait
from workflows.status.poweredoff import with_note

STEP_FAILED: Final = "StepFailed"
HOOK_FAILED: Final = "HookFailed"
"""Reason for which an import stops at a hook."""
RETRYING: Final = "Retrying"
"""Reason while a failed step is retried."""
FAILURES: Final = frozenset(
    {STEP_FAILED, HOOK_FAILED, *(code.word for code in Exit if code is not Exit.DONE)}
)
"""Reasons that say why a step failed."""
STAGE_BY_NAME: Final = {stage.name: stage for stage in STAGES}
_ROW: Final = {stage.name: row for row, stage in enumerate(STAGES)}
_WORDLESS: Final = re.compile(r"(?:(?:main|unchanged): )?([A-Za-z]+ \(exit code -?\d+\))(?:: ?)?")
_OLD_FORM: Final = re.compile(r"(?:Error|OOMKilled) \(exit code -?\d+\): (.+)", re.DOTALL)
"""Argo before 3.7 does not name the container."""


@dataclass(frozen=True)
class Summary:
    """A reason (one word), the step it is about, and a sentence."""

    reason: str
    step: str
    message: str


def failure_message(leaf: Leaf) -> str:
    """The error message of a failed step; without one, what is known about the failure."""
    if not leaf.message:
        return f"{leaf.title} failed without an error message; see its log, then retry"
    if wordless := _WORDLESS.fullmatch(leaf.message):
        return f"{leaf.title} ended without an error message: {wordless[1]}; see its log, then retry"
    old = _OLD_FORM.fullmatch(leaf.message)
    return old[1].strip() if old else leaf.step_message


def reason_of(leaf: Leaf) -> str:
    """One word for why a step failed: the name of its exit code, such as `NoSpace`."""
    if point_of(leaf.stage) is not None:
        return HOOK_FAILED
    return exit_word(leaf.exit_code) or STEP_FAILED


def exit_word(code: int | None) -> str:
    """The name of an exit code as a condition's reason, such as `NoSpace`; empty for an unknown code."""
    return Exit(code).word if code in list(Exit) else ""


def summarize(
    seen: Observed, source: str = "", holder_names: Mapping[str, str] = MappingProxyType({}), note: str = ""
) -> Summary:
    """What a running Workflow does: failures first, then work, then waiting.

    `source` is the name of the VM's source; `holder_names` are the imports by the Workflows that run them;
    `note` is appended to a failure (`poweredoff.note`).
    """
    rules: tuple[Callable[[Observed], Summary | None], ...] = (
        _unreadable,
        _stopping,
        partial(_failure, note=note),
        _unscheduled,
        _work,
        _gate,
        partial(_lock, source=source, holder_names=holder_names),
        _pending_work,
    )
    result = next((summary for rule in rules if (summary := rule(seen))), _between_steps(seen))
    if not seen.paused or result.reason == "Cancelling":
        return result
    pause = "Paused: no new step starts until spec.suspend is removed"
    return Summary("Paused", result.step, f"{pause}. {result.message}")


def _unreadable(seen: Observed) -> Summary | None:
    message = f"Workflow {seen.name} is running; vmferry cannot read its steps, see the Argo UI"
    return Summary("Running", "", message) if seen.unreadable else None


def _stopping(seen: Observed) -> Summary | None:
    step = next((leaf.stage for leaf in seen.leaves if leaf.stage in EXIT_STAGES), "stop")
    message = "Cancelling: vmferry stops the running steps, then releases what it holds at the source"
    return Summary("Cancelling", step, message) if seen.stopped else None


def _failure(seen: Observed, note: str) -> Summary | None:
    """A step failed: it is retried, or the other steps finish before the Workflow fails."""
    leaf = seen.blamed
    if leaf is None:
        return None
    stage = STAGE_BY_NAME.get(leaf.stage)
    again = leaf.exit_code is None or is_retryable(leaf.exit_code)
    if again and (stage is None or leaf.attempts <= stage.retry.limit):
        return Summary(
            RETRYING, leaf.title, f"{leaf.title} failed and will be retried: {failure_message(leaf)}"
        )
    return Summary(
        reason_of(leaf), leaf.title, with_note(f"{leaf.title} failed: {failure_message(leaf)}", note)
    )


def _unscheduled(seen: Observed) -> Summary | None:
    wait = next((wait for wait in seen.waits if not wait.lock), None)
    return _waiting(wait, "waits for its pod") if wait else None


def _lock(seen: Observed, source: str, holder_names: Mapping[str, str]) -> Summary | None:
    wait = next((wait for wait in seen.waits if wait.lock), None)
    if wait is None:
        return None
    message = describe_lock(wait.message, source, wait.holders, holder_names)
    return _waiting(replace(wait, message=message), "waits for its turn")


def _waiting(wait: Wait, verb: str) -> Summary:
    title = f"{wait.stage} {wait.disk}" if wait.disk else wait.stage
    return Summary("Waiting", title, f"{title} {verb}: {wait.message}")


def _work(seen: Observed) -> Summary | None:
    busy = [leaf for leaf in seen.running if not _is_gate(leaf)]
    return _least_advanced(busy, "") if busy else None


def _pending_work(seen: Observed) -> Summary | None:
    pending = [leaf for leaf in seen.leaves if leaf.phase is Phase.PENDING]
    return _least_advanced(pending, "Starting: ") if pending else None


def _least_advanced(leaves: list[Leaf], before: str) -> Summary:
    """The least advanced of several steps, with all disks that it works on."""
    first = min(leaves, key=_rank)
    same = [leaf for leaf in leaves if leaf.stage == first.stage]
    disks = ", ".join(sorted((leaf.disk for leaf in same if leaf.disk), key=lambda disk: (len(disk), disk)))
    attempts = max(leaf.attempts for leaf in same)
    stage = STAGE_BY_NAME.get(first.stage)
    parts = [stage.description if stage else _title(first.stage), f": {disks}" if disks else ""]
    again = f" (attempt {attempts})" if attempts > 1 else ""
    return Summary("Running", first.stage, f"{before}{''.join(parts)}{again}")


def _title(name: str) -> str:
    """What a node that is no stage does."""
    point = point_of(name)
    return f"The hook {point} runs" if point is not None else name


def _rank(leaf: Leaf) -> tuple[bool, int]:
    """By the stage table. A step that only supports another one, as `serve` supports `image`, comes last."""
    stage = STAGE_BY_NAME.get(leaf.stage)
    return stage is not None and _is_support(stage), _ROW.get(leaf.stage, len(_ROW))


def _is_support(stage: Stage) -> bool:
    return stage.scope is Scope.DISK and not stage.weight


def _gate(seen: Observed) -> Summary | None:
    leaf = next((leaf for leaf in seen.running if _is_gate(leaf)), None)
    if leaf is None:
        return None
    annotation = f"{GROUP}/approve={leaf.stage.removeprefix('approve-')}"
    message = f"{STAGE_BY_NAME[leaf.stage].description}: annotate the import with {annotation}"
    return Summary("WaitingForApproval", leaf.stage, message)


def _is_gate(leaf: Leaf) -> bool:
    stage = STAGE_BY_NAME.get(leaf.stage)
    return stage is not None and stage.gate


def _between_steps(seen: Observed) -> Summary:
    """No step is running: Argo reconciles a Workflow only every few seconds."""
    ended = [leaf for leaf in seen.leaves if leaf.finished]
    if not ended:
        return Summary("Waiting", "", f"Workflow {seen.name} waits for Argo to start it")
    last = max(ended, key=ended_order)
    return Summary("Running", last.stage, f"{last.title} finished; waiting for the next step")
