"""The networks of a datacenter, and which of them a network card is on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pyVmomi import vim

from steps.providers.vmware import collector
from steps.providers.vmware.collector import Row
from steps.providers.vmware.find import Datacenter
from steps.providers.vmware.paths import plain
from steps.providers.vmware.session import Session

_UPLINK_TAG: Final = "SYSTEM/DVS.UPLINKPG"

_device: Any = vim.vm.device.VirtualEthernetCard


@dataclass(frozen=True)
class Networks:
    """Names of networks by what a card's backing refers to."""

    names: frozenset[str] = frozenset()
    by_key: dict[str, str] = field(default_factory=dict)
    """Port-group names by key (DistributedVirtualPortgroup.key)."""
    by_opaque_id: dict[str, str] = field(default_factory=dict)
    """NSX networks' names (OpaqueNetworkSummary.opaqueNetworkId)."""


@dataclass(frozen=True)
class Attachment:
    """What a card is on. `certain` is False where the name is only what the device's summary says."""

    name: str
    id: str
    certain: bool = True


def read(session: Session, datacenters: Iterable[Datacenter]) -> Networks:
    """All networks that a machine of those datacenters can be on, in one call for each."""
    found = Networks()
    for each in datacenters:
        found = _merged(found, _of(session, each))
    return found


def _of(session: Session, at: Datacenter) -> Networks:
    rows = collector.below(
        session,
        at.network_folder,
        {
            vim.Network: ("name",),
            vim.dvs.DistributedVirtualPortgroup: ("name", "key", "config.uplink", "tag"),
            vim.OpaqueNetwork: ("name", "summary"),
        },
    )
    by_key = {row.get("key"): plain(row.get("name", "")) for row in rows if row.get("key")}
    opaque = {
        getattr(row.get("summary"), "opaqueNetworkId", ""): plain(row.get("name", ""))
        for row in rows
        if isinstance(row.ref, vim.OpaqueNetwork)
    }
    names = {plain(row.get("name", "")) for row in rows if not _is_uplink(row)}
    return Networks(frozenset(names - {""}), by_key, opaque)


def _is_uplink(row: Row) -> bool:
    """Whether a port group joins the switch to the hosts' own cards, so that no machine can be on it.

    DVPortgroupConfigInfo.uplink came with API 6.7; before, vSphere's own tag says it.
    """
    return bool(row.get("config.uplink", False)) or any(tag.key == _UPLINK_TAG for tag in row.get("tag", ()))


def _merged(one: Networks, other: Networks) -> Networks:
    return Networks(
        one.names | other.names, {**one.by_key, **other.by_key}, {**one.by_opaque_id, **other.by_opaque_id}
    )


def attachment(card: Any, networks: Networks) -> Attachment:
    """The network of a card, from its backing (VirtualEthernetCard.*BackingInfo)."""
    backing = card.backing
    summary = (card.deviceInfo.summary if card.deviceInfo else "") or ""
    if isinstance(backing, _device.DistributedVirtualPortBackingInfo):
        key = backing.port.portgroupKey or ""
        name = networks.by_key.get(key)
    elif isinstance(backing, _device.OpaqueNetworkBackingInfo):
        key = backing.opaqueNetworkId
        name = networks.by_opaque_id.get(key)
    elif isinstance(backing, _device.NetworkBackingInfo):
        key = backing.network._moId if backing.network else ""
        name = backing.deviceName
    else:
        key, name = "", None
    return Attachment(name, key) if name else Attachment(summary, key, certain=False)
