"""What the engine stand-in knows: VMs, disks, transfers, events and jobs, with one lock for all of it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tests.real.ovirt import inventory
from tests.real.ovirt.inventory import BLANK_TEMPLATE, Inventory, made_id

Json = dict[str, Any]

HOST_NAME: Final = "host1"


class RefusedError(Exception):
    """The engine refuses a command. `status` is the HTTP status of this kind of refusal in a real engine."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class NoSuchError(LookupError):
    """The engine has nothing at this path."""


@dataclass
class Disk:
    """A disk, attached to one VM or to several."""

    id: str
    alias: str
    described: inventory.Disk
    domain: str
    """ID of its storage domain."""
    status: str
    size: int
    """Virtual size in bytes."""
    actual_size: int
    format: str
    """`raw` or `cow`."""
    image_id: str
    snapshot_id: str
    chain: int
    """The number of files, with the backing files."""


@dataclass
class Vm:
    """A VM; `later` is the status that it gets at `at`, in seconds of the monotonic clock."""

    id: str
    described: inventory.Vm
    cluster: str
    template: str
    status: str
    disks: list[Disk]
    nics: list[Json]
    mac_of_nics: list[str]
    later: list[tuple[float, str]] = field(default_factory=list)
    shutdowns: int = 0
    stops: int = 0
    starts: int = 0
    started: str = ""
    stopped: str = ""


@dataclass
class Transfer:
    """An image transfer as the engine's table has it, with what the host runs for it."""

    id: str
    disk: Disk
    phase: str
    format: str
    backend: str
    """`nbd` (raw format was asked for) or `file`."""
    inactivity_timeout: int
    timeout_policy: str
    size: int
    since: float
    """Seconds of the monotonic clock when the phase began."""
    shallow: bool = False
    ticket: str = ""
    expires: float = 0
    active: bool = False
    was_active: bool = True
    transferred: int = 0
    refuses: bool = False
    """Whether its `transfer_url` refuses connections."""
    phases: list[str] = field(default_factory=list)


class State:
    """The engine's tables."""

    def __init__(self, described: Inventory) -> None:
        self.lock = threading.RLock()
        self.described = described
        self.settings = described.settings
        self.lacks = set(described.lacks)
        self.data_centre = made_id("datacenter")
        self.host = made_id("host")
        self.clusters = {(c.id or made_id("cluster", c.name)): c for c in described.clusters}
        self.networks = {(n.id or made_id("network", n.name)): n for n in described.networks}
        self.profiles = {
            (p.id or made_id("profile", n.name, p.name)): (p, network)
            for network, n in self.networks.items()
            for p in n.profiles
        }
        self.domains = {(d.id or made_id("domain", d.name)): d for d in described.storage_domains}
        blank = inventory.Template(name="Blank", id=BLANK_TEMPLATE)
        templates = [blank, *described.templates]
        self.templates = {(t.id or made_id("template", t.name)): t for t in templates}
        self.disks: dict[str, Disk] = {}
        self.vms: dict[str, Vm] = {}
        self.transfers: dict[str, Transfer] = {}
        self.events: list[Json] = []
        self.jobs: dict[str, Json] = {}
        for vm in described.vms:
            self._add(vm)

    def _add(self, vm: inventory.Vm) -> None:
        cluster = self._named("cluster", self.clusters, vm.cluster)
        known = vm.id or made_id("vm", self.clusters[cluster].name, vm.name)
        disks = [self._disk(known, number, disk) for number, disk in enumerate(vm.disks, 1)]
        nics, macs = [], []
        for number, nic in enumerate(vm.nics, 1):
            name = nic.name or f"nic{number}"
            profile = self._profile(nic.network) if nic.network else ""
            mac = nic.mac or _made_mac(known, name)
            nics.append({"id": made_id("nic", known, name), "name": name, "profile": profile})
            macs.append(mac)
        self.vms[known] = Vm(
            id=known,
            described=vm,
            cluster=cluster,
            template=self._named("template", self.templates, vm.template),
            status=vm.status,
            disks=disks,
            nics=nics,
            mac_of_nics=macs,
            started=now() if vm.status == "up" else "",
        )

    def _disk(self, vm: str, number: int, disk: inventory.Disk) -> Disk:
        known = disk.id or made_id("disk", vm, str(number))
        if known in self.disks:  # attached to a second VM
            return self.disks[known]
        facts: Json = {"virtual-size": 0, "actual-size": 0, "format": "raw"}
        chain = 0
        if disk.file is not None:
            images = _image(str(disk.file))
            facts, chain = images[0], len(images)
        self.disks[known] = Disk(
            id=known,
            alias=disk.alias or f"disk-{number}",
            described=disk,
            domain=self._named("domain", self.domains, disk.domain),
            status=disk.status,
            size=facts["virtual-size"],
            actual_size=facts["actual-size"] if disk.actual_size is None else disk.actual_size,
            format="cow" if facts["format"] == "qcow2" else "raw",
            image_id=made_id("image", known),
            snapshot_id=made_id("snapshot", vm, "active"),
            chain=chain,
        )
        return self.disks[known]

    @staticmethod
    def _named(kind: str, table: dict[str, Any], name: str) -> str:
        if not name:
            return next(iter(table))
        found = [known for known, item in table.items() if item.name == name]
        if not found:
            raise ValueError(f"the inventory has no {kind} {name}")
        return found[0]

    def _profile(self, path: str) -> str:
        network, _, profile = path.partition("/")
        for known, (item, owner) in self.profiles.items():
            if self.networks[owner].name == network and item.name == (profile or network):
                return known
        raise ValueError(f"the inventory has no vNIC profile {path}")

    def tell(self, code: int, text: str, severity: str = "normal", *, vm: str = "", user: str = "") -> None:
        """Add an event; `vm` and `user` are IDs, which a real engine has in the events of commands."""
        number = str(len(self.events) + 1)
        self.events.append(
            {
                "id": number,
                "index": number,
                "code": code,
                "description": text,
                "severity": severity,
                "time": now(),
                **({"vm": {"id": vm}} if vm else {}),
                **({"user": {"id": user}} if user else {}),
            }
        )

    @property
    def account(self) -> str:
        """The ID of the only account."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.described.username))

    def job(self, text: str) -> str:
        """Add a job that ends at once, as those of the commands here do; returns its ID."""
        known, at = str(uuid.uuid4()), now()
        self.jobs[known] = {
            "id": known,
            "description": text,
            "status": "finished",
            "external": False,
            "start_time": at,
            "end_time": at,
            "last_updated": at,
            "auto_cleared": True,
        }
        return known

    def vms_of(self, disk: Disk) -> list[Vm]:
        return [vm for vm in self.vms.values() if disk in vm.disks]


def image_argument(disk: Disk) -> str:
    """The path of a disk's file, for qemu-nbd and the daemon."""
    if disk.described.file is None:
        raise ValueError(f"disk {disk.alias} has no file")
    return str(disk.described.file.absolute())


def _image(file: str) -> list[Json]:
    argv = ["qemu-img", "info", "--output=json", "--backing-chain", "-U", file]
    answer = subprocess.run(argv, check=True, capture_output=True, text=True)
    found: list[Json] = json.loads(answer.stdout)
    return found


def _made_mac(vm: str, nic: str) -> str:
    digits = uuid.uuid5(uuid.NAMESPACE_URL, f"{vm}/{nic}").hex
    return "56:6f:" + ":".join(digits[at : at + 2] for at in range(0, 8, 2))


def now() -> str:
    """The time as the engine writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds() -> float:
    return time.monotonic()
