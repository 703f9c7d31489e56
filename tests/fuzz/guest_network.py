"""Fuzzes the files of a guest's network configuration."""

from __future__ import annotations

import ipaddress
import json
import random
from pathlib import Path
from typing import Final

from steps.model.guest import NetworkAddress
from steps.model.guest_facts import NetworkFile, WindowsInterface
from steps.model.guest_network import LONGEST, MOST_ADDRESSES, MOST_CONNECTIONS, connections, of_windows
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.unit.steps.model.test_guest_network import IFCFG, IFUPDOWN, KEYFILE, MAC, NETPLAN, NETWORKD, WICKED

FILES: Final[tuple[tuple[str, str, str], ...]] = (
    ("ifupdown", "/etc/network/interfaces", IFUPDOWN),
    ("netplan", "/etc/netplan/50-cloud-init.yaml", NETPLAN),
    ("networkmanager", "/etc/NetworkManager/system-connections/a.nmconnection", KEYFILE),
    ("networkd", "/etc/systemd/network/10-lan.network", NETWORKD),
    ("networkd", "/etc/systemd/network/10-a.link", f"[Match]\nMACAddress={MAC}\n[Link]\nName=ens192\n"),
    ("networkd", "/etc/systemd/network/10-a.netdev", "[NetDev]\nName=bond0\n"),
    ("ifcfg", "/etc/sysconfig/network-scripts/ifcfg-ens192", IFCFG),
    ("ifcfg", "/etc/sysconfig/network-scripts/ifcfg-lo", "DEVICE=lo\nIPADDR=127.0.0.1\n"),
    ("wicked", "/etc/sysconfig/network/ifcfg-eth0", WICKED),
    ("udev", "/etc/udev/rules.d/70-persistent-net.rules", f'ATTR{{address}}=="{MAC}", NAME="ens192"'),
    ("unheard-of", "/etc/what", "address 192.0.2.1"),
)
_LINES: Final = (
    *("iface lo inet loopback", "iface a inet static", "  bridge_ports none", "iface x.5 inet dhcp", "iface"),
    *(
        "address 192.0.2.1",
        "address fe80::1%\x1b[2J/64",
        "netmask 24",
        "netmask 999.0",
        "gateway ::",
        "address",
    ),
    *("[Network]", "[Match]", "[", "]", "[ipv4]", "[connection]", "type=bond", "method=auto", "DHCP=yes"),
    *(
        "address1=192.0.2.1/24,192.0.2.254",
        "addresses=::1/128;",
        "MACAddress=zz",
        "Name=\x1b[2J",
        "Name=" + "x" * 999,
    ),
    *(
        "IPADDR=0.0.0.0",
        "IPADDR0=192.0.2.2",
        "PREFIX0=99",
        "BONDING_MASTER=yes",
        "TYPE=Bridge",
        "VLAN=yes",
        "=",
        "#",
    ),
    *(
        "IPADDR_a=192.0.2.3",
        "NETMASK_a=255.255.0.0",
        "TYPE=Bond",
        'NAME="evil"',
        "DEVICE=lo",
        "BOOTPROTO=dhcp4",
    ),
)
_YAML: Final = (
    *("network: *a", "  ethernets: [1, 2]", "a: &a [x, x]", "b: &b [*a, *a]", "<<: *a", "      set-name: *b"),
    *(
        "      set-name: 0x" + "f" * 9000,
        "      dhcp4: *b",
        "? [a]\n: b",
        "- " * 3000,
        "!!binary 5",
        "%YAML 1.1",
    ),
    *(
        "a: 0001-01-01 00:00:00+23:59",
        "a: 2001-99-99",
        "  bonds: {b: {addresses: [::1/128]}}",
        "\t",
        "\0",
        "{" * 300,
    ),
    *("  ethernets:\n    *b : {dhcp4: true}", "      match: {macaddress: 5}", "      routes: [1, {via: *b}]"),
    *("      addresses: [{}, [], null, true, 5, *b]", "  wifis:\n    w: {dhcp6: true, gateway4: 192.0.2.1}"),
)
_BOMB: Final = "a0: &a0 x\n" + "".join(f"a{n}: &a{n}\n- *a{n - 1}\n- *a{n - 1}\n" for n in range(1, 60))


class GuestNetwork:
    """Files as tools of distributions write them, with lines of each other and of nobody."""

    name = "guest-network"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        files = [_file(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        if rng.random() < 0.02:
            files *= 40
        windows = [
            {
                "name": rng.choice(("{GUID}", "\x1b")),
                "dhcp": rng.random() < 0.3,
                "addresses": rng.choice(([], ["192.0.2.1"], ["x", "::1"])),
                "masks": rng.choice(([], ["255.0.0.0"], ["999"])),
                "gateways": ["192.0.2.254"],
            }
            for _ in range(rng.randrange(3))
        ]
        return Case(self.name, json.dumps(files).encode(), {"windows": windows})

    def run(self, case: Case, folder: Path) -> str:
        del folder
        found = _found(case)
        if len(found) > 2 * MOST_CONNECTIONS:
            raise Wrong(f"{len(found)} connections")
        for one in found:
            _check(one)
        return f"{min(len(found), 9)} connections"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """Every address is a part of some file: none is made up."""
        del folder, outcome
        text = case.data.decode() + json.dumps(case.options)
        for one in _found(case):
            for address in (*one.addresses, *one.gateways):
                plain = str(ipaddress.ip_interface(address).ip)
                if plain not in text and ":" not in plain:
                    raise Wrong(f"{address} is in no file")
        return "in the files"


def _found(case: Case) -> list[NetworkAddress]:
    files = [NetworkFile.model_validate(one) for one in json.loads(case.data)]
    windows = [WindowsInterface.model_validate(one) for one in case.options["windows"]]
    return [*connections(files), *of_windows(windows)]


def _check(one: NetworkAddress) -> None:
    texts = (one.name, one.mac, *one.addresses, *one.gateways)
    if any(len(text) > LONGEST + 4 or not text.isprintable() for text in texts):
        raise Wrong(f"not a short printable text: {texts}")
    if len(one.addresses) > MOST_ADDRESSES or len(one.gateways) > MOST_ADDRESSES:
        raise Wrong(f"{len(one.addresses)} addresses")
    for address in (*one.addresses, *one.gateways):
        ipaddress.ip_interface(address)


def _file(rng: random.Random) -> dict[str, str]:
    stack, path, text = rng.choice(FILES)
    lines = text.split("\n")
    more = _YAML if stack == "netplan" else _LINES
    for _ in range(rng.choice((0, 1, 1, 3))):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(more if rng.random() < 0.9 else _LINES))
    if rng.random() < 0.2:
        lines.pop(rng.randrange(len(lines)))
    if stack == "netplan" and rng.random() < 0.1:
        lines = [_BOMB, *lines, f"      set-name: *a{rng.randrange(60)}"]
    made = bytearray("\n".join(lines).encode())
    if rng.random() < 0.2:
        mutate.any_bytes(rng, made)
    return {"stack": stack, "file": path, "text": made.decode(errors="replace")[: 200 << 10]}
