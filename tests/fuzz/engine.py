"""Fuzzes the description of a VM by an oVirt engine, and the map of a disk's data by ovirt-imageio."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from steps.model.concerns import about, bounded, with_short_notes
from steps.model.machine import Machine
from steps.providers.ovirt import concerns, describe, export
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.find import Surroundings
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.envelope import NAMES, NUMBERS
from tests.unit.steps.providers.ovirt.documents import CLUSTER, SIZE, Json, nic, text, vm

_WORDS: Final = (
    *(
        "up",
        "down",
        "true",
        "false",
        "virtio",
        "pci_passthrough",
        "q35_ovmf",
        "cluster_default",
        "hd",
        "network",
    ),
    *("W. Europe Standard Time", "+25:99", "-05:30", "vm", "custom", "regular", "preview", "lun", "locked"),
    *("windows_2022", "rhel_9x64", "x" * 5000, "\u202e", "\ud800", "profile-1", "domain-1"),
)
_SHAPES: Final[tuple[Any, ...]] = ([], {}, None, True, 5, 1.5, [[]], [None], {"id": "x"}, [{"id": "x"}])
_VM: Final[Json] = {
    "has_illegal_images": True,
    "origin": "managed_hosted_engine",
    "next_run_configuration_exists": True,
    "stateless": True,
    "vm_pool": {"id": "pool"},
    "template": {"id": "template"},
    "custom_cpu_model": "Haswell",
    "custom_emulated_machine": "pc-q35",
    "tpm_enabled": True,
    "serial_number": {"policy": "host"},
    "time_zone": {"name": "Nowhere"},
    "high_availability": {"enabled": True, "priority": 5},
    "soundcard_enabled": True,
    "usb": {"enabled": True},
    "placement_policy": {"affinity": "pinned"},
    "initialization": {"host_name": "web"},
    "payloads": {"payload": [{"type": "cdrom"}]},
    "start_paused": True,
    "delete_protected": True,
    "io": {"threads": 2},
    "numa_tune_mode": "strict",
    "quota": {"id": "quota"},
    "rng_device": {"source": "hwrng"},
    "lease": {"storage_domain": {"id": "domain-1"}},
    "host_devices": {"host_device": [{"name": "pci_0"}]},
    "watchdogs": {"watchdog": [{"model": "i6300esb"}]},
    "cdroms": {"cdrom": [{"file": {"id": "disc.iso"}}]},
    "snapshots": {"snapshot": [{"snapshot_type": "preview"}]},
}
"""Settings that a VM may have, each with a concern of its own."""
_ATTACHMENT: Final[Json] = {
    "active": False,
    "read_only": True,
    "pass_discard": True,
    "uses_scsi_reservation": True,
    "interface": "tape",
}
_DISK: Final[Json] = {
    "shareable": True,
    "status": "illegal",
    "storage_type": "lun",
    "backup": "incremental",
    "wipe_after_delete": True,
    "propagate_errors": True,
    "sgio": "unfiltered",
}
_NIC: Final[Json] = {"plugged": False, "interface": "rtl8139_virtio", "vnic_profile": {}}
_PROFILE: Final[Json] = {
    "port_mirroring": True,
    "custom_properties": {"custom_property": [{"name": "a"}]},
    "network_filter": {"id": "filter"},
    "qos": {"id": "qos"},
}


class Engine:
    """Answers with any mistake."""

    name = "engine"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        kind = rng.choice(("vm", "vm", "vm", "map"))
        document = _document(rng) if kind == "vm" else {"map": _map(rng)}
        changes = rng.choice((0, 1, 1, 2, 4, 8))
        for _ in range(changes):
            change(rng, document)
        data = json.dumps(document).encode()
        if spoilt := rng.random() < 0.1:
            buffer = bytearray(data)
            mutate.any_bytes(rng, buffer)
            data = bytes(buffer)
        return Case(self.name, data, {"kind": kind, "valid": not changes and not spoilt})

    def run(self, case: Case, folder: Path) -> str:
        del folder
        answer = Answer.parse(case.data)
        if case.options["kind"] == "map":
            data = export.data_map(json.dumps(answer.child("map").value).encode(), SIZE, "cannot export")
            _check_map(data)
            return "a map"
        around = _surroundings(answer)
        found = answer.child("vm")
        machine = describe.machine(found, around, concerns.concerns(found, around))
        machine = with_short_notes(machine.model_copy(update={"concerns": bounded(machine.concerns)}))
        about(machine)
        if Machine.model_validate_json(machine.to_json()) != machine:
            raise Wrong("the document differs after it was stored")
        return "a VM"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        del case, folder, outcome
        return ""


def _some(rng: random.Random, settings: Json) -> Json:
    """A few of the settings."""
    return {name: copy.deepcopy(value) for name, value in settings.items() if rng.random() < 0.15}


def _document(rng: random.Random) -> Json:
    more: Json = {
        "snapshots": {"snapshot": [{"snapshot_type": "regular"}]},
        "guest_operating_system": {"distribution": "Debian GNU/Linux", "version": {"full_version": "12"}},
        "custom_properties": {"custom_property": [{"name": "a", "value": "b"}]},
        "nics": {"nic": [nic("nic10") | _some(rng, _NIC), nic("nic2", interface="e1000e")]},
        **_some(rng, _VM),
    }
    described = vm(**more)
    for attachment in described["disk_attachments"]["disk_attachment"]:
        attachment.update(_some(rng, _ATTACHMENT))
        attachment["disk"].update(_some(rng, _DISK))
    if rng.random() < 0.2:
        described |= {"bios": {"type": "i440fx_sea_bios", "boot_menu": {"enabled": True}}}
    if rng.random() < 0.2:
        described["os"] = {**described.get("os", {}), "kernel": "/boot/vmlinuz"}
    found: Json = text(
        {
            "vm": described,
            "cluster": {"id": CLUSTER, "name": "Default", "bios_type": "q35_ovmf"},
            "profile": {"id": "profile-1", "name": "fast", "network": {"id": "net-1"}} | _some(rng, _PROFILE),
            "network": {"id": "net-1", "name": "red"},
            "domain": {"id": "domain-1", "name": "data"},
        }
    )
    return found


def _surroundings(answer: Answer) -> Surroundings:
    return Surroundings(
        clusters={CLUSTER: answer.child("cluster")},
        profiles={"profile-1": answer.child("profile")},
        networks={"net-1": answer.child("network")},
        domains={"domain-1": answer.child("domain")},
    )


def _map(rng: random.Random) -> list[Json]:
    cuts = sorted({0, SIZE, *(rng.randrange(1, SIZE // 512) * 512 for _ in range(rng.randrange(6)))})
    return [
        {"start": start, "length": end - start, "zero": rng.random() < 0.5, "hole": False}
        for start, end in pairwise(cuts)
    ]


def _check_map(data: tuple[tuple[int, int], ...]) -> None:
    position = 0
    for start, end in data:
        if not position <= start < end <= SIZE:
            raise Wrong(f"the range {start}-{end} follows {position}")
        position = end


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def change(rng: random.Random, document: Json) -> None:
    """Replace, remove or repeat one part."""
    places = list(_places(document))
    if not places:
        return
    container, key = rng.choice(places)
    action = rng.random()
    if action < 0.15:
        del container[key]
    elif action < 0.3 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif action < 0.5:
        container[key] = copy.deepcopy(rng.choice(_SHAPES))
    else:
        container[key] = rng.choice(rng.choice((NUMBERS, NAMES, _WORDS)))
