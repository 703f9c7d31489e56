"""Static addresses in the files of a guest, as the tools of distributions write them, and hostile files."""

from __future__ import annotations

from typing import Final

import pytest

from steps.model.guest import NetworkAddress
from steps.model.guest_facts import NetworkFile, WindowsInterface
from steps.model.guest_network import connections, of_windows

MAC = "52:54:00:aa:00:01"


def read(*files: tuple[str, str, str]) -> list[NetworkAddress]:
    return list(connections(NetworkFile(stack=stack, file=file, text=text) for stack, file, text in files))


IFUPDOWN = """
auto lo
iface lo inet loopback
# iface old0 inet static
auto ens192
iface ens192 inet static
    address 192.0.2.10
    netmask 255.255.255.0
    gateway 192.0.2.1
iface ens192 inet6 static
    address 2001:db8::10/64
iface bond0 inet static
    address 198.51.100.2/24
    bond-slaves ens224 ens256
iface ens192.10 inet dhcp
"""
NETPLAN = """
network:
  version: 2
  ethernets:
    lan:
      match: {macaddress: "52:54:00:AA:00:01"}
      set-name: ens192
      addresses: [192.0.2.10/24, "2001:db8::10/64"]
      routes: [{to: default, via: 192.0.2.1}]
    ens224: {dhcp4: true}
  vlans:
    vlan10: {id: 10, link: ens192, addresses: [{198.51.100.9/24: {lifetime: 0}}]}
"""
KEYFILE = """
[connection]
id=System ens192
type=ethernet
interface-name=ens192

[ethernet]
mac-address=52:54:00:AA:00:01

[ipv4]
method=manual
address1=192.0.2.10/24,192.0.2.1
address2=192.0.2.11/24

[ipv6]
method=auto
"""
NETWORKD = """
[Match]
Name=ens192

[Network]
Address=192.0.2.10/24
Address=2001:db8::10/64
Gateway=192.0.2.1
"""
IFCFG = """
DEVICE="ens192"
HWADDR=52:54:00:AA:00:01
BOOTPROTO=none
IPADDR=192.0.2.10
PREFIX=24
IPADDR1=192.0.2.11
NETMASK1=255.255.255.0
GATEWAY=192.0.2.1
IPV6ADDR=2001:db8::10/64
"""
WICKED = "BOOTPROTO='static'\nIPADDR='192.0.2.10/24'\nIPADDR_1='192.0.2.12/24'\n"


def row(one: NetworkAddress) -> tuple[str, str, str, tuple[str, ...], tuple[str, ...], bool]:
    return one.name, one.kind, one.mac, one.addresses, one.gateways, one.dhcp


def test_ifupdown() -> None:
    found = read(("ifupdown", "/etc/network/interfaces", IFUPDOWN))
    assert [row(one) for one in found] == [
        ("ens192", "ethernet", "", ("192.0.2.10/24",), ("192.0.2.1",), False),
        ("ens192", "ethernet", "", ("2001:db8::10/64",), (), False),
        ("bond0", "bond", "", ("198.51.100.2/24",), (), False),
        ("ens192.10", "vlan", "", (), (), True),
    ]


def test_netplan() -> None:
    found = read(("netplan", "/etc/netplan/50-cloud-init.yaml", NETPLAN))
    assert [row(one) for one in found] == [
        ("ens192", "ethernet", MAC, ("192.0.2.10/24", "2001:db8::10/64"), ("192.0.2.1",), False),
        ("ens224", "ethernet", "", (), (), True),
        ("vlan10", "vlan", "", ("198.51.100.9/24",), (), False),
    ]


def test_networkmanager() -> None:
    found = read(("networkmanager", "/etc/NetworkManager/system-connections/a.nmconnection", KEYFILE))
    assert [row(one) for one in found] == [
        ("ens192", "ethernet", MAC, ("192.0.2.10/24", "192.0.2.11/24"), ("192.0.2.1",), False)
    ]


def test_networkd() -> None:
    found = read(("networkd", "/etc/systemd/network/10-lan.network", NETWORKD))
    assert [row(one) for one in found] == [
        ("ens192", "ethernet", "", ("192.0.2.10/24", "2001:db8::10/64"), ("192.0.2.1",), False)
    ]


def test_ifcfg_of_red_hat() -> None:
    found = read(("ifcfg", "/etc/sysconfig/network-scripts/ifcfg-ens192", IFCFG))
    assert [row(one) for one in found] == [
        (
            "ens192",
            "ethernet",
            MAC,
            ("192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64"),
            ("192.0.2.1",),
            False,
        )
    ]


def test_ifcfg_of_suse_is_named_after_its_file() -> None:
    found = read(("wicked", "/etc/sysconfig/network/ifcfg-eth0", WICKED))
    assert [row(one) for one in found] == [
        ("eth0", "ethernet", "", ("192.0.2.10/24", "192.0.2.12/24"), (), False)
    ]


@pytest.mark.parametrize(
    ("stack", "file", "text"),
    [
        ("udev", "/etc/udev/rules.d/70-persistent-net.rules", f'ATTR{{address}}=="{MAC}", NAME="ens192"'),
        ("networkd", "/etc/systemd/network/10-a.link", f"[Match]\nMACAddress={MAC}\n[Link]\nName=ens192\n"),
    ],
)
def test_a_rule_that_names_a_nic_gives_it_its_mac(stack: str, file: str, text: str) -> None:
    found = read(("networkd", "/etc/systemd/network/10-lan.network", NETWORKD), (stack, file, text))
    assert [one.mac for one in found] == [MAC]


def test_windows_has_masks_next_to_its_addresses() -> None:
    static = WindowsInterface(
        name="{GUID}", addresses=("192.0.2.10",), masks=("255.255.255.0",), gateways=("192.0.2.1",)
    )
    by_dhcp = WindowsInterface(name="{OTHER}", dhcp=True, addresses=("192.0.2.11",), masks=("255.255.255.0",))
    assert [row(one) for one in of_windows([static, by_dhcp])] == [
        ("{GUID}", "ethernet", "", ("192.0.2.10/24",), ("192.0.2.1",), False)
    ]


BOMB = "network:\n  a: &a {x: 1}\n" + "".join(
    f"  b{n}: &b{n} {{<<: [*{'a' if not n else f'b{n - 1}'}, *{'a' if not n else f'b{n - 1}'}]}}\n"
    for n in range(40)
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("stack", "text"),
    [
        ("netplan", BOMB),
        ("netplan", "network: " + "[" * 30_000),
        ("netplan", "network: " + "{a: " * 30_000),
        ("netplan", "a: &a\n  b: *a\nnetwork: *a\n"),
        ("netplan", "network: {ethernets: {a: {addresses: 5, match: [], routes: [1]}}}"),
        ("netplan", "- network"),
        ("netplan", "network: {ethernets: {0x" + "f" * 9000 + ": {set-name: 0x" + "f" * 9000 + "}}}"),
        ("netplan", "a: 0001-01-01T00:00:00+23:59\nb: !!timestamp 0001-01-01T00:00:00+23:59\n"),
        ("netplan", "\0\x01"),
        ("networkmanager", "=\n[\n]\n[ipv4]\naddress1=;;,\n"),
        ("networkd", "[Network]\nAddress=not an address\n"),
        ("ifupdown", "iface\niface a\niface x inet static\naddress\naddress ../../etc/passwd\n"),
        ("ifcfg", "IPADDR=999.1.1.1\nPREFIX=abc\n=\n"),
        ("unheard-of", "address 192.0.2.1"),
    ],
)
def test_a_hostile_or_broken_file_yields_nothing(stack: str, text: str) -> None:
    assert read((stack, "/etc/file.network", text)) == []


ALIASES: Final = "a0: &a0 x\n" + "".join(f"a{n}: &a{n}\n- *a{n - 1}\n- *a{n - 1}\n" for n in range(1, 80))
"""Small in memory, and longer than any text if somebody writes it out."""


@pytest.mark.timeout(30)
def test_a_value_that_grows_without_a_bound_is_not_written_out() -> None:
    nic = "{dhcp4: true, set-name: *a79, match: {macaddress: *a79}, addresses: [*a79], gateway4: *a79}"
    (one,) = read(("netplan", "/etc/netplan/a.yaml", f"{ALIASES}network: {{ethernets: {{e: {nic}}}}}"))
    assert row(one) == ("e", "ethernet", "", (), (), True)


@pytest.mark.timeout(60)
def test_only_so_much_yaml_is_read() -> None:
    text = NETPLAN + "#" * (60 << 10)
    found = read(*((("netplan", f"/etc/netplan/{number}.yaml", text)) for number in range(64)))
    assert 0 < len(found) <= 4 * 3
    assert len(read(("netplan", "/a.yaml", "#" * (256 << 10)), ("ifupdown", "/b", IFUPDOWN))) == 4


def test_names_and_addresses_are_safe_for_a_terminal() -> None:
    text = "iface e\x1b[2J inet6 static\naddress fe80::1%\x1b]0;x\x07/64\naddress fe80::2%e/64\n"
    (one,) = read(("ifupdown", "/etc/network/interfaces", text))
    assert (one.name, one.addresses) == ("e[2J", ("fe80::2%e/64",))


def test_endless_lists_are_cut() -> None:
    many = "".join(f"iface e{number} inet static\naddress 192.0.2.1/24\n" for number in range(1000))
    assert len(read(("ifupdown", "/etc/network/interfaces", many))) == 64
    addresses = "".join(f"Address=192.0.2.{number}/24\n" for number in range(1, 200))
    (one,) = read(("networkd", "/etc/a.network", f"[Match]\nName=a\n[Network]\n{addresses}"))
    assert len(one.addresses) == 32


def test_a_long_name_is_cut() -> None:
    (one,) = read(("ifupdown", "/etc/network/interfaces", f"iface {'e' * 5000} inet dhcp\n"))
    assert len(one.name) == 128
