"""Marks a server that was imported: a server tag, its name, and its ports.

A port is taken down (`admin_state_up`), not detached: Nova would delete a port that it made, with its MAC
address (nova/network/neutron.py, deallocate_port_for_instance).
"""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

import structlog

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.source_mark import SourceMark
from steps.providers.openstack import faults
from steps.providers.openstack.cloud import Cloud

log = structlog.get_logger()


def _change_tag(server: Any, compute: Any, tag: str, *, present: bool) -> None:
    """Add or remove one tag.

    Nova reads the bytes of a tag in a path as Latin-1 (seen in Nova 34 with Routes 2.5), so `ü` would become
    two characters. Such a tag goes into the body of a request that replaces all tags of the server.
    """
    if tag.isascii():
        quoted = quote(tag, safe="")  # openstacksdk puts it into the path as it is
        (server.add_tag if present else server.remove_tag)(compute, quoted)
        return
    others = [one for one in server.tags or () if one != tag]
    server.set_tags(compute, [*others, tag] if present else others)


class ServerMarker:
    """See `steps.providers.Marker`."""

    longest_name = 255
    """Compute API, parameter `name`."""

    def __init__(self, cloud: Cloud, machine: Machine) -> None:
        self._cloud = cloud
        self._machine = machine

    def lacks(self, mark: SourceMark) -> list[str]:
        """Nothing: the member of a project may change its servers and ports, and tags need not exist."""
        del mark
        return []

    def has_tag(self, tag: str) -> bool:
        return tag in (self._server().tags or ())

    def set_tag(self, tag: str, *, present: bool) -> None:
        server = self._server()
        if (tag in (server.tags or ())) is present:
            return
        what = f"give server {server.name} the tag {tag}" if present else f"remove the tag {tag}"
        log.info("changing a tag of the server", server=server.id, tag=tag, present=present)
        try:
            self._cloud.change(what, partial(_change_tag, server, self._cloud.compute, tag, present=present))
        except StepError as error:
            if present or not faults.is_not_found(error):
                raise

    def rename(self, old: str, new: str) -> None:
        server = self._server()
        if server.name == new:
            return
        what = f"rename server {server.name} to {new}"
        if server.name != old:
            raise StepError(Exit.INVALID, f"cannot {what}", "it was called " + old, "rename it by hand")
        log.info("renaming the server", server=server.id, name=new)
        self._cloud.change(what, lambda: self._cloud.compute.update_server(server.id, name=new))

    def connect_nics(self, *, connected: bool) -> None:
        server = self._server()
        macs = {nic.mac for nic in self._machine.nics if nic.connected and nic.mac}
        ports = self._cloud.read(
            f"list the ports of server {server.name}",
            lambda: list(self._cloud.network.ports(device_id=server.id)),
        )
        for port in ports:
            if str(port.mac_address).lower() in macs and bool(port.is_admin_state_up) is not connected:
                log.info("changing a port of the server", port=port.id, up=connected)
                change = partial(self._cloud.network.update_port, port.id, admin_state_up=connected)
                self._cloud.change(f"change the port {port.mac_address}", change)

    def _server(self) -> Any:
        """The server as it is now. Raises StepError: NOT_FOUND, if it was deleted."""
        what = f"read server {self._machine.name}"
        server = self._cloud.find(what, lambda: self._cloud.compute.get_server(self._machine.source_id))
        if server is None:
            raise StepError(Exit.NOT_FOUND, f"cannot {what}", "it was deleted")
        return server
