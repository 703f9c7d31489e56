"""Which bus and NIC model the new VM gets by what an inspection found. Pure.

Evidence replaces the guess from the hardware at the source, never what the import says: a row for the device,
or a default other than virtio where that default would count. A disk on USB stays on USB.
"""

from __future__ import annotations

from collections.abc import Iterable

from steps.model.guest import BusEvidence, Guest
from steps.model.machine import Controller
from steps.model.plan import Bus, InterfaceModel


def disk_bus(guest: Guest | None) -> Bus | None:
    """The best bus from which the guest boots; None if that is not known."""
    name = _first(guest.disk_buses if guest is not None else (), list(Bus))
    return Bus(name) if name else None


def nic_model(guest: Guest | None) -> InterfaceModel | None:
    """The best NIC model that it has drivers for; None if that is not known."""
    name = _first(guest.nic_models if guest is not None else (), list(InterfaceModel))
    return InterfaceModel(name) if name else None


def bus_by_evidence(found: Bus | None, controller: Controller, by_hardware: Bus | None, default: Bus) -> Bus:
    """The bus of a disk without a row. `by_hardware` is that of its controller, None for an unknown one."""
    guessed = by_hardware or default
    is_wish = by_hardware is None and default is not Bus.VIRTIO
    return guessed if found is None or is_wish or controller is Controller.USB else found


def model_by_evidence(
    found: InterfaceModel | None, by_hardware: InterfaceModel | None, default: InterfaceModel
) -> InterfaceModel:
    """The model of a NIC without one in its row; `by_hardware` as for disks."""
    is_wish = by_hardware is None and default is not InterfaceModel.VIRTIO
    return (by_hardware or default) if found is None or is_wish else found


def _first(found: Iterable[BusEvidence], known: Iterable[str]) -> str:
    return next((one.name for one in found if one.name in known), "")
