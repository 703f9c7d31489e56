"""Asks a target in a cluster about a VM, and changes nothing: for the dry runs of all callers.

It makes the checks of `admit`, which is the step that asks before a VM is shut down.
"""

from __future__ import annotations

from collections.abc import Callable

from steps.model.admission import findings_of, raise_all, reasons_of
from steps.model.contract import StepError, is_retryable
from steps.model.mapping import Shape
from steps.model.target_answer import TargetAnswer
from steps.model.volumes import Volumes
from steps.targets.target import Target


def ask(target: Target, shape: Shape, check_limits: Callable[[], None] | None = None) -> TargetAnswer:
    """The answer of the target. `check_limits` raises StepError if a limit of the installation refuses it.

    If the target does not answer, the result is "not checked", with the reason.
    """
    volumes = Volumes()
    refusals: list[StepError] = []
    answer = TargetAnswer()
    try:
        volumes = target.name_volumes(shape, None)
        answer = TargetAnswer(admission=target.admit(shape, volumes), volumes=volumes)
    except StepError as error:
        if is_retryable(error.code):
            return TargetAnswer.unknown(str(error), volumes)
        refusals.append(error)
    try:
        if check_limits is not None:
            check_limits()
    except StepError as error:
        if is_retryable(error.code):
            return TargetAnswer.unknown(str(error), volumes)
        refusals.append(error)
    return _refused(refusals, answer, volumes) if refusals else answer


def _refused(refusals: list[StepError], answer: TargetAnswer, volumes: Volumes) -> TargetAnswer:
    """All reasons in one answer, with what else was found."""
    findings = [*answer.admission.findings, *(one for error in refusals for one in findings_of(error))]
    try:
        raise_all("the target refuses the VM", [r for error in refusals for r in reasons_of(error)], findings)
    except StepError as error:
        return TargetAnswer.refusal(error, volumes)
    return answer
