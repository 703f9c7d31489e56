"""Marks a VM that was imported: a tag that exists already, its name, and the links of its NICs."""

from __future__ import annotations

import re
from typing import Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.source_mark import SourceMark
from steps.providers.ovirt import faults, power
from steps.providers.ovirt.engine import Engine

log = structlog.get_logger()

_NAME: Final = re.compile(r"[\w.+-]*")
"""ENG ValidationUtils.NO_SPECIAL_CHARACTERS_I18N, which VmStatic uses: letters, digits and a few others."""


class OvirtMarker:
    """See `steps.providers.Marker`."""

    longest_name = 64
    """ENG ConfigValues.MaxVmNameLength, unless an administrator has changed it; UpdateVmCommand checks it."""

    def __init__(self, engine: Engine, machine: Machine) -> None:
        self._engine = engine
        self._machine = machine
        self._path = f"/vms/{machine.source_id}"

    def lacks(self, mark: SourceMark) -> list[str]:
        found = []
        if not _NAME.fullmatch(mark.name_suffix):
            found.append(f"names of VMs have no {_foreign(mark.name_suffix)}: write nameSuffix without it")
        if mark.tag:
            tags = self._engine.read("list the tags", "/tags").elements("tag")
            names = sorted(tag.text("name") for tag in tags)
            if mark.tag not in names:
                found.append(f"there is no tag {mark.tag}; tags: {', '.join(names)}")
        return found

    def has_tag(self, tag: str) -> bool:
        return bool(self._ids(tag))

    def _ids(self, tag: str) -> list[str]:
        """The ids of the VM's tags of that name."""
        attached = self._engine.read("read the tags of the VM", f"{self._path}/tags").elements("tag")
        return [found.required("id") for found in attached if found.text("name") == tag]

    def set_tag(self, tag: str, *, present: bool) -> None:
        ids = self._ids(tag)
        if bool(ids) is present:
            return
        if present:
            log.info("giving the VM a tag", vm=self._machine.name, tag=tag)
            self._engine.change(f"give the VM the tag {tag}", f"{self._path}/tags", {"name": tag})
            return
        for tag_id in ids:
            try:
                self._engine.delete(f"remove the tag {tag}", f"{self._path}/tags/{tag_id}")
            except StepError as error:
                if not faults.is_not_found(error):
                    raise

    def rename(self, old: str, new: str) -> None:
        name = power.read(self._engine, self._machine).text("name")
        if name == new:
            return
        what = f"rename the VM to {new}"
        if name != old:
            raise StepError(Exit.INVALID, f"cannot {what}", f"its name is now {name}", "rename it by hand")
        log.info("renaming the VM at its source", vm=old, name=new)
        self._engine.change(what, self._path, {"name": new}, method="PUT")

    def connect_nics(self, *, connected: bool) -> None:
        labels = {nic.label for nic in self._machine.nics if nic.connected}
        for nic in self._engine.read("read the NICs of the VM", f"{self._path}/nics").elements("nic"):
            name = nic.text("name")
            if name in labels and nic.flag("linked", default=True) is not connected:
                log.info("changing a NIC of the VM", nic=name, linked=connected)
                path = f"{self._path}/nics/{nic.required('id')}"
                self._engine.change(f"change the NIC {name}", path, {"linked": connected}, method="PUT")


def _foreign(suffix: str) -> str:
    """The first character of a suffix that no name may have, for a sentence."""
    character = next(one for one in suffix if not _NAME.fullmatch(one))
    return "space" if character == " " else repr(character)
