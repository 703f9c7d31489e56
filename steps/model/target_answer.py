"""What a target says to a VM that an import would create: the findings and refusals of all checks. Pure.

`vmferry plan` shows it, and a dry run in a cluster passes it through the log of a pod.
"""

from __future__ import annotations

from typing import Final, Self

from steps.model.admission import Admission, findings_of, not_checked, reasons_of
from steps.model.contract import Exit, StepError
from steps.model.document import Document
from steps.model.machine_output import LONGEST_OUTPUT
from steps.model.packing import Packing, text_of
from steps.model.volumes import Volumes

LONGEST_DOCUMENT: Final = 512 << 10
"""Bytes of the answer. Of a VM with 64 disks it has about 30 KiB."""
_PACKING: Final = Packing(LONGEST_DOCUMENT, LONGEST_OUTPUT)


class Refusal(Document):
    """Why the target refuses the VM."""

    code: int
    """Exit code of the step that would refuse it."""
    message: str


class TargetAnswer(Document):
    """The answer of the target."""

    admission: Admission = Admission()
    refused: tuple[Refusal, ...] = ()
    volumes: Volumes = Volumes()
    """The names that the volumes would get; empty if that is not known."""

    @classmethod
    def unknown(cls, why: str, volumes: Volumes | None = None) -> Self:
        """The answer if the target could not be asked."""
        return cls(admission=Admission(findings=(not_checked("target", why),)), volumes=volumes or Volumes())

    @classmethod
    def refusal(cls, error: StepError, volumes: Volumes | None = None) -> Self:
        """The answer if the target refuses: each reason, and what else was found."""
        reasons = tuple(Refusal(code=int(one.code), message=str(one)) for one in reasons_of(error))
        admission = Admission(findings=findings_of(error))
        return cls(admission=admission, refused=reasons, volumes=volumes or Volumes())

    def to_output(self) -> str:
        """The answer as a text for a log."""
        return text_of(self.model_dump_json(by_alias=True).encode())

    @classmethod
    def from_output(cls, output: str) -> Self:
        """The answer in such a text.

        Raises:
            StepError: CORRUPT, for anything that `to_output` does not make.
        """
        return _PACKING.unpack(output, cls, "the answer of the target cannot be read", Exit.CORRUPT)
