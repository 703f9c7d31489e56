"""The networks of a datacenter, and the network of a NIC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pyVmomi import vim

from steps.model import unique
from steps.model.unique import Index
from steps.providers.vmware import collector
from steps.providers.vmware.collector import Row
from steps.providers.vmware.find import Datacenter
from steps.providers.vmware.paths import unescape
from steps.providers.vmware.session import Session

_UPLINK_TAG: Final = "SYSTEM/DVS.UPLINKPG"

_device: Any = vim.vm.device.VirtualEthernetCard


class NamedNetwork(NamedTuple):
    """A network by the key in a NIC's backing. NSX shows one segment as a network of each switch."""

    key: str
    name: str


def index_by_key(networks: Iterable[NamedNetwork]) -> Index[str, NamedNetwork]:
    """Networks by that key; a key with two names matches neither."""
    return unique.index(
        networks, lambda network: network.key, what="networks with the key", where="the source"
    )


@dataclass(frozen=True)
class Networks:
    """Names of networks by the key in a NIC's backing."""

    names: frozenset[str] = frozenset()
    by_key: Index[str, NamedNetwork] = index_by_key(())  # noqa: RUF009 - it never changes
    """Port-group names by key (DistributedVirtualPortgroup.key)."""
    by_opaque_id: Index[str, NamedNetwork] = index_by_key(())  # noqa: RUF009
    """NSX networks' names (OpaqueNetworkSummary.opaqueNetworkId)."""


@dataclass(frozen=True)
class Attachment:
    """A NIC's network. `certain` is False if the name is only from the device's summary."""

    name: str
    id: str
    certain: bool = True


def read(session: Session, datacenters: Iterable[Datacenter]) -> Networks:
    """All networks of those datacenters that a VM can use, in one call per datacenter."""
    networks = Networks()
    for datacenter in datacenters:
        networks = _merge(networks, _read_datacenter(session, datacenter))
    return networks


def _read_datacenter(session: Session, datacenter: Datacenter) -> Networks:
    rows = collector.read_below(
        session,
        datacenter.network_folder,
        {
            vim.Network: ("name",),
            vim.dvs.DistributedVirtualPortgroup: ("name", "key", "config.uplink", "tag"),
            vim.OpaqueNetwork: ("name", "summary"),
        },
    )
    by_key = index_by_key(NamedNetwork(row.get("key", ""), unescape(row.get("name", ""))) for row in rows)
    opaque = index_by_key(
        NamedNetwork(getattr(row.get("summary"), "opaqueNetworkId", "") or "", unescape(row.get("name", "")))
        for row in rows
        if isinstance(row.ref, vim.OpaqueNetwork)
    )
    names = {unescape(row.get("name", "")) for row in rows if not _is_uplink(row)}
    return Networks(frozenset(names - {""}), by_key, opaque)


def _is_uplink(row: Row) -> bool:
    """Whether a port group connects the switch to the hosts' own NICs, so that no VM can use it.

    DVPortgroupConfigInfo.uplink came with API 6.7; before that, vSphere's own tag shows it.
    """
    return bool(row.get("config.uplink", False)) or any(tag.key == _UPLINK_TAG for tag in row.get("tag", ()))


def _merge(first: Networks, second: Networks) -> Networks:
    return Networks(
        first.names | second.names,
        index_by_key((*first.by_key, *second.by_key)),
        index_by_key((*first.by_opaque_id, *second.by_opaque_id)),
    )


def _network_name(networks: Index[str, NamedNetwork], key: str) -> str:
    """The name of the network with that key; "" if there is none or several."""
    network = networks.certain(key)
    return network.name if network else ""


def attachment(card: Any, networks: Networks) -> Attachment:
    """The network of a NIC, from its backing (VirtualEthernetCard.*BackingInfo)."""
    backing = card.backing
    summary = (card.deviceInfo.summary if card.deviceInfo else "") or ""
    if isinstance(backing, _device.DistributedVirtualPortBackingInfo):
        key = backing.port.portgroupKey or ""
        name = _network_name(networks.by_key, key)
    elif isinstance(backing, _device.OpaqueNetworkBackingInfo):
        key = backing.opaqueNetworkId
        name = _network_name(networks.by_opaque_id, key)
    elif isinstance(backing, _device.NetworkBackingInfo):
        key = backing.network._moId if backing.network else ""
        name = backing.deviceName
    else:
        key, name = "", None
    return Attachment(name, key) if name else Attachment(summary, key, certain=False)
