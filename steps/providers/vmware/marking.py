"""Marks a VM that was imported: its name, its NICs, and a tag that exists already.

What each call needs is in the vSphere Web Services API reference ("Required privileges"): Rename_Task needs
VirtualMachine.Config.Rename, ReconfigVM_Task with a change of a device VirtualMachine.Config.EditDevice. To
attach a tag the account needs InventoryService.Tagging.AttachTag on the VM and the tag. Names are escaped as
in ManagedEntity.name.
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from pyVmomi import vim

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.source_mark import SourceMark
from steps.providers.vmware import collector, devices, faults, privileges, tags, tasks
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.paths import escape, unescape
from steps.providers.vmware.session import Session

log = structlog.get_logger()

SECONDS: Final = 120.0
"""How long a change of a VM may take."""


class VsphereMarker:
    """See `steps.providers.Marker`."""

    longest_name = 80
    """vSphere Web Services API reference, VirtualMachineConfigInfo.name."""

    def __init__(self, session: Session, credentials: Credentials, machine: Machine) -> None:
        self._session = session
        self._credentials = credentials
        self._machine = machine
        self._vm = session.vm(machine)

    def lacks(self, mark: SourceMark) -> list[str]:
        wanted = (
            *((privileges.RENAME,) if mark.name_suffix else ()),
            *((privileges.EDIT_DEVICE,) if mark.disconnect_nics else ()),
        )
        found = privileges.lacking(self._session, self._vm, wanted)
        try:
            if mark.tag:
                tags.check_attachable(self._session, self._credentials, self._machine, mark.tag)
        except StepError as error:
            found.append(str(error))
        return found

    def has_tag(self, tag: str) -> bool:
        return tags.has_tag(self._session, self._credentials, self._machine, tag)

    def set_tag(self, tag: str, *, present: bool) -> None:
        tags.set_tag(self._session, self._credentials, self._machine, tag, present=present)

    def rename(self, old: str, new: str) -> None:
        what = f"cannot rename the VM to {new}"
        row = collector.read_one(self._session, self._vm, "name")
        name = unescape(str(row.get("name") or ""))
        if name == new:
            return
        if name != old:
            raise StepError(Exit.INVALID, what, f"its name is now {name}", "rename it by hand")
        log.info("renaming the VM at its source", vm=old, name=new)
        with faults.as_step_error(what, self._session.endpoint):
            task = self._vm.Rename_Task(newName=escape(new))
        tasks.await_result(self._session, task, what, seconds=SECONDS, late=tasks.too_late(what))

    def connect_nics(self, *, connected: bool) -> None:
        what = "cannot connect the NICs" if connected else "cannot disconnect the NICs"
        labels = {nic.label for nic in self._machine.nics if nic.connected}
        hardware = collector.read_one(self._session, self._vm, "config.hardware.device")
        cards = [
            card
            for card in devices.Hardware(hardware.get("config.hardware.device") or ()).ethernet_cards()
            if devices.label(card) in labels and _starts_connected(card) is not connected
        ]
        if not cards:
            return
        log.info("changing the NICs at the source", nics=len(cards), connected=connected)
        spec: Any = vim.vm.ConfigSpec
        with faults.as_step_error(what, self._session.endpoint):
            task = self._vm.ReconfigVM_Task(
                spec=spec(deviceChange=[_edit(card, connected=connected) for card in cards])
            )
        tasks.await_result(self._session, task, what, seconds=SECONDS, late=tasks.too_late(what))


def _starts_connected(card: Any) -> bool:
    """Whether the NIC is connected when the VM starts (VirtualDevice.ConnectInfo). It is off now."""
    return card.connectable is None or bool(card.connectable.startConnected)


def _edit(card: Any, *, connected: bool) -> Any:
    """The change of one NIC; everything else of it stays."""
    if card.connectable is None:
        info: Any = vim.vm.device.VirtualDevice.ConnectInfo
        card.connectable = info(startConnected=connected, connected=False, allowGuestControl=True)
    card.connectable.startConnected = connected
    change: Any = vim.vm.device.VirtualDeviceSpec
    return change(operation="edit", device=card)
