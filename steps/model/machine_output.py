"""The VM as an output of `preflight`: a text that Argo keeps in the Workflow, and that `admit` reads. Pure.

The text is that of `steps.model.packing`, so the notes of a VM cannot fill the Workflow's status.
"""

from __future__ import annotations

from typing import Final

from steps.model.machine import Machine
from steps.model.packing import Packing

MACHINE_OUTPUT: Final = "machine"
"""The output parameter, and the file among the outputs."""
LONGEST_OUTPUT: Final = 128 << 10
"""Characters of the output. Argo keeps it twice in a Workflow, whose packed nodes must fit into 1 MiB
(argo-workflows workflow/packer); a VM of 64 disks needs about 6 KiB."""
LONGEST_DOCUMENT: Final = 768 << 10
"""Bytes of `machine.json`. Later steps read it from a ConfigMap, which holds 1 MiB."""
_PACKING: Final = Packing(LONGEST_DOCUMENT, LONGEST_OUTPUT)


def to_output(machine: Machine) -> str:
    """The output for a VM.

    Raises:
        StepError: UNSUPPORTED, for a description that is too large.
    """
    remedy = f"shorten the notes of the VM ({len(machine.notes)} characters) or remove devices, then retry"
    return _PACKING.pack(machine.to_json().encode(), f"the description of {machine.name}", remedy)


def from_output(output: str) -> Machine:
    """The VM in an output.

    Raises:
        StepError: INVALID, for anything that `to_output` does not make.
    """
    return _PACKING.unpack(output, Machine, "the result of preflight is not valid")
