"""What the engine stand-in shows of its state: one document for each VM, disk, NIC and so on, with its links.

Links are paths below `/ovirt-engine/api`; `resources.py` makes whole ones of them.
"""

from __future__ import annotations

from typing import Any, Final

from tests.real.ovirt import inventory
from tests.real.ovirt.inventory import MIB
from tests.real.ovirt.state import HOST_NAME, Disk, State, Transfer, Vm

Document = dict[str, Any]

API: Final = "/ovirt-engine/api"

VM_LINKS: Final = (
    "applications",
    "cdroms",
    "diskattachments",
    "graphicsconsoles",
    "hostdevices",
    "nics",
    "numanodes",
    "permissions",
    "reporteddevices",
    "sessions",
    "snapshots",
    "statistics",
    "tags",
    "watchdogs",
)
_VM_ACTIONS: Final = ("shutdown", "start", "stop")
_DYNAMIC: Final = {"down", "suspended", "image_locked"}
"""Statuses in which a VM has no host and no facts from its guest."""


def merged(document: Document, extra: Document) -> Document:
    """The document with `extra` over it; None removes a field."""
    result = dict(document)
    for key, value in extra.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return {key: value for key, value in result.items() if value is not None}


def reference(collection: str, known: str) -> Document:
    return {"id": known, "href": f"{API}/{collection}/{known}"}


def links(path: str, *names: str) -> list[Document]:
    return [{"rel": name, "href": f"{path}/{name}"} for name in names]


def actions(path: str, *names: str) -> Document:
    return {"link": links(path, *names)}


def vm(state: State, machine: Vm, *, all_content: bool = False, next_run: bool = False) -> Document:
    told = machine.described
    path = f"{API}/vms/{machine.id}"
    document: Document = {
        **reference("vms", machine.id),
        "name": told.name,
        "description": told.description,
        "comment": "",
        "status": machine.status,
        "type": "server",
        "origin": "ovirt",
        "memory": told.memory_mib * MIB,
        "memory_policy": {
            "guaranteed": told.memory_mib * MIB,
            "max": 4 * told.memory_mib * MIB,
            "ballooning": True,
        },
        "cpu": {
            "architecture": state.clusters[machine.cluster].architecture,
            "topology": {"sockets": told.sockets, "cores": told.cores, "threads": told.threads},
        },
        "cpu_shares": 0,
        "bios": {"boot_menu": {"enabled": False}, "type": told.bios_type},
        "os": {"type": told.os_type, "boot": {"devices": {"device": told.boot_devices}}},
        "time_zone": {"name": told.time_zone},
        "high_availability": {"enabled": False, "priority": 0},
        "display": {
            "type": "vnc",
            "monitors": 1,
            "allow_override": False,
            "copy_paste_enabled": True,
            "file_transfer_enabled": True,
            "smartcard_enabled": False,
        },
        "usb": {"enabled": False},
        "io": {"threads": 1},
        "migration": {"auto_converge": "inherit", "compressed": "inherit", "encrypted": "inherit"},
        "migration_downtime": -1,
        "placement_policy": {"affinity": "migratable"},
        "multi_queues_enabled": True,
        "virtio_scsi_multi_queues_enabled": False,
        "stateless": False,
        "delete_protected": False,
        "start_paused": False,
        "storage_error_resume_behaviour": "auto_resume",
        "sso": {"methods": {"method": [{"id": "guest_agent"}]}},
        "next_run_configuration_exists": bool(told.next_run) and machine.status not in _DYNAMIC,
        "cluster": reference("clusters", machine.cluster),
        "template": reference("templates", machine.template),
        "original_template": reference("templates", machine.template),
        "creation_time": "2024-01-02T03:04:05.678+00:00",
        "start_time": machine.started or None,
        "stop_time": machine.stopped or None,
        "link": links(path, *VM_LINKS),
        "actions": actions(path, *_VM_ACTIONS),
    }
    if machine.status not in _DYNAMIC:
        document |= {"host": reference("hosts", state.host), "run_once": False}
    document = merged(document, told.extra)
    if machine.status in _DYNAMIC:
        for dynamic in ("fqdn", "guest_operating_system", "guest_time_zone"):
            document.pop(dynamic, None)
    if all_content:
        devices: Document = {
            "console": {"enabled": False},
            "rng_device": {"source": "urandom"},
            "soundcard_enabled": False,
            "tpm_enabled": told.tpm,
            "virtio_scsi": {"enabled": True},
        }
        document = merged(merged(document, devices), told.all_content)
    if told.next_run and (next_run or machine.status in _DYNAMIC):
        document = merged(document, told.next_run)
    return document


def attachment(machine: Vm, item: Disk) -> Document:
    told = item.described
    document: Document = {
        "id": item.id,
        "href": f"{API}/vms/{machine.id}/diskattachments/{item.id}",
        "active": told.active,
        "bootable": told.bootable,
        "interface": told.interface,
        "logical_name": told.logical_name or None,
        "pass_discard": False,
        "read_only": told.read_only,
        "uses_scsi_reservation": False,
        "disk": reference("disks", item.id),
        "vm": reference("vms", machine.id),
    }
    return merged(document, told.attachment)


def disk(state: State, item: Disk) -> Document:
    told = item.described
    path = f"{API}/disks/{item.id}"
    document: Document = {
        **reference("disks", item.id),
        "name": item.alias,
        "alias": item.alias,
        "description": "",
        "content_type": "data",
        "propagate_errors": False,
        "shareable": told.shareable,
        "storage_type": told.storage_type,
        "wipe_after_delete": False,
        "link": links(path, "disksnapshots", "permissions", "statistics"),
        "actions": actions(path, "copy", "export", "move", "reduce", "refreshlun", "sparsify"),
    }
    if told.storage_type == "lun":
        known = f"36001405{item.id.replace('-', '')[:24]}"
        unit = {"id": known, "lun_mapping": 0, "paths": 0, "size": 10 << 30, "status": "used"}
        document["lun_storage"] = {"id": known, "type": "iscsi", "logical_units": {"logical_unit": [unit]}}
        return merged(document, told.extra)
    document |= {
        "image_id": item.image_id,
        "provisioned_size": item.size,
        "actual_size": item.actual_size,
        "total_size": item.actual_size,
        "format": item.format,
        "qcow_version": "qcow2_v3" if item.format == "cow" else None,
        "sparse": told.sparse,
        "status": item.status,
        "backup": "none",
        "snapshot": {"id": item.snapshot_id},
        "storage_domains": {"storage_domain": [reference("storagedomains", item.domain)]},
        "quota": {"id": state.data_centre},
        "disk_profile": {"id": item.domain},
    }
    return merged(document, told.extra)


def nic(machine: Vm, number: int) -> Document:
    told, made = machine.described.nics[number], machine.nics[number]
    path = f"{API}/vms/{machine.id}/nics/{made['id']}"
    document: Document = {
        "id": made["id"],
        "href": path,
        "name": made["name"],
        "interface": told.interface,
        "linked": told.linked,
        "plugged": told.plugged,
        "synced": True,
        "mac": {"address": machine.mac_of_nics[number]},
        "vm": reference("vms", machine.id),
        "vnic_profile": reference("vnicprofiles", made["profile"]) if made["profile"] else None,
        "link": links(path, "networkfilterparameters", "statistics"),
        "actions": actions(path, "activate", "deactivate"),
    }
    return merged(document, told.extra)


def snapshots(machine: Vm) -> list[Document]:
    active = {"description": "Active VM", "snapshot_type": "active"}
    told = [{"description": text, "snapshot_type": "regular"} for text in machine.described.snapshots]
    found = []
    for number, item in enumerate([active, *told]):
        known = (
            machine.disks[0].snapshot_id
            if number == 0 and machine.disks
            else f"{machine.id[:-4]}{number:04x}"
        )
        found.append(
            {
                "id": known,
                "href": f"{API}/vms/{machine.id}/snapshots/{known}",
                **item,
                "date": "2024-01-02T03:04:05.678+00:00",
                "persist_memorystate": False,
                "snapshot_status": "ok",
                "vm": reference("vms", machine.id),
            }
        )
    return found


def transfer(item: Transfer, state: State, urls: tuple[str, str]) -> Document:
    """`urls` are those of the host's daemon and of the proxy, without the ticket."""
    path = f"{API}/imagetransfers/{item.id}"
    return {
        **reference("imagetransfers", item.id),
        "active": item.active,
        "direction": "download",
        "format": item.format,
        "inactivity_timeout": item.inactivity_timeout,
        "phase": item.phase,
        "shallow": item.shallow,
        "timeout_policy": item.timeout_policy,
        "transferred": item.transferred,
        "host": reference("hosts", state.host),
        "image": {"id": item.disk.id},
        "transfer_url": f"{urls[0]}/images/{item.ticket}" if item.ticket else None,
        "proxy_url": f"{urls[1]}/images/{item.ticket}" if item.ticket else None,
        "actions": actions(path, "cancel", "extend", "finalize", "pause", "resume"),
    }


def host(state: State) -> Document:
    first = next(iter(state.clusters))
    document = {**reference("hosts", state.host), "name": HOST_NAME, "status": "up", "type": "ovirt_node"}
    return document | {"cluster": reference("clusters", first)}


def data_centre(known: str) -> Document:
    return {**reference("datacenters", known), "name": "Default", "local": False, "status": "up"}


def cluster(known: str, told: inventory.Cluster, centre: str) -> Document:
    major, _, minor = told.version.partition(".")
    document: Document = {
        **reference("clusters", known),
        "name": told.name,
        "bios_type": told.bios_type,
        "cpu": {"architecture": told.architecture, "type": "Secure Intel Haswell Family"},
        "version": {"major": int(major), "minor": int(minor or 0)},
        "data_center": reference("datacenters", centre),
    }
    return merged(document, told.extra)


def network(known: str, told: inventory.Network, centre: str) -> Document:
    document: Document = {
        **reference("networks", known),
        "name": told.name,
        "mtu": 0,
        "stp": False,
        "port_isolation": False,
        "data_center": reference("datacenters", centre),
        "usages": {"usage": ["vm"]},
        "vlan": {"id": told.vlan} if told.vlan is not None else None,
        "link": links(f"{API}/networks/{known}", "vnicprofiles"),
    }
    return merged(document, told.extra)


def profile(known: str, told: tuple[inventory.Profile, str]) -> Document:
    described, owner = told
    document: Document = {
        **reference("vnicprofiles", known),
        "name": described.name,
        "network": reference("networks", owner),
        "pass_through": {"mode": "disabled"},
        "port_mirroring": False,
    }
    return merged(document, described.extra)


def domain(known: str, told: inventory.Domain, centre: str) -> Document:
    document: Document = {
        **reference("storagedomains", known),
        "name": told.name,
        "type": "data",
        "master": True,
        "available": 1 << 40,
        "used": 1 << 38,
        "external_status": "ok",
        "storage": {"type": told.type, "address": "storage", "path": f"/{told.name}"},
        "data_centers": {"data_center": [reference("datacenters", centre)]},
    }
    return merged(document, told.extra)


def template(known: str, told: inventory.Template) -> Document:
    document: Document = {
        **reference("templates", known),
        "name": told.name,
        "status": "ok",
        "type": "server",
        "link": links(f"{API}/templates/{known}", "diskattachments"),
    }
    return merged(document, told.extra)
