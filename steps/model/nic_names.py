"""Which name of a guest belongs to which NIC, so that the NICs keep their names in the new VM. Pure.

The kernel names a NIC after its place on the bus, which is another one at the target: `ens192` becomes
`enp1s0`, and a configuration for `ens192` has no effect. A `.link` file of systemd, or a rule of udev, gives
the NIC with that MAC address its old name. Nothing of the configuration is rewritten, because firewalls and
scripts name the NIC as well; so bonds, bridges, VLANs and all addresses on it stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_interface
from typing import Final

from steps.model.concerns import log, warn
from steps.model.guest import NamedNic, NetworkAddress
from steps.model.guest_network import is_nic_name
from steps.model.machine import Concern, Nic

LINK_FOLDER: Final = "/etc/systemd/network"
RULES: Final = "/etc/udev/rules.d/70-persistent-net.rules"
_SLOT: Final = re.compile(r"ens(\d{1,5})(?:np\d+)?")
"""A name after the number of a slot (systemd.net-naming-scheme(7)), which is vSphere's `pciSlotNumber`."""
_BY_ORDER: Final = re.compile(r"eth\d+")
"""The kernel's own names, which follow the order of the NICs. The new VM has the same order."""
_NOT_WIRED: Final = ("lo", "wlan", "wlp", "wls", "docker", "virbr", "veth", "tun", "tap", "dummy", "wg")
_SHOWN: Final = 8


@dataclass(frozen=True)
class Naming:
    """What to write so that the NICs keep their names, and what is not preserved."""

    pairs: tuple[NamedNic, ...] = ()
    how: tuple[str, ...] = ()
    """For each pair, how it is known."""
    concerns: tuple[Concern, ...] = ()


def paired(
    network: Sequence[NetworkAddress], named: Sequence[NamedNic], nics: Sequence[Nic], kept: Collection[str]
) -> Naming:
    """The pairs of a name and a MAC address that the guest does not know yet.

    `network` and `named` are what the guest's files say, `nics` are those of the source, `kept` the MAC
    addresses that the new VM has. If two ways of finding a pair disagree, there are no pairs at all.
    """
    names = _names(network, named)
    found = {name: _evidence(name, network, nics, alone=len(names) == 1) for name in names}
    if disagree := _disagreement(found):
        return Naming(
            concerns=(
                warn(
                    "guest-names-disagree",
                    f"it is not clear which NIC has which name in the guest: {disagree}; nothing was written",
                    "bind the configuration to the MAC addresses in the guest",
                ),
            )
        )
    chosen = {name: next(iter(ways.items())) for name, ways in found.items() if ways}
    pairs = {name: (mac, how) for name, (how, mac) in chosen.items() if mac in kept}
    lost = {name: mac for name, (_, mac) in chosen.items() if mac not in kept}
    return Naming(
        pairs=tuple(NamedNic(name=name, mac=mac) for name, (mac, _) in pairs.items()),
        how=tuple(how for _, how in pairs.values()),
        concerns=(
            *_without_nic(network, [name for name in names if not found[name]]),
            *_other_mac(network, lost),
        ),
    )


def _names(network: Sequence[NetworkAddress], named: Sequence[NamedNic]) -> tuple[str, ...]:
    """The names of wired NICs on which a configuration depends, without those that the guest itself binds."""
    virtual = {one.name for one in network if one.kind != "ethernet"}
    bound = {one.name for one in named} | {one.name for one in network if one.mac and one.kind == "ethernet"}
    direct = [one.name for one in network if one.kind == "ethernet" and one.by_name]
    below = [member for one in network for member in one.members]
    return tuple(
        name
        for name in dict.fromkeys((*direct, *below))
        if is_nic_name(name)
        and name not in virtual | bound
        and not _BY_ORDER.fullmatch(name)
        and not name.startswith(_NOT_WIRED)
    )


def _evidence(
    name: str, network: Sequence[NetworkAddress], nics: Sequence[Nic], *, alone: bool
) -> dict[str, str]:
    """MAC addresses by the way in which they were found, the most trusted way first."""
    ways: dict[str, str] = {}
    slot = _SLOT.fullmatch(name)
    if slot and (by_slot := _only(nic.mac for nic in nics if nic.slot == int(slot[1]))):
        ways["its slot at the source"] = by_slot
    addresses = {_plain(text) for one in network if one.name == name for text in one.addresses}
    if by_address := _only(nic.mac for nic in nics if addresses & {_plain(text) for text in nic.addresses}):
        ways["its addresses at the source"] = by_address
    if alone and len(nics) == 1 and nics[0].mac:
        ways["being the only NIC"] = nics[0].mac
    return ways


def _only(macs: Iterable[str | None]) -> str:
    """The MAC address, if it is exactly one."""
    found = set(macs)
    return (found.pop() or "") if len(found) == 1 else ""


def _plain(text: str) -> str:
    return str(ip_interface(text).ip)


def _disagreement(found: Mapping[str, Mapping[str, str]]) -> str:
    """Why the pairs cannot be trusted; "" if they can."""
    for name, ways in found.items():
        if len(set(ways.values())) > 1:
            return f"{name} is " + ", but ".join(f"{mac} by {how}" for how, mac in ways.items())
    macs: dict[str, str] = {}
    for name, ways in found.items():
        mac = next(iter(ways.values()), "")
        if mac and mac in macs:
            return f"{macs[mac]} and {name} are both {mac}"
        macs[mac] = name
    return ""


def _without_nic(network: Sequence[NetworkAddress], names: Sequence[str]) -> Iterator[Concern]:
    if names:
        yield warn(
            "guest-name-unknown",
            f"it is not known which NIC is {_listed(names)} in the guest, so these may get other names: "
            f"{_listed(_dependent(network, names))}",
            "bind the configuration to the MAC addresses in the guest",
        )


def _other_mac(network: Sequence[NetworkAddress], lost: Mapping[str, str]) -> Iterator[Concern]:
    if lost:
        nics = ", ".join(f"{name} ({mac})" for name, mac in list(lost.items())[:_SHOWN])
        yield warn(
            "guest-mac-changes",
            f"the new VM has no NIC with the MAC address of {nics}, so these are not preserved: "
            f"{_listed(_dependent(network, list(lost)))}",
            "keep the NIC with its MAC address in networkMapping, or configure the network in the new VM",
        )


def _dependent(network: Sequence[NetworkAddress], names: Collection[str]) -> list[str]:
    """The connections on these NICs, also through a bond, a bridge or a VLAN."""
    affected = set(names)
    for _ in range(4):  # a VLAN on a bridge on a bond on a NIC
        affected |= {one.name for one in network if affected & set(one.members)}
    rows: dict[str, list[str]] = {name: [] for name in names}
    for one in network:
        if one.name in affected:
            rows.setdefault(one.name, []).extend(one.addresses)
    return [f"{name} ({', '.join(found)})" if found else name for name, found in rows.items()]


def _listed(texts: Iterable[str]) -> str:
    found = list(texts)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


# --- what is written


def link_path(name: str) -> str:
    return f"{LINK_FOLDER}/10-vmferry-{name}.link"


def link_text(pair: NamedNic) -> str:
    """A file for systemd 209 and later. `Type` leaves out VLANs, bonds and bridges with the same address."""
    return (
        "# Written by vmferry: the NIC keeps the name that it had before the import.\n"
        f"[Match]\nMACAddress={pair.mac}\nType=ether\n\n[Link]\nName={pair.name}\n"
    )


def udev_rule(pair: NamedNic) -> str:
    """A line for a udev without `.link` files."""
    return (
        f'SUBSYSTEM=="net", ACTION=="add", ATTR{{address}}=="{pair.mac}", ATTR{{type}}=="1", '
        f'NAME="{pair.name}"'
    )


# --- Windows


@dataclass(frozen=True)
class WindowsAddresses:
    """Values of virt-v2v's option --mac, and what is not preserved."""

    rows: tuple[str, ...] = ()
    concerns: tuple[Concern, ...] = ()


def windows_rows(
    network: Sequence[NetworkAddress], nics: Sequence[Nic], kept: Collection[str]
) -> WindowsAddresses:
    """Static addresses of Windows by MAC address: its registry knows no MAC addresses.

    virt-v2v writes one IPv4 address for each NIC (virt-v2v(1), --mac).
    """
    static = [one for one in network if one.stack == "windows" and one.addresses]
    rows: list[str] = []
    lost: list[str] = []
    taken: set[str] = set()
    for one in static:
        ways = _evidence(one.name, static, nics, alone=len(static) == 1)
        mac = _only(ways.values())
        first = next(filter(_is_v4, one.addresses), "")
        others = [address for address in one.addresses if address != first]
        if not mac or mac not in kept or mac in taken:
            lost += one.addresses
            continue
        taken.add(mac)
        lost += others
        if first:
            rows.append(_windows_row(mac, first, one))
    concerns = (
        (
            warn(
                "guest-addresses-lost",
                f"these static addresses of Windows are not preserved: {_listed(lost)}",
                "set them again in the new VM",
            ),
        )
        if lost
        else ()
    )
    if rows:
        message = f"Windows gets its static addresses again at its first start: {_listed(rows)}"
        concerns = (*concerns, log("guest-addresses-kept", message))
    return WindowsAddresses(tuple(rows), concerns)


def _windows_row(mac: str, address: str, one: NetworkAddress) -> str:
    """`MAC:ip:ADDRESS,GATEWAY,LENGTH,DNS,…`; without a gateway its field is empty."""
    found = ip_interface(address)
    gateway = next((text for text in one.gateways if _is_v4(text)), "")
    servers = [text for text in one.nameservers if _is_v4(text)]
    return f"{mac}:ip:" + ",".join([str(found.ip), gateway, str(found.network.prefixlen), *servers])


def _is_v4(text: str) -> bool:
    return isinstance(ip_interface(text), IPv4Interface)
