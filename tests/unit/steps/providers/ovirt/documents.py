"""Documents of an engine, as its JSON has them."""

from __future__ import annotations

from typing import Any, Final

from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.find import Surroundings

Json = dict[str, Any]

VM: Final = "11111111-1111-1111-1111-111111111111"
CLUSTER: Final = "22222222-2222-2222-2222-222222222222"
HOST: Final = "33333333-3333-3333-3333-333333333333"
DISKS: Final = ("aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaaa-0000-0000-0000-000000000002")
SIZE: Final = 8 << 20


def text(value: Any) -> Any:
    """The document as the engine sends it: all scalars are texts, empty lists are absent."""
    if isinstance(value, dict):
        return {key: text(item) for key, item in value.items() if item is not None and item != []}
    if isinstance(value, list):
        return [text(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def attachment(number: int = 0, *, disk: Json | None = None, **more: Any) -> Json:
    """A disk attachment; `disk` is laid over its disk."""
    return {
        "id": DISKS[number],
        "active": True,
        "bootable": number == 0,
        "interface": "virtio_scsi",
        "disk": {
            "id": DISKS[number],
            "alias": ("system", "data")[number],
            "provisioned_size": SIZE,
            "actual_size": SIZE // 2,
            "image_id": f"image-{number}",
            "status": "ok",
            "storage_type": "image",
            "storage_domains": {"storage_domain": [{"id": "domain-1"}]},
            **(disk or {}),
        },
        **more,
    }


def nic(name: str = "nic1", **more: Any) -> Json:
    """A NIC."""
    return {
        "id": f"id-of-{name}",
        "name": name,
        "interface": "virtio",
        "linked": True,
        "plugged": True,
        "mac": {"address": "56:6F:00:00:00:01"},
        "vnic_profile": {"id": "profile-1"},
        **more,
    }


def vm(**more: Any) -> Json:
    """A VM with two disks and one NIC."""
    return {
        "id": VM,
        "name": "web",
        "status": "up",
        "description": "The shop's front end",
        "memory": 2 << 30,
        "cpu": {"architecture": "x86_64", "topology": {"sockets": 2, "cores": 3, "threads": 1}},
        "bios": {"type": "q35_ovmf"},
        "os": {"type": "rhel_9x64", "boot": {"devices": {"device": ["hd"]}}},
        "time_zone": {"name": "Etc/GMT"},
        "origin": "ovirt",
        "cluster": {"id": CLUSTER},
        "template": {"id": "00000000-0000-0000-0000-000000000000"},
        "serial_number": {"policy": "vm"},
        "disk_attachments": {"disk_attachment": [attachment(1), attachment(0)]},
        "nics": {"nic": [nic()]},
        **more,
    }


def answer(document: Json) -> Answer:
    """The document as a provider reads it."""
    return Answer(text(document))


def surroundings(**of_cluster: Any) -> Surroundings:
    """One cluster, network, profile and domain."""
    cluster = answer({"id": CLUSTER, "name": "Default", "bios_type": "q35_sea_bios", **of_cluster})
    return Surroundings(
        clusters={CLUSTER: cluster},
        profiles={"profile-1": answer({"id": "profile-1", "name": "fast", "network": {"id": "net-1"}})},
        networks={"net-1": answer({"id": "net-1", "name": "red"})},
        domains={"domain-1": answer({"id": "domain-1", "name": "data"})},
    )
