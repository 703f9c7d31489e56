"""VMs of one plan or run that would get in each other's way at the target. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from steps.model.admission import raise_all
from steps.model.contract import Exit, StepError
from steps.model.mapping import Shape

_Key = tuple[str, str, str]


def collisions(vms: Sequence[tuple[str, Shape]]) -> list[list[StepError]]:
    """For each VM what it has in common with another one. `vms` are pairs of the import's name and the VM.

    It is the name in one namespace, or a MAC address in one network. On the pod network nobody else sees an
    address.
    """
    owners: defaultdict[_Key, list[int]] = defaultdict(list)
    for number, (_, shape) in enumerate(vms):
        for key, _ in _used(shape):
            owners[key].append(number)
    return [
        [
            _error(name, vms[other][0], key, what)
            for key, what in _used(shape)
            for other in owners[key]
            if other != number
        ]
        for number, (name, shape) in enumerate(vms)
    ]


class Reservations:
    """The names and MAC addresses of the imports of one run, in the order in which they become known."""

    def __init__(self) -> None:
        self._owners: dict[_Key, str] = {}

    def reserve(self, name: str, shape: Shape) -> None:
        """Reserve those of the VM of the import `name`; again by the same import changes nothing.

        Raises:
            StepError: CONFLICT, if another import has one of them; then nothing is reserved.
        """
        used = dict(_used(shape))
        taken = {key: self._owners[key] for key in used if self._owners.get(key, name) != name}
        reasons = [_error(name, other, key, used[key]) for key, other in taken.items()]
        raise_all(f"{name} cannot be imported", reasons)
        self._owners |= dict.fromkeys(used, name)


def _used(shape: Shape) -> Iterator[tuple[_Key, str]]:
    """What no other VM may have, and its name for a message."""
    yield ("name", shape.namespace, shape.name), f"VirtualMachine {shape.namespace}/{shape.name}"
    for interface in shape.interfaces:
        if interface.mac and interface.network:
            key = ("mac", interface.network, str(interface.mac).lower())
            yield key, f"{interface.nic} with {interface.mac} on {interface.network}"


def _error(name: str, other: str, key: _Key, what: str) -> StepError:
    if key[0] == "name":
        message = f"{name} and {other} would both become {what}"
        return StepError(Exit.CONFLICT, message, remedy="set spec.targetVirtualMachineName in one of them")
    message = f"{name} and {other} would have the same MAC address: {what}"
    remedy = "set mac: new in the NIC's row of spec.networkMapping of one of them"
    return StepError(Exit.CONFLICT, message, remedy=remedy)
