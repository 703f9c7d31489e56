"""The VM as an output of `preflight`: a text that Argo keeps in the Workflow, and that `admit` reads. Pure.

The text is the base64 of the gzip of `machine.json`. So it never contains `{{`, which Argo would treat as a
template, and the notes of a VM cannot fill the Workflow's status. Its source is a program that reads foreign
data: the reader trusts neither its size nor its content.
"""

from __future__ import annotations

import base64
import binascii
import gzip
from typing import Final

from pydantic import ValidationError

from steps.model.contract import Exit, StepError
from steps.model.document import first_error
from steps.model.machine import Machine
from steps.model.workflow_nodes import gunzip

MACHINE_OUTPUT: Final = "machine"
"""The output parameter, and the file among the outputs."""
LONGEST_OUTPUT: Final = 128 << 10
"""Characters of the output. Argo keeps it twice in a Workflow, whose packed nodes must fit into 1 MiB
(argo-workflows workflow/packer); a VM of 64 disks needs about 6 KiB."""
LONGEST_DOCUMENT: Final = 768 << 10
"""Bytes of `machine.json`. Later steps read it from a ConfigMap, which holds 1 MiB."""


def to_output(machine: Machine) -> str:
    """The output for a VM.

    Raises:
        StepError: UNSUPPORTED, for a description that is too large.
    """
    document = machine.to_json().encode()
    output = base64.b64encode(gzip.compress(document, mtime=0)).decode()
    if len(document) <= LONGEST_DOCUMENT and len(output) <= LONGEST_OUTPUT:
        return output
    raise StepError(
        Exit.UNSUPPORTED,
        f"the description of {machine.name} is too large",
        f"it has {len(document)} bytes, {len(output)} when compressed; at most {LONGEST_DOCUMENT} and "
        f"{LONGEST_OUTPUT} can be handed to the next step",
        f"shorten the notes of the VM ({len(machine.notes)} characters) or remove devices, then retry",
    )


def from_output(output: str) -> Machine:
    """The VM in an output.

    Raises:
        StepError: INVALID, for anything that `to_output` does not make.
    """
    what = "the result of preflight is not valid"
    if len(output) > LONGEST_OUTPUT:
        raise StepError(Exit.INVALID, what, f"it has more than {LONGEST_OUTPUT} characters")
    try:
        document = gunzip(base64.b64decode(output, validate=True), LONGEST_DOCUMENT)
        return Machine.model_validate_json(document)
    except ValidationError as error:
        raise StepError(Exit.INVALID, what, first_error(error)) from None
    except (binascii.Error, ValueError) as error:
        raise StepError(Exit.INVALID, what, str(error)) from None
