"""Bus and NIC model by evidence: rows win, then what an inspection found, then the hardware at the source."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.guest import Answer, BusEvidence, Guest, Verdict
from steps.model.machine import Controller, NicModel
from steps.model.mapping import shape
from steps.model.plan import Bus, DiskRule, InterfaceModel, NetworkRule
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan


def a_guest(buses: tuple[str, ...] = (), nics: tuple[str, ...] = ()) -> Guest:
    return Guest(
        verdict=Verdict(answer=Answer.FITS, text="it boots"),
        disk_buses=tuple(BusEvidence(name=name, why="it has drivers") for name in buses),
        nic_models=tuple(BusEvidence(name=name, why="it has drivers") for name in nics),
    )


def bus(guest: Guest | None, controller: Controller = Controller.PVSCSI, **target: Any) -> Bus:
    machine = a_machine(disks=(a_disk(controller=controller),))
    return shape(a_plan(**target), machine, guest).disks[0].bus


def model(guest: Guest | None, nic: NicModel = NicModel.VMXNET3, **target: Any) -> InterfaceModel:
    given = {"networks": (NetworkRule(source="VM Network", destination="default/vlan"),)} | target
    return shape(a_plan(**given), a_machine(nics=(a_nic(model=nic),)), guest).interfaces[0].model


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (("virtio", "scsi", "sata"), Bus.VIRTIO),
        (("scsi", "sata"), Bus.SCSI),
        (("sata",), Bus.SATA),
        ((), Bus.SATA),
        (("floppy", "virtio"), Bus.VIRTIO),
        (("<script>",), Bus.SATA),
    ],
)
def test_the_best_known_bus_from_which_it_boots(found: tuple[str, ...], wanted: Bus) -> None:
    assert bus(a_guest(found)) is wanted


def test_without_an_inspection_the_hardware_at_the_source_decides() -> None:
    assert bus(None) is Bus.SATA
    assert bus(None, Controller.LSILOGIC) is Bus.SCSI
    assert model(None) is InterfaceModel.VIRTIO
    assert model(None, NicModel.E1000) is InterfaceModel.E1000


def test_a_guest_without_virtio_gets_what_it_has_drivers_for() -> None:
    guest = a_guest(("sata",), ("e1000e",))
    assert bus(guest, Controller.VIRTIO) is Bus.SATA
    assert model(guest) is InterfaceModel.E1000E


def test_a_guest_with_virtio_gets_it_whatever_its_hardware_was() -> None:
    guest = a_guest(("virtio", "sata"), ("virtio", "e1000e"))
    assert bus(guest, Controller.IDE) is Bus.VIRTIO
    assert model(guest, NicModel.E1000) is InterfaceModel.VIRTIO


def test_a_row_of_the_import_wins() -> None:
    guest = a_guest(("virtio",), ("virtio",))
    assert bus(guest, disks=(DiskRule(disk="disk-0", bus=Bus.USB),)) is Bus.USB
    row = NetworkRule(source="VM Network", destination="default/vlan", model=InterfaceModel.RTL8139)
    assert model(guest, networks=(row,)) is InterfaceModel.RTL8139


def test_a_default_of_the_import_other_than_virtio_wins_where_it_counts() -> None:
    guest = a_guest(("virtio",), ("virtio",))
    assert bus(guest, Controller.UNKNOWN, default_bus=Bus.SCSI) is Bus.SCSI
    assert bus(guest, Controller.PVSCSI, default_bus=Bus.SCSI) is Bus.VIRTIO
    assert model(guest, networks=(), default_model=InterfaceModel.PCNET) is InterfaceModel.PCNET
    assert model(guest, networks=()) is InterfaceModel.VIRTIO


def test_a_disk_on_usb_stays_there() -> None:
    assert bus(a_guest(("virtio",)), Controller.USB) is Bus.USB
