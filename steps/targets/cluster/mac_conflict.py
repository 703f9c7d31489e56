"""A cluster's refusal of a VM, with details that the cluster does not report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from steps.model.mapping import Shape
from steps.model.refusals import DuplicateMacError


@contextlib.contextmanager
def explain_mac_conflict(shape: Shape) -> Iterator[None]:
    """Add our NICs to a refusal because of a MAC address: Harvester names neither the NIC nor the address.

    Raises:
        StepError: CONFLICT instead of DuplicateMacError.
    """
    try:
        yield
    except DuplicateMacError as error:
        nics = [
            f"{interface.nic} has {interface.mac} on {interface.network or 'the pod network'}"
            for interface in shape.interfaces
            if interface.mac
        ]
        remedy = (
            f"{'; '.join(nics)}: change the MAC address of the other VM, or set mac: new in the NIC's row of "
            "spec.networkMapping, then retry"
        )
        raise DuplicateMacError(error.code, error.what, error.why, remedy) from None
