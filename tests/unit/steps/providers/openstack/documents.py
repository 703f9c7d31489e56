"""The services' answers about one server, as openstacksdk reads them; each test sets only the fields it
tests.

The bodies are those of Nova 34, Cinder 29, Glance 33 and Neutron 29 (compute microversion 2.100), shortened.
"""

from __future__ import annotations

from typing import Any, Final

from openstack.block_storage.v3.volume import Volume
from openstack.compute.v2.server import Server
from openstack.network.v2.port import Port

from steps.providers.openstack.facts import ServerFacts

SERVER: Final = "5f0c41d8-29f0-4d8e-8f60-6a6f1f7c2b10"
NET_A: Final = "0a000000-0000-4000-8000-000000000001"
NET_B: Final = "0b000000-0000-4000-8000-000000000002"


def a_flavor(**more: Any) -> dict[str, Any]:
    return {
        "original_name": "m1.small",
        "vcpus": 2,
        "ram": 2048,
        "disk": 0,
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "swap": 0,
        "extra_specs": {},
        **more,
    }


def a_server(*, volumes: int = 1, **more: Any) -> Server:
    given: dict[str, Any] = {
        "id": SERVER,
        "name": "web01",
        "status": "ACTIVE",
        "OS-EXT-STS:task_state": None,
        "description": "the shop's front",
        "flavor": a_flavor(),
        "image": "",
        "metadata": {},
        "addresses": {},
        "os-extended-volumes:volumes_attached": [{"id": f"vol-{n}"} for n in range(volumes)],
        "config_drive": "",
        "locked": False,
    }
    return Server.existing(**{**given, **more})


def a_volume(number: int = 0, **more: Any) -> Volume:
    device = f"/dev/vd{chr(ord('a') + number)}"
    given: dict[str, Any] = {
        "id": f"vol-{number}",
        "name": f"data-{number}",
        "size": 1 + number,
        "status": "in-use",
        "volume_type": "ssd",
        "bootable": "true" if number == 0 else "false",
        "encrypted": False,
        "multiattach": False,
        "attachments": [{"server_id": SERVER, "device": device}],
        "volume_image_metadata": {},
    }
    return Volume.existing(**{**given, **more})


def a_port(number: int = 0, **more: Any) -> Port:
    given: dict[str, Any] = {
        "id": f"port-{number}",
        "mac_address": f"fa:16:3e:00:00:{number:02x}",
        "network_id": NET_A,
        "created_at": f"2026-11-21T10:00:0{number}Z",
        "binding:vnic_type": "normal",
        "admin_state_up": True,
        "fixed_ips": [{"ip_address": f"10.0.0.{number + 4}"}],
    }
    return Port.existing(**{**given, **more})


def some_facts(**more: Any) -> ServerFacts:
    server = more.pop("server", None) or a_server()
    given: dict[str, Any] = {
        "server": server,
        "flavor": server.flavor,
        "volumes": (a_volume(),),
        "ports": (a_port(),),
        "networks": {NET_A: "front", NET_B: "back"},
        "generation": "req-1",
    }
    return ServerFacts(**{**given, **more})


def addressed(*networks: tuple[str, list[Port]]) -> dict[str, Any]:
    """`addresses` of a server: a list of addresses for each network's name, two for each port."""
    return {
        name: [
            {"addr": address, "version": version, "OS-EXT-IPS-MAC:mac_addr": port.mac_address}
            for port in ports
            for address, version in (("10.0.0.9", 4), ("fd00::9", 6))
        ]
        for name, ports in networks
    }
