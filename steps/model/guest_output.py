"""The document of an inspection as an output of the stage, which Argo keeps in the Workflow. Pure.

The text is that of `steps.model.packing`. What a guest chooses can be long, such as its connections and its
kernels: then parts that decide nothing are left out, and `trouble` names that.
"""

from __future__ import annotations

import contextlib
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.guest import Guest
from steps.model.packing import Packing

GUEST_OUTPUT: Final = "guest"
"""The output parameter, and the file among the outputs."""
NOT_INSPECTED: Final = "guest-not-inspected"
"""Code of the concern about disks that could not be looked into, and then the reason of the verdict."""
LONGEST_OUTPUT: Final = 64 << 10
"""Characters of the output. Argo keeps it twice in a Workflow, whose packed nodes must fit into 1 MiB."""
LONGEST_DOCUMENT: Final = 512 << 10
"""Bytes of `guest.json`."""
SHORTENED: Final = "the description is too long for a Workflow: parts of it are left out"
_PACKING: Final = Packing(LONGEST_DOCUMENT, LONGEST_OUTPUT)
_WHAT: Final = "the description of the guest"
_FAILURE: Final = "the result of inspect is not valid"


def to_output(guest: Guest) -> str:
    """The output for a guest, shortened if it is too long.

    Raises:
        StepError: UNSUPPORTED, if even its verdict and its concerns are too long.
    """
    remedy = "turn the inspection off for this VM (spec.guest.inspect: false)"
    for candidate in (guest, _without_lists(guest)):
        with contextlib.suppress(StepError):
            return _PACKING.pack(candidate.to_json().encode(), _WHAT, remedy)
    return _PACKING.pack(_without_system(guest).to_json().encode(), _WHAT, remedy)


def from_output(output: str, code: Exit = Exit.INVALID) -> Guest:
    """The document in an output.

    Raises:
        StepError: `code`, for anything that `to_output` does not make.
    """
    return _PACKING.unpack(output, Guest, _FAILURE, code)


def _without_lists(guest: Guest) -> Guest:
    system = guest.system
    if system is not None:
        system = system.model_copy(update={"network": (), "rooms": (), "windows_drivers": ()})
        kernels = tuple(kernel.model_copy(update={"drivers": ()}) for kernel in system.kernels)
        system = system.model_copy(update={"kernels": kernels})
    return guest.model_copy(update={"system": system, "trouble": (SHORTENED,)})


def _without_system(guest: Guest) -> Guest:
    return guest.model_copy(
        update={"system": None, "roots": (), "disks": (), "locked": (), "trouble": (SHORTENED,)}
    )
