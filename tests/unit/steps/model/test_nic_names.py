"""Pairing of a guest's names with the NICs of the source, and what is written for it."""

from __future__ import annotations

import pytest

from steps.model.guest import NamedNic, NetworkAddress
from steps.model.guest_facts import NetworkFile
from steps.model.guest_network import connections
from steps.model.machine import Nic
from steps.model.nic_names import Naming, link_path, link_text, paired, udev_rule, windows_rows

FIRST, SECOND, OTHER = "52:54:00:aa:00:01", "52:54:00:aa:00:02", "52:54:00:aa:00:03"


def nic(number: int, mac: str, slot: int | None = None, *addresses: str) -> Nic:
    return Nic(id=f"nic-{number}", mac=mac, slot=slot, addresses=addresses)


def static(name: str, *addresses: str, **fields: object) -> NetworkAddress:
    return NetworkAddress.model_validate(
        {"stack": "ifupdown", "name": name, "addresses": addresses, **fields}
    )


def codes(naming: Naming) -> list[str]:
    return [concern.code for concern in naming.concerns]


@pytest.mark.parametrize(
    ("nics", "how"),
    [
        ([nic(0, FIRST, 192), nic(1, SECOND, 224)], "its slot at the source"),
        ([nic(0, FIRST, None, "192.0.2.10"), nic(1, SECOND)], "its addresses at the source"),
        ([nic(0, FIRST)], "being the only NIC"),
    ],
)
def test_a_name_is_paired_by_slot_by_address_or_as_the_only_one(nics: list[Nic], how: str) -> None:
    found = paired([static("ens192", "192.0.2.10/24")], (), nics, {FIRST, SECOND})
    assert found.pairs == (NamedNic(name="ens192", mac=FIRST),)
    assert found.how == (how,)
    assert found.concerns == ()


def test_two_ways_that_disagree_write_nothing_and_say_so() -> None:
    nics = [nic(0, FIRST, 192), nic(1, SECOND, 224, "192.0.2.10")]
    network = [static("ens192", "192.0.2.10/24"), static("ens224", "198.51.100.4/24")]
    found = paired(network, (), nics, {FIRST, SECOND})
    assert found.pairs == ()
    assert codes(found) == ["guest-names-disagree"]
    assert "ens192 is 52:54:00:aa:00:01 by its slot" in found.concerns[0].message
    assert "nothing was written" in found.concerns[0].message


def test_two_names_of_one_nic_write_nothing() -> None:
    nics = [nic(0, FIRST, 192, "192.0.2.10"), nic(1, SECOND)]
    network = [static("ens192", "198.51.100.4/24"), static("lan0", "192.0.2.10/24")]
    assert codes(paired(network, (), nics, {FIRST, SECOND})) == ["guest-names-disagree"]


@pytest.mark.parametrize(
    "network",
    [
        [static("ens192", "192.0.2.10/24", mac=FIRST)],
        [static("enp*", "192.0.2.10/24", by_name=False)],
        [static("eth0", "192.0.2.10/24")],
        [static("wlan0", "192.0.2.10/24")],
    ],
)
def test_nothing_is_written_where_the_name_does_not_matter(network: list[NetworkAddress]) -> None:
    assert paired(network, (), [nic(0, FIRST, 192)], {FIRST}) == Naming()


def test_a_rule_of_the_guest_itself_stays_the_only_one() -> None:
    named = (NamedNic(name="ens192", mac=FIRST),)
    assert paired([static("ens192", "192.0.2.10/24")], named, [nic(0, FIRST, 192)], {FIRST}) == Naming()


def test_a_nic_that_the_new_vm_lacks_loses_its_addresses_by_name() -> None:
    network = [
        static("ens192"),
        static("bond0", kind="bond", members=["ens192", "ens224"]),
        static("bond0.7", "192.0.2.10/24", "2001:db8::10/64", kind="vlan", members=["bond0"]),
    ]
    found = paired(network, (), [nic(0, FIRST, 192), nic(1, SECOND, 224)], {FIRST})
    assert found.pairs == (NamedNic(name="ens192", mac=FIRST),)
    assert codes(found) == ["guest-mac-changes"]
    assert "ens224 (52:54:00:aa:00:02)" in found.concerns[0].message
    assert "bond0.7 (192.0.2.10/24, 2001:db8::10/64)" in found.concerns[0].message


def test_a_name_without_a_nic_is_named_with_what_depends_on_it() -> None:
    network = [
        static("ens999", "192.0.2.10/24"),
        static("br0", "2001:db8::1/64", kind="bridge", members=["ens999"]),
    ]
    found = paired(network, (), [nic(0, FIRST, 192), nic(1, SECOND, 224)], {FIRST, SECOND})
    assert codes(found) == ["guest-name-unknown"]
    assert "ens999 (192.0.2.10/24), br0 (2001:db8::1/64)" in found.concerns[0].message


IFUPDOWN = """\
iface bond0 inet static
 address 192.0.2.10/24
 bond-slaves ens192 ens224
iface bond0.7 inet static
 address 198.51.100.9/24
"""
NETPLAN = """\
network:
  ethernets: {ens192: {}, ens224: {}}
  bonds: {bond0: {interfaces: [ens192, ens224]}}
  vlans: {v7: {id: 7, link: bond0, addresses: [192.0.2.10/24, "2001:db8::10/64"]}}
"""
NETWORKD = "[Match]\nName={}\n[Network]\nBond=bond0\n"
KEYFILE = "[connection]\nid=p\ntype=ethernet\ninterface-name={}\nmaster=bond0\nslave-type=bond\n"
IFCFG = "DEVICE={}\nMASTER=bond0\nSLAVE=yes\nBOOTPROTO=none\n"


@pytest.mark.parametrize(
    "files",
    [
        [("ifupdown", "/etc/network/interfaces", IFUPDOWN)],
        [("netplan", "/etc/netplan/a.yaml", NETPLAN)],
        *(
            [(stack, f"/etc/{name}{end}", text.format(name)) for name in ("ens192", "ens224")]
            for stack, text, end in (
                ("networkd", NETWORKD, ".network"),
                ("networkmanager", KEYFILE, ""),
                ("ifcfg", IFCFG, ""),
            )
        ),
    ],
)
def test_the_ports_of_a_bond_keep_their_names_in_every_notation(files: list[tuple[str, str, str]]) -> None:
    network = connections(NetworkFile(stack=stack, file=file, text=text) for stack, file, text in files)
    found = paired(network, (), [nic(0, FIRST, 192), nic(1, SECOND, 224)], {FIRST, SECOND})
    assert found.pairs == (NamedNic(name="ens192", mac=FIRST), NamedNic(name="ens224", mac=SECOND))
    assert found.concerns == ()


def test_what_is_written() -> None:
    pair = NamedNic(name="ens192", mac=FIRST)
    assert link_path("ens192") == "/etc/systemd/network/10-vmferry-ens192.link"
    assert link_text(pair).endswith(f"[Match]\nMACAddress={FIRST}\nType=ether\n\n[Link]\nName=ens192\n")
    assert udev_rule(pair) == (
        f'SUBSYSTEM=="net", ACTION=="add", ATTR{{address}}=="{FIRST}", ATTR{{type}}=="1", NAME="ens192"'
    )


def test_a_hostile_name_is_never_written() -> None:
    network = [
        static(name, "192.0.2.10/24") for name in ("a/../b", "a\nb", "a b", "x" * 16, ".", "", 'a"b', "-a")
    ]
    assert paired(network, (), [nic(0, FIRST, 192)], {FIRST}) == Naming()


def test_windows_gets_one_ipv4_address_for_each_nic_and_the_rest_is_named() -> None:
    network = [
        static(
            "{GUID-1}",
            "192.0.2.20/24",
            "192.0.2.21/24",
            "2001:db8::20/64",
            stack="windows",
            gateways=["192.0.2.1"],
            nameservers=["192.0.2.2", "192.0.2.3"],
        ),
        static("{GUID-2}", "198.51.100.5/25", stack="windows"),
        static("{GUID-3}", "203.0.113.9/24", stack="windows"),
    ]
    nics = [nic(0, FIRST, None, "192.0.2.20"), nic(1, SECOND, None, "198.51.100.5"), nic(2, OTHER)]
    found = windows_rows(network, nics, {FIRST, SECOND, OTHER})
    assert found.rows == (
        f"{FIRST}:ip:192.0.2.20,192.0.2.1,24,192.0.2.2,192.0.2.3",
        f"{SECOND}:ip:198.51.100.5,,25",
    )
    assert [concern.code for concern in found.concerns] == ["guest-addresses-lost", "guest-addresses-kept"]
    assert "192.0.2.21/24, 2001:db8::20/64, 203.0.113.9/24" in found.concerns[0].message
