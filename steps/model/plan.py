"""The request: all that a step knows of the user's input, resolved and complete.

`workflows.plan` makes it from the custom resources; steps read it from `/request/plan.json` and never
look at the resources themselves.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from steps.model.bare_disks import DiskFileFormat
from steps.model.document import Document
from steps.model.kinds import API_VERSION
from steps.model.machine import Vlan
from steps.model.quantity import to_bytes
from steps.model.source_mark import SourceMark
from steps.model.sources import SourceKind
from steps.model.vm_settings import VmSettings


class TargetKind(enum.StrEnum):
    """Where VMs are imported to."""

    DIRECTORY = "directory"
    HARVESTER = "harvester"
    KUBEVIRT = "kubevirt"
    """KubeVirt with CDI, without Harvester."""


class ClusterTarget(enum.StrEnum):
    """The targets that are a cluster: one of these is chosen for an import or an installation."""

    HARVESTER = "harvester"
    KUBEVIRT = "kubevirt"


class DiskWay(enum.StrEnum):
    """How a disk gets to its volume."""

    PULL = "pull"
    """The target downloads it from the step `serve`: CDI into a volume, Harvester into an image."""
    LAND = "land"
    """The step `export` writes it directly to the volume."""
    MIXED = "mixed"
    """Of a whole VM on Harvester: each disk has its own way (`steps.model.mapping.disk_way`)."""


class DiskForm(enum.StrEnum):
    """What a disk becomes on Harvester."""

    IMAGE = "image"
    """An image of Harvester, with a volume over it."""
    VOLUME = "volume"
    """A plain volume, on which the disk lands."""


class DiskFormat(enum.StrEnum):
    """The format in which a disk lands and is published."""

    QCOW2 = "qcow2"
    RAW = "raw"


class Bus(enum.StrEnum):
    """KubeVirt's disk buses (kubevirt.io/api core/v1 DiskBus)."""

    VIRTIO = "virtio"
    SCSI = "scsi"
    SATA = "sata"
    USB = "usb"


class InterfaceModel(enum.StrEnum):
    """KubeVirt's interface models (the enum of vm-import-controller's VirtualMachineImport)."""

    E1000 = "e1000"
    E1000E = "e1000e"
    NE2K_PCI = "ne2k_pci"
    PCNET = "pcnet"
    RTL8139 = "rtl8139"
    VIRTIO = "virtio"


class NetworkPolicy(enum.StrEnum):
    """How to treat a mapping whose source network does not exist."""

    LENIENT = "lenient"
    STRICT = "strict"


class NamePolicy(enum.StrEnum):
    """How to treat a VM name that is not a DNS-1123 label."""

    NORMALISE = "normalise"
    STRICT = "strict"


class Spelling(enum.StrEnum):
    """How to replace letters other than a to z in a VM name."""

    DASHES = "dashes"
    """A dash, which hides the original letter: `Größe` becomes `gr-e`."""
    LETTERS = "letters"
    """The letters that people write instead: `Größe` becomes `groesse`."""


class CpuTopology(enum.StrEnum):
    """How the vCPUs of a VM are laid out over sockets."""

    ONE_SOCKET = "oneSocket"
    """One socket with all cores.

    Harvester 1.6.1 to 1.8.2 writes `maxSockets: 1` into every VM (pkg/webhook/resources/virtualmachine/
    mutator.go), and KubeVirt then refuses a VM with more than one socket (vmi-create-admitter.go).
    """
    SOURCE = "source"
    """Sockets and cores as at the source."""


class MacPolicy(enum.StrEnum):
    """Which MAC address a NIC gets at the target."""

    KEEP = "keep"
    """The source's address."""
    NEW = "new"
    """An address that the target chooses."""


class Gate(enum.StrEnum):
    """Actions that can require approval: the stage `approve-<gate>` waits for it."""

    POWEROFF = "poweroff"
    START = "start"


class OnFailure(enum.StrEnum):
    """What happens to a VM that the import shut down when the import fails for good or is cancelled."""

    KEEP_OFF = "keepOff"
    """It stays off, so that a retry resumes with what was copied."""
    RESTORE_POWER = "restorePower"
    """It is started again, which makes everything that was copied stale."""


class Attachment(enum.StrEnum):
    """What a NIC is attached to."""

    NETWORK = "network"
    """A NetworkAttachmentDefinition."""
    POD = "pod"
    """The network of the pods; at most one NIC of a VM."""
    IGNORED = "ignored"
    """Nothing: the NIC is left out."""


class Unmapped(enum.StrEnum):
    """What happens to a NIC for which the network mapping has no row."""

    POD = "pod"
    """The first one goes to the pod network, and further ones are left out."""
    BLOCK = "block"
    """The import is refused."""


class Unplugged(enum.StrEnum):
    """What happens to a NIC that is not plugged in at the source."""

    DISCONNECTED = "disconnected"
    """The VM gets it, and its link is down."""
    LEFT_OUT = "left-out"
    """The VM does not get it."""


class ImportRef(Document):
    """The import that this plan belongs to."""

    api_version: str = API_VERSION
    """Of its dialect (`steps.model.kinds.IMPORTS`)."""
    name: str
    namespace: str = "default"
    uid: str = ""


def _left_out(default: Any) -> Any:
    """A field that is left out of JSON while it has its default.

    So the request of an import that does not use the field is the same in every version.
    """
    return Field(default=default, exclude_if=lambda value: value == default)


class ProxyPlan(Document):
    """The forward proxy for a source. A text without an address means a direct connection."""

    http: str = ""
    https: str = ""
    """For sources with http:// and with https://: http://HOST:PORT."""
    no_proxy: str = ""
    """Hosts, addresses and networks that are reached directly, separated by commas."""


class PodPlan(Document):
    """Where the pods of an import run, as in a pod (k8s.io/api core/v1), and their second network."""

    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = {}
    network: str = ""
    """Value of the annotation k8s.v1.cni.cncf.io/networks: NAMESPACE/NAME of NetworkAttachmentDefinitions."""


class BareDisk(Document):
    """A file with a disk, at an address of its own."""

    url: str
    format: DiskFileFormat
    is_gzip: bool = False
    """Whether its name ends with .gz."""
    capacity: Annotated[int, Field(gt=0)] | None = None
    """Bytes; None: those of the file."""
    checksum: str = ""
    """Of the file as it is: ALGORITHM:HEX, with a name of hashlib."""


class SourcePlan(Document):
    """How to reach the source. Credentials are separate files, never part of this document."""

    kind: SourceKind
    name: str
    namespace: str = "default"
    from_secret: bool = False
    """Whether name and namespace are those of a Secret, because the dialect has no objects for sources."""
    endpoint: str
    datacenter: str = ""
    any_datacenter: bool = False
    """Whether the VM may be in any datacenter if none is named; else it must be the only one."""
    region: str = ""
    interface: str = "public"
    """Of OpenStack's endpoints: public, internal or admin."""
    image_looks: Annotated[int, Field(gt=0)] | None = None
    """How often to poll for an OpenStack volume's image; None: by the volume's size."""
    image_pause: Annotated[int, Field(gt=0)] = 10
    """Seconds between two polls."""
    download_seconds: Annotated[int, Field(gt=0)] | None = None
    """Most seconds for the download of an OVA's disk; None: no limit while bytes arrive."""
    insecure_skip_tls_verify: bool = Field(default=False, alias="insecureSkipTLSVerify")
    thumbprint: str = ""
    cluster: str = ""
    """Of oVirt: name or id of the only cluster to import from."""
    image_daemon_port: Annotated[int, Field(gt=0, lt=65536)] = 54322
    """Of ovirt-imageio on the hosts of oVirt."""
    image_proxy_port: Annotated[int, Field(gt=0, lt=65536)] = 54323
    """Of ovirt-imageio on oVirt's engine."""
    vm_namespace: str = ""
    """Of KubeVirt: the namespace of the VMs; empty: that of the kubeconfig."""
    export_address: str = ""
    """Of KubeVirt: the URL under which virt-exportproxy can be reached; empty: as the cluster names it."""
    redirect_hosts: tuple[str, ...] = ()
    """Other hosts to which the server of an OVA may redirect: HOST, *.DOMAIN or *."""
    verified: bool = False
    """Whether the controller had verified the source before the run: then also `preflight` waits for it."""
    wait_seconds: Annotated[int, Field(ge=0)] = 0
    """Seconds that each attempt of a step waits for a source that does not answer; 0: not at all."""
    proxy: ProxyPlan | None = _left_out(None)
    """The proxy of the import's profile; None: that of the environment."""
    disks: tuple[BareDisk, ...] = _left_out(())
    """Bare disks instead of a package at `endpoint`, which is the address of the first one."""
    firmware: Literal["bios", "efi"] = _left_out("bios")
    bare_networks: tuple[str, ...] = _left_out(())
    """Of the VM with bare disks: a NIC for each."""

    @property
    def title(self) -> str:
        """The source, for messages."""
        what = "source of Secret" if self.from_secret else str(self.kind)
        return f"{what} {self.namespace}/{self.name}"


class PowerPlan(Document):
    """How the VM may be shut down."""

    force: bool = False
    force_without_tools: bool = _left_out(False)
    """Whether a VM whose guest cannot be asked to shut down is powered off hard."""
    never_force: bool = False
    """Whether a guest that does not shut down in time stays on, and the step fails."""
    grace_seconds: Annotated[int, Field(gt=0)] = 60


class UsedMapping(Document):
    """The ImportMapping whose rows the plan has, as it was when the plan was made."""

    namespace: str
    name: str
    generation: int = 0
    """0 outside of a cluster."""

    @property
    def title(self) -> str:
        """The mapping, for messages."""
        return f"ImportMapping {self.namespace}/{self.name}"


class NetworkRule(Document):
    """One row of the network mapping; `destination` is `namespace/name` of a NetworkAttachmentDefinition."""

    source: str
    source_id: str = ""
    """The source's id of the network, if the row has both. Either may fit."""
    vlan: Vlan | None = _left_out(None)
    nic_mac: str = _left_out("")
    """The MAC address of the only NIC that the row is for."""
    shared: bool = _left_out(False)
    """Whether it is a row of `TargetPlan.mapping`. The rows of the import have precedence over these."""
    destination: str = ""
    attachment: Attachment = Attachment.NETWORK
    model: InterfaceModel | None = None
    mac: MacPolicy = MacPolicy.KEEP


class DiskRule(Document):
    """Settings for one disk: `disk` is its id, label or key."""

    disk: str
    label: str = ""
    """Another name of the disk, if the row has both. Either may fit."""
    skip: bool = _left_out(False)
    """Whether the VM does not get the disk."""
    name: str = _left_out("")
    """Name of its volume; empty: one made of the VM's name and the disk's id."""
    shared: bool = _left_out(False)
    """As in `NetworkRule`."""
    storage_class: str = ""
    decides_storage: bool = False
    """Whether the row counts for storage even without a class: then it means the cluster's default."""
    volume_mode: str = ""
    access_mode: str = ""
    """Modes of the volume; empty: those of the class."""
    bus: Bus | None = None
    form: DiskForm | None = None
    """None: an image, if the target has images."""


class StorageRule(Document):
    """The storage class of the disks in one storage of the source: a datastore, or a storage domain."""

    source: str = ""
    source_id: str = ""
    """Name and id of the storage. Either may fit."""
    shared: bool = _left_out(False)
    """As in `NetworkRule`."""
    storage_class: str = ""
    """Empty: the cluster's default."""
    volume_mode: str = ""
    access_mode: str = ""


class TargetPlan(Document):
    """What to build, and where."""

    kind: TargetKind
    namespace: str = "default"
    needs_grant: bool = _left_out(default=False)
    """Whether that is not the import's namespace, so that it must allow its VMs (`steps.model.grants`)."""
    vm_name: str = ""
    """The name that the user chose; empty: the source's name, normalised."""
    format: DiskFormat = DiskFormat.QCOW2
    way: DiskWay = DiskWay.PULL
    way_reason: str = ""
    """Why, as a part of a sentence; empty for targets with one way."""
    storage_class: str = ""
    default_bus: Bus = Bus.VIRTIO
    default_model: InterfaceModel = InterfaceModel.VIRTIO
    networks: tuple[NetworkRule, ...] = ()
    unmapped: Unmapped = Unmapped.POD
    unplugged: Unplugged = Unplugged.DISCONNECTED
    first_match: bool = False
    """Whether the first row that fits counts, as in a mapping that many imports share. Else each row must fit
    exactly one device."""
    network_policy: NetworkPolicy = NetworkPolicy.LENIENT
    name_policy: NamePolicy = NamePolicy.NORMALISE
    spelling: Spelling = Spelling.DASHES
    """The default applies to requests without this field: a run keeps the name that it began with."""
    cpu_topology: CpuTopology = CpuTopology.ONE_SOCKET
    vcpus: int | None = None
    memory_mib: int | None = None
    start: bool = True
    disks: tuple[DiskRule, ...] = ()
    storage: tuple[StorageRule, ...] = ()
    mapping: UsedMapping | None = _left_out(None)
    vm_labels: Mapping[str, str] = {}
    vm_annotations: Mapping[str, str] = {}
    """Labels and annotations of the new VM that the import asks for."""
    settings: VmSettings = _left_out(VmSettings())
    """What else the import asks for about the new VM."""
    reuse_unstamped: bool = False
    """Whether to reuse an image with this import's name but without a digest (Harvester)."""


class Adapt(enum.StrEnum):
    """When the guest on the disks is changed so that it fits its new VM."""

    NEVER = "never"
    AUTO = "auto"
    """Only what an inspection says would not work otherwise."""
    ALWAYS = "always"


class WhenNotAdaptable(enum.StrEnum):
    """What happens to an import whose guest cannot be adapted."""

    FAIL = "fail"
    CONTINUE = "continue"
    """The disks are handed on unchanged, with a concern."""


class AgentPlan(enum.StrEnum):
    """Whether the guest gets qemu-guest-agent."""

    IF_CONVERTED = "ifConverted"
    """At its first start, if the guest is converted."""
    FIRST_BOOT = "firstBoot"
    NONE = "none"


class GuestPlan(Document):
    """What happens with the guest's system before the disks are handed on."""

    inspect: bool = False
    """Whether the disks are looked into."""
    optional: bool = _left_out(default=False)
    """Whether the import continues if the inspection fails, because it is a default that nobody asked for."""
    why: str = _left_out("")
    """Why, as a part of a sentence, if the import does not say it."""
    adapt: Adapt = _left_out(Adapt.NEVER)
    root: str = _left_out("")
    """The root of the system that counts, as an inspection names it; empty: the only one."""
    when_not_adaptable: WhenNotAdaptable = _left_out(WhenNotAdaptable.FAIL)
    agent: AgentPlan = _left_out(AgentPlan.IF_CONVERTED)
    has_keys: bool = _left_out(default=False)
    """Whether the import has keys for encrypted devices."""
    has_scripts: bool = _left_out(default=False)
    """Whether the import has scripts for the first start."""
    virtio_win: str = _left_out("")
    """The folder or the ISO image with the drivers for Windows; empty: there is none."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the import asks for (`workflows.stages.Stage.asked`)."""
        if self.adapt is not Adapt.NEVER:
            return ("inspect", "adapt")
        return ("inspect",) if self.inspect else ()


class BootCheckPlan(Document):
    """How to prove that the guest of the new VM has booted."""

    timeout_seconds: Annotated[int, Field(gt=0)] | None = None
    """Seconds until the judgement; None: by the guest's system."""
    fall_back: bool = True
    """Whether a guest that does not boot gets SATA disks and e1000e NICs, once."""
    tcp_port: Annotated[int, Field(gt=0, lt=65536)] | None = None
    """The port that must accept a connection; None: no port is asked."""
    address: str = ""
    """The IP address with that port; empty: that of the pod of the VM."""
    kubevirt_namespace: str = ""
    """Where KubeVirt runs, whose virt-handler counts bytes and frames."""


class Moment(enum.StrEnum):
    """Whether a hook runs before or after its stage."""

    BEFORE = "before"
    AFTER = "after"


class HookPlan(Document):
    """A hook of the import: the name of an ImportHook, and where it runs."""

    moment: Moment
    stage: str
    name: str

    @property
    def point(self) -> str:
        """Where it runs, in one word: the name of its node in the Workflow, such as `before-poweroff`."""
        return f"{self.moment}-{self.stage}"


class ScratchPlan(Document):
    """The scratch claim of a disk in a cluster."""

    storage_class: str = ""
    """Empty: the cluster's default."""
    access_mode: str = "ReadWriteOnce"
    filesystem_factor: Annotated[float, Field(ge=1)] = 1.06
    """Ratio of a claim's size to the usable space of its filesystem."""


def _quantity(value: Any) -> Any:
    """A quantity as bytes; an empty one as no limit."""
    return (to_bytes(value) if value else None) if isinstance(value, str) else value


Amount = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_quantity)]
"""Bytes, also as a quantity of Kubernetes; None and an empty text: any amount."""


class ImportLimits(Document):
    """What the installation lets imports ask for, beyond what the tenant's quotas say. None: any amount."""

    max_disks: Annotated[int, Field(ge=1)] | None = None
    max_disk_capacity: Amount = None
    max_scratch_per_namespace: Amount = None
    """Bytes of the scratch claims of all imports of one namespace."""


class Plan(Document):
    """One import, ready to run."""

    version: Literal["1"] = "1"
    run: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    import_: ImportRef = Field(alias="import")
    source: SourcePlan
    vm: str
    folder: str | None = None
    power: PowerPlan = PowerPlan()
    skip_preflight_checks: bool = False
    target: TargetPlan
    approvals: tuple[Gate, ...] = ()
    on_failure: OnFailure = OnFailure.KEEP_OFF
    mark: SourceMark = _left_out(SourceMark())
    """How the VM at the source is marked after a success."""
    guest: GuestPlan = _left_out(GuestPlan())
    boot_check: BootCheckPlan | None = _left_out(None)
    """None: the import is complete once its VM is started."""
    hooks: tuple[HookPlan, ...] = _left_out(())
    """At most one for each point."""
    scratch: ScratchPlan = ScratchPlan()
    profile: str = _left_out("")
    """The profile of the installation that the run began with."""
    pods: PodPlan = _left_out(PodPlan())
    limits: ImportLimits = ImportLimits()

    @property
    def asked_stages(self) -> tuple[str, ...]:
        """The stages that this import asks for (`workflows.stages.Stage.asked`)."""
        return (*self.guest.stages, *(("check",) if self.boot_check is not None else ()))
