"""The networks of a datacenter, and the network of a NIC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import structlog
from pyVmomi import vim

from steps.model import unique
from steps.model.contract import Exit, StepError
from steps.model.unique import Index
from steps.providers.vmware import collector
from steps.providers.vmware.collector import Row
from steps.providers.vmware.find import Datacenter
from steps.providers.vmware.paths import unescape
from steps.providers.vmware.session import Session

log = structlog.get_logger()

_UPLINK_TAG: Final = "SYSTEM/DVS.UPLINKPG"

_device: Any = vim.vm.device.VirtualEthernetCard


class NamedNetwork(NamedTuple):
    """A network by the key in a NIC's backing. NSX shows one segment as a network of each switch."""

    key: str
    name: str
    vlan: int | None = None


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
    host_vlans: Mapping[str, int] = field(default_factory=dict)
    """VLANs of the port groups of standard switches, by name, on the host of the VM."""


@dataclass(frozen=True)
class Attachment:
    """A NIC's network. `certain` is False if the name is only from the device's summary."""

    name: str
    id: str
    certain: bool = True
    vlan: int | None = None


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
            vim.dvs.DistributedVirtualPortgroup: (
                "name",
                "key",
                "config.uplink",
                "config.defaultPortConfig",
                "tag",
            ),
            vim.OpaqueNetwork: ("name", "summary"),
        },
    )
    by_key = index_by_key(
        NamedNetwork(row.get("key", ""), unescape(row.get("name", "")), _vlan_of(row)) for row in rows
    )
    opaque = index_by_key(
        NamedNetwork(getattr(row.get("summary"), "opaqueNetworkId", "") or "", unescape(row.get("name", "")))
        for row in rows
        if isinstance(row.ref, vim.OpaqueNetwork)
    )
    names = {unescape(row.get("name", "")) for row in rows if not _is_uplink(row)}
    return Networks(frozenset(names - {""}), by_key, opaque)


def _vlan_of(row: Row) -> int | None:
    """The VLAN of a distributed port group; None without one, and for a trunk, which has several.

    VMwareDVSPortSetting.vlan. Of a private VLAN the ID is that of the secondary one.
    """
    spec = getattr(row.get("config.defaultPortConfig"), "vlan", None)
    number = getattr(spec, "vlanId", None) or getattr(spec, "pvlanId", None)
    return _usable(number)


def _usable(number: Any) -> int | None:
    """0 means no VLAN, and 4095 all of them (HostPortGroupSpec.vlanId)."""
    return number if isinstance(number, int) and 1 <= number <= 4094 else None


def with_host_vlans(session: Session, networks: Networks, vm: Row) -> Networks:
    """The networks with the VLANs of the standard switches of the VM's host.

    `vm` has `config.hardware` and `runtime.host`. A standard switch is one of a host: each host has its own
    port groups, and the inventory knows only their names. An account that may not read the host does without.
    """
    devices = vm.get("config.hardware").device if vm.get("config.hardware") is not None else ()
    backings = (getattr(device, "backing", None) for device in devices)
    host = vm.get("runtime.host")
    if host is None or not any(isinstance(backing, _device.NetworkBackingInfo) for backing in backings):
        return networks
    try:
        groups = collector.read_one(session, host, "config.network.portgroup").get(
            "config.network.portgroup", ()
        )
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
            raise
        log.info("the account may not read the port groups of the VM's host", why=error.why)
        return networks
    vlans = {group.spec.name: _usable(group.spec.vlanId) for group in groups}
    return replace(networks, host_vlans={name: vlan for name, vlan in vlans.items() if vlan is not None})


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


_UNKNOWN: Final = NamedNetwork("", "")


def _network(networks: Index[str, NamedNetwork], key: str) -> NamedNetwork:
    """The network with that key; one without a name if there is none or several."""
    return networks.certain(key) or _UNKNOWN


def attachment(card: Any, networks: Networks) -> Attachment:
    """The network of a NIC, from its backing (VirtualEthernetCard.*BackingInfo)."""
    backing = card.backing
    summary = (card.deviceInfo.summary if card.deviceInfo else "") or ""
    if isinstance(backing, _device.DistributedVirtualPortBackingInfo):
        key = backing.port.portgroupKey or ""
        _, name, vlan = _network(networks.by_key, key)
    elif isinstance(backing, _device.OpaqueNetworkBackingInfo):
        key = backing.opaqueNetworkId
        _, name, vlan = _network(networks.by_opaque_id, key)
    elif isinstance(backing, _device.NetworkBackingInfo):
        key = backing.network._moId if backing.network else ""
        name = backing.deviceName
        vlan = networks.host_vlans.get(name or "")
    else:
        key, name, vlan = "", None, None
    return Attachment(name, key, vlan=vlan) if name else Attachment(summary, key, certain=False)
