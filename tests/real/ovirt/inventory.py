"""What an engine stand-in holds at its start, as a test describes it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIB: Final = 1 << 20
BLANK_TEMPLATE: Final = "00000000-0000-0000-0000-000000000000"
"""The ID of the template `Blank` in each engine."""

Json = dict[str, Any]


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Settings(_Described):
    """The engine's own configuration; the defaults are those of engine 4.5, except the delays."""

    tick_seconds: float = 0.25
    """Seconds between two looks at each transfer; a real engine looks each ten seconds at most."""
    initializing_seconds: float = 0.2
    """Seconds of a new transfer in `initializing`; a real host needs some seconds to prepare the image."""
    finalizing_seconds: float = 0.2
    """Seconds from `finalize` or `cancel` to the end of the transfer."""
    inactivity_timeout: int = 60
    """Seconds without a read until a transfer ends, if the client asks for no other number."""
    ticket_seconds: int = 300
    """Seconds until a ticket expires, unless the engine extends it in time."""
    ticket_refresh_seconds: int = 60
    """The engine extends a ticket this many seconds before it expires; negative: it never does."""
    token_seconds: float = 1800
    """Seconds without a call until a token expires."""
    auto_finalize: bool = True
    """Whether the engine finalizes a download that is complete and idle."""
    keep_finished: bool = True
    """Whether finished transfers stay listed; before 4.4.7 the engine removed them at once."""
    host_refuses: bool = False
    """Whether the `transfer_url` of new transfers is an address that refuses connections."""
    proxy: bool = True
    """Whether a proxy daemon runs on the engine; without one `proxy_url` is the same as `transfer_url`."""
    max_connections: int = 8
    """Connections to one ticket, as the daemon announces them in `max_readers`."""


class Cluster(_Described):
    name: str
    id: str = ""
    bios_type: str = "q35_ovmf"
    architecture: str = "x86_64"
    version: str = "4.7"
    extra: Json = {}


class Profile(_Described):
    """A vNIC profile; `extra` has port_mirroring, pass_through, network_filter and the like."""

    name: str
    id: str = ""
    extra: Json = {}


class Network(_Described):
    name: str
    id: str = ""
    vlan: int | None = None
    profiles: list[Profile] = []
    """One with the name of the network, if empty."""
    extra: Json = {}

    @model_validator(mode="after")
    def _default_profile(self) -> Network:
        self.profiles = self.profiles or [Profile(name=self.name)]
        return self


class Domain(_Described):
    """A storage domain with files."""

    name: str
    id: str = ""
    type: Literal["nfs", "posixfs", "localfs", "iscsi", "fcp"] = "nfs"
    extra: Json = {}


class Disk(_Described):
    """A disk and how it is attached. Its format is that of the file."""

    file: Path | None = None
    """A raw or qcow2 file (with its backing files); None only for a direct LUN."""
    id: str = ""
    alias: str = ""
    domain: str = ""
    """The first storage domain, if empty."""
    sparse: bool = True
    status: Literal["ok", "locked", "illegal"] = "ok"
    actual_size: int | None = None
    """Bytes; what the file takes, if absent."""
    storage_type: Literal["image", "lun", "managed_block_storage", "cinder"] = "image"
    shareable: bool = False
    interface: str = "virtio_scsi"
    bootable: bool = False
    active: bool = True
    read_only: bool = False
    logical_name: str = ""
    extra: Json = {}
    """Added to the disk."""
    attachment: Json = {}
    """Added to the attachment."""


class Nic(_Described):
    network: str = ""
    """`NETWORK` or `NETWORK/PROFILE`; empty: a NIC without a profile."""
    name: str = ""
    """nic1, nic2 and so on, if empty."""
    mac: str = ""
    interface: str = "virtio"
    plugged: bool = True
    linked: bool = True
    extra: Json = {}


class Vm(_Described):
    name: str
    id: str = ""
    cluster: str = ""
    """The first cluster, if empty."""
    template: str = "Blank"
    status: str = "up"
    description: str = ""
    sockets: int = 1
    cores: int = 1
    threads: int = 1
    memory_mib: int = 1024
    bios_type: str = "cluster_default"
    os_type: str = "other_linux"
    time_zone: str = "Etc/GMT"
    boot_devices: list[str] = ["hd"]
    tpm: bool = False
    disks: list[Disk] = []
    nics: list[Nic] = []
    snapshots: list[str] = []
    """Descriptions of the snapshots, oldest first; the active one is not named."""
    acpi: bool = True
    """Whether the guest can be shut down; without ACPI and agent the engine stops it at once."""
    shutdown_seconds: float = 1
    ignores_shutdown: bool = False
    """The guest stays up after a shutdown, as one that waits for its user."""
    stop_seconds: float = 0.2
    start_seconds: float = 0.5
    extra: Json = {}
    """Added to the VM, over what the other fields make."""
    all_content: Json = {}
    """What only `all_content=true` shows, such as console, rng_device, soundcard_enabled, payloads."""
    next_run: Json = {}
    """What differs in the configuration of the next start, while the VM runs."""


class Template(_Described):
    name: str
    id: str = ""
    extra: Json = {}


class Inventory(_Described):
    """One data centre with one host, and the account that the tests use."""

    username: str = "admin@internal"
    password: str = "secret"  # noqa: S105 - of a test
    lacks: list[str] = []
    """Permissions that the account lacks: `vm`, `disk`, `run`, `stop` or `shut_down`."""
    version: str = "4.5.6-1.el9"
    settings: Settings = Settings()
    clusters: list[Cluster] = [Cluster(name="Default")]
    networks: list[Network] = [Network(name="ovirtmgmt")]
    storage_domains: list[Domain] = Field(default=[Domain(name="data")], min_length=1)
    templates: list[Template] = []
    vms: list[Vm] = []


def made_id(*parts: str) -> str:
    """The ID of what has none in the inventory, the same for the same names, also after a restart."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("ovirt-stand-in", *parts))))
