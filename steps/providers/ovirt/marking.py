"""Marks a VM that was imported: a tag that exists already, its name, and the links of its NICs."""

from __future__ import annotations

import structlog

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.source_mark import SourceMark
from steps.providers.ovirt import faults, power
from steps.providers.ovirt.engine import Engine

log = structlog.get_logger()


class OvirtMarker:
    """See `steps.providers.Marker`."""

    longest_name = 255
    """ENG BusinessEntitiesDefinitions.VM_NAME_SIZE."""

    def __init__(self, engine: Engine, machine: Machine) -> None:
        self._engine = engine
        self._machine = machine
        self._path = f"/vms/{machine.source_id}"

    def lacks(self, mark: SourceMark) -> list[str]:
        if not mark.tag:
            return []
        tags = self._engine.read("list the tags", "/tags").elements("tag")
        names = sorted(tag.text("name") for tag in tags)
        return [] if mark.tag in names else [f"there is no tag {mark.tag}; tags: {', '.join(names)}"]

    def set_tag(self, tag: str, *, present: bool) -> None:
        attached = self._engine.read("read the tags of the VM", f"{self._path}/tags").elements("tag")
        ids = [found.required("id") for found in attached if found.text("name") == tag]
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
