"""Static addresses in the files of a guest, in six notations. Pure; nothing of these files is trusted.

A file that cannot be read yields nothing. Only what names a NIC and its addresses is kept.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from steps.model import foreign_yaml
from steps.model.guest import NamedNic, NetworkAddress
from steps.model.guest_facts import NetworkFile, WindowsInterface

MOST_CONNECTIONS: Final = 64
MOST_ADDRESSES: Final = 32
LONGEST: Final = 128
MOST_BRACKETS: Final = 500
"""Opening brackets in a YAML file: the time of the parser grows with the square of their depth."""
MOST_YAML: Final = 256 << 10
"""Characters of all YAML files together: the parser needs a second for some 60,000."""
_NIC_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,14}")
"""A name that the kernel accepts for a NIC (net/core/dev.c, dev_valid_name), and that needs no quotes."""
_MAC: Final = re.compile(r"(?i)(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}")
Kind = Literal["ethernet", "bond", "bridge", "vlan", "other"]
Section = list[tuple[str, str]]


def connections(files: Iterable[NetworkFile]) -> tuple[NetworkAddress, ...]:
    """The connections of all files, with the MAC addresses that udev rules and `.link` files give to names.

    The order is that of the files.
    """
    files = tuple(_without_much_yaml(files))
    names = dict(_named_by_rules(files))
    found = [one for file in files if file.stack in _READERS for one in _READERS[file.stack](file)]
    return tuple(
        one if one.mac or one.name not in names else one.model_copy(update={"mac": names[one.name]})
        for one in found[:MOST_CONNECTIONS]
    )


def _without_much_yaml(files: Iterable[NetworkFile]) -> Iterator[NetworkFile]:
    """The files; those in YAML only as long as there is time for them."""
    left = MOST_YAML
    for file in files:
        if file.stack == "netplan":
            left -= len(file.text)
        if file.stack != "netplan" or left >= 0:
            yield file


def named_nics(files: Iterable[NetworkFile]) -> tuple[NamedNic, ...]:
    """The NICs that rules of udev and `.link` files name, in the order of the files."""
    rows = dict.fromkeys(_named_by_rules(files))
    return tuple(NamedNic(name=_short(name), mac=mac) for name, mac in rows)[:MOST_CONNECTIONS]


def is_nic_name(text: str) -> bool:
    """Whether a text is the name of one NIC: no pattern and no list."""
    return _NIC_NAME.fullmatch(text) is not None


def of_windows(interfaces: Iterable[WindowsInterface]) -> tuple[NetworkAddress, ...]:
    """The NICs of a registry that have an address of their own."""
    return tuple(
        NetworkAddress(
            stack="windows",
            name=_name(one.name),
            addresses=_addresses(map("/".join, zip(one.addresses, one.masks, strict=False))),
            gateways=_addresses(one.gateways),
            nameservers=_addresses(part for text in one.nameservers for part in re.split(r"[,\s]", text)),
            dhcp=one.dhcp,
        )
        for one in interfaces
        if not one.dhcp and _addresses(one.addresses)
    )[:MOST_CONNECTIONS]


def _short(text: str) -> str:
    return text.strip().strip("\"'")[:LONGEST]


def _name(text: str) -> str:
    """A text as a name: short, and safe for a terminal."""
    return "".join(character for character in _short(text) if character.isprintable())


def _mac(text: str) -> str:
    found = _MAC.search(text)
    return found[0].lower().replace("-", ":") if found else ""


def _addresses(texts: Iterable[Any]) -> tuple[str, ...]:
    """The addresses among texts, each with its prefix if it has one; anything else is left out."""
    found = []
    for text in texts:
        try:
            written = _short(foreign_yaml.scalar(text))
            address = ipaddress.ip_interface(written)
        except ValueError:
            continue
        if written.isprintable() and not address.ip.is_unspecified:  # the zone of an address may be any text
            found.append(str(address) if "/" in written else str(address.ip))
    return tuple(dict.fromkeys(found))[:MOST_ADDRESSES]


def _made(file: NetworkFile, name: str, **fields: Any) -> Iterator[NetworkAddress]:
    """The connection, if it says anything."""
    one = NetworkAddress(stack=file.stack, name=_name(name), file=file.file[:LONGEST], **fields)
    if one.addresses or one.dhcp or one.mac or one.members:
        yield one


def _members(texts: Iterable[Any]) -> tuple[str, ...]:
    """Names of NICs, of which a text may have several."""
    words = (word for text in texts for word in re.split(r"[,;\s]", str(text)))
    return tuple(dict.fromkeys(filter(is_nic_name, map(_short, words))))[:MOST_ADDRESSES]


def _sections(text: str) -> Iterator[tuple[str, Section]]:
    """The sections of an INI file (networkd, NetworkManager), with keys that may be repeated."""
    title: str | None = None
    rows: Section = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            if title is not None:
                yield title, rows
            title, rows = line[1:-1], []
        elif "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            rows.append((key.strip(), value.strip()))
    if title is not None:
        yield title, rows


def _values(rows: Section, *keys: str) -> list[str]:
    wanted = {key.lower() for key in keys}
    return [value for key, value in rows if key.lower() in wanted]


def _first(values: Iterable[str]) -> str:
    return next(iter(values), "")


def _ifupdown(file: NetworkFile) -> Iterator[NetworkAddress]:
    """interfaces(5): `iface NAME inet static`, then its options."""
    rows: Section = []
    name, method = "", ""

    def done() -> Iterator[NetworkAddress]:
        if name and name != "lo":
            prefix = _first(_values(rows, "netmask"))
            plain = _values(rows, "address")
            joined = [f"{one}/{prefix}" if prefix and "/" not in one else one for one in plain]
            bond = _values(rows, "bond-slaves", "bond_slaves", "slaves")
            bridge = _values(rows, "bridge_ports", "bridge-ports")
            raw = _values(rows, "vlan-raw-device", "vlan_raw_device")
            vlan = raw or ([name.rpartition(".")[0]] if "." in name else [])
            kind: Kind = "bond" if bond else "bridge" if bridge else "vlan" if vlan else "ethernet"
            ports = _members(bond or bridge or vlan)
            yield from _made(
                file,
                name,
                kind=kind,
                members=tuple(port for port in ports if port not in ("none", "all", "regex")),
                addresses=_addresses(joined),
                gateways=_addresses(_values(rows, "gateway")),
                dhcp=method == "dhcp",
            )

    for words in (line.split() for line in file.text.splitlines()):
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "iface" and len(words) >= 4:
            yield from done()
            name, method, rows = words[1], words[3], []
        elif len(words) > 1:
            several = words[0].startswith(("bond", "bridge", "slaves"))
            rows.append((words[0], " ".join(words[1:]) if several else words[1]))
    yield from done()


def _netplan(file: NetworkFile) -> Iterator[NetworkAddress]:
    """netplan(5). Its YAML may be of any depth: what the parser refuses yields nothing.

    A value may be a part that occurs in itself or very often, so only texts and numbers are written out.
    """
    if file.text.count("[") + file.text.count("{") > MOST_BRACKETS:
        return
    try:
        document = foreign_yaml.load(file.text, aliases=True)
    except ValueError:
        return
    kinds: dict[str, Kind] = {
        "ethernets": "ethernet",
        "bonds": "bond",
        "bridges": "bridge",
        "vlans": "vlan",
        "wifis": "other",
    }
    network = _mapping(_mapping(document).get("network"))
    for group, kind in kinds.items():
        for name, given in list(_mapping(network.get(group)).items())[:MOST_CONNECTIONS]:
            one = _mapping(given)
            routes = [_mapping(route).get("via") for route in _list(one.get("routes"))]
            match = _mapping(one.get("match"))
            shown = [
                next(iter(each)) if isinstance(each, Mapping) and each else each
                for each in _list(one.get("addresses"))
            ]
            set_name, wanted = (
                foreign_yaml.scalar(one.get("set-name")),
                foreign_yaml.scalar(match.get("name")),
            )
            shown_name = set_name or wanted or foreign_yaml.scalar(name)
            below = [one.get("link")] if kind == "vlan" else _list(one.get("interfaces"))
            links = [foreign_yaml.scalar(each) for each in below]
            yield from _made(
                file,
                shown_name,
                kind=kind,
                by_name=is_nic_name(shown_name) and (not match or bool(set_name or wanted)),
                members=_members(links) if kind in ("vlan", "bond", "bridge") else (),
                mac=_mac(foreign_yaml.scalar(match.get("macaddress"))),
                addresses=_addresses(shown),
                gateways=_addresses([one.get("gateway4"), one.get("gateway6"), *routes]),
                dhcp=bool(one.get("dhcp4") or one.get("dhcp6")),
            )


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value[:MOST_ADDRESSES] if isinstance(value, list) else []


def _networkmanager(file: NetworkFile) -> Iterator[NetworkAddress]:
    """nm-settings-keyfile(5): `address1=192.0.2.10/24,192.0.2.1`."""
    sections = dict(_sections(file.text))
    connection, wired = (
        sections.get("connection", []),
        sections.get("ethernet", sections.get("802-3-ethernet", [])),
    )
    ip = [row for title in ("ipv4", "ipv6") for row in sections.get(title, [])]
    given = [value for key, value in ip if re.fullmatch(r"address(?:es)?[0-9]*", key)]
    parts = [part for value in given for part in re.split(r"[;,\s]", value)]
    addresses = [part for part in parts if "/" in part]
    gateways = [part for part in parts if part and "/" not in part] + _values(ip, "gateway")
    named = _first(_values(connection, "interface-name"))
    port_of = _first(_values(connection, "controller", "master"))
    parent = _values(sections.get("vlan", []), "parent")
    kinds: dict[str, Kind] = {
        "ethernet": "ethernet",
        "802-3-ethernet": "ethernet",
        "bond": "bond",
        "bridge": "bridge",
        "vlan": "vlan",
    }
    kind = kinds.get(_first(_values(connection, "type")), "other")
    if port_of and named and kind == "ethernet":
        yield from _made(file, port_of, kind="other", members=_members([named]))
    yield from _made(
        file,
        named or _first(_values(connection, "id")),
        kind=kind,
        by_name=bool(named),
        members=_members(parent),
        mac=_mac(_first(_values(wired, "mac-address"))),
        addresses=_addresses(addresses),
        gateways=_addresses(gateways),
        dhcp="auto" in _values(sections.get("ipv4", []), "method"),
    )


def _networkd(file: NetworkFile) -> Iterator[NetworkAddress]:
    """systemd.network(5)."""
    if not file.file.endswith(".network"):
        return
    sections = list(_sections(file.text))

    def values(title: str, *keys: str) -> list[str]:
        return [value for name, rows in sections if name == title for value in _values(rows, *keys)]

    name = _first(values("Match", "Name"))
    above = values("Network", "Bond", "Bridge", "VLAN", "MACVLAN")
    if is_nic_name(name):
        for one in above[:MOST_ADDRESSES]:
            yield from _made(file, one, kind="other", members=(name,))
    yield from _made(
        file,
        name,
        by_name=is_nic_name(name),
        mac=_mac(_first(values("Match", "MACAddress", "PermanentMACAddress"))),
        addresses=_addresses([*values("Network", "Address"), *values("Address", "Address")]),
        gateways=_addresses([*values("Network", "Gateway"), *values("Route", "Gateway")]),
        dhcp=_first(values("Network", "DHCP")).lower() in {"yes", "true", "ipv4", "ipv6"},
    )


def _ifcfg(file: NetworkFile) -> Iterator[NetworkAddress]:
    """The files `ifcfg-NAME` of Red Hat and SUSE: shell variables."""
    rows = [
        (key.strip(), _short(value))
        for key, _, value in (line.partition("=") for line in file.text.splitlines())
    ]
    name = _first(_values(rows, "DEVICE")) or file.file.rpartition("/ifcfg-")[2]
    if name == "lo":
        return

    def numbered(key: str) -> list[tuple[str, str]]:
        return [
            (match[1], value)
            for each, value in rows
            if (match := re.fullmatch(rf"{key}_?(\w*)", each)) and value
        ]

    prefixes = {**dict(numbered("NETMASK")), **dict(numbered("PREFIXLEN")), **dict(numbered("PREFIX"))}
    plain = [
        f"{value}/{prefixes[number]}" if number in prefixes and "/" not in value else value
        for number, value in numbered("IPADDR")
    ]
    bond = _first(_values(rows, "TYPE")).lower() == "bond" or any(key == "BONDING_MASTER" for key, _ in rows)
    bridge = _first(_values(rows, "TYPE")).lower() == "bridge"
    vlan = _first(_values(rows, "VLAN")).lower() == "yes" or any(key == "VLAN_ID" for key, _ in rows)
    kind: Kind = "bond" if bond else "bridge" if bridge else "vlan" if vlan else "ethernet"
    lower = [name.rpartition(".")[0]] if vlan and "." in name else []
    ports = [value for key, value in rows if re.fullmatch(r"BONDING_SLAVE_?\d+|BRIDGE_PORTS", key)]
    ports += _values(rows, "PHYSDEV", "ETHERDEVICE") or lower
    if kind == "ethernet":
        for above in _values(rows, "MASTER", "BRIDGE")[:MOST_ADDRESSES]:
            yield from _made(file, above, kind="other", members=_members([name]))
    yield from _made(
        file,
        name,
        kind=kind,
        members=_members(ports),
        mac=_mac(_first(_values(rows, "HWADDR", "LLADDR"))),
        addresses=_addresses([*plain, *(value for key, value in rows if re.fullmatch(r"IPV6ADDR", key))]),
        gateways=_addresses(_values(rows, "GATEWAY", "IPV6_DEFAULTGW")),
        dhcp=_first(_values(rows, "BOOTPROTO")).lower() in {"dhcp", "dhcp4", "dhcp6"},
    )


def _named_by_rules(files: Iterable[NetworkFile]) -> Iterator[tuple[str, str]]:
    """(name, MAC address) of udev rules and of systemd.link(5)."""
    for file in files:
        if file.stack == "udev":
            for line in file.text.splitlines():
                name = re.search(r'NAME="([^"]{1,64})"', line)
                if name and (mac := _mac(line)):
                    yield name[1], mac
        elif file.stack == "networkd" and file.file.endswith(".link"):
            sections = dict(_sections(file.text))
            mac = _mac(_first(_values(sections.get("Match", []), "MACAddress", "PermanentMACAddress")))
            if mac and (given := _first(_values(sections.get("Link", []), "Name"))):
                yield given, mac


_READERS: Final[dict[str, Callable[[NetworkFile], Iterator[NetworkAddress]]]] = {
    "ifupdown": _ifupdown,
    "netplan": _netplan,
    "networkmanager": _networkmanager,
    "networkd": _networkd,
    "ifcfg": _ifcfg,
    "wicked": _ifcfg,
}
