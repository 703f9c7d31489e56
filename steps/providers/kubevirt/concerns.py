"""What an import of a VM would change, lose or cannot import.

Every field of a VM is either described, or has a concern here: one that this module does not know has one,
too (`_unknown_fields`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from steps.model.concerns import block, log, warn
from steps.model.machine import Concern, Severity
from steps.providers.kubevirt import describe
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.find import Found, claim_name, template

_ARCHITECTURES: Final = ("", "amd64")
_CONTENTS: Final = {
    "cloudInitNoCloud": "configuration for cloud-init",
    "cloudInitConfigDrive": "configuration for cloud-init",
    "sysprep": "configuration for sysprep",
}
"""Volumes with an initial configuration; the guest has used it already."""
_PAYLOADS: Final = ("configMap", "secret", "serviceAccount", "downwardAPI", "downwardMetrics")
_NOT_ON_CLAIMS: Final = {
    "containerDisk": "is an image of a container registry",
    "ephemeral": "forgets at each stop what was written to it",
    "hostDisk": "is a file of a host",
}

_DESCRIBED: Final = frozenset({"domain", "volumes", "networks", "terminationGracePeriodSeconds", "hostname"})
_HARMLESS: Final = frozenset(
    {
        *("evictionStrategy", "affinity", "nodeSelector", "tolerations", "topologySpreadConstraints"),
        *("priorityClassName", "schedulerName", "dnsPolicy", "dnsConfig", "subdomain", "architecture"),
    }
)
_LOST: Final = frozenset({"accessCredentials", "livenessProbe", "readinessProbe", "startStrategy"})
_DOMAIN_DESCRIBED: Final = frozenset(
    {"cpu", "memory", "resources", "firmware", "clock", "devices", "machine", "features"}
)
_DOMAIN_HARMLESS: Final = frozenset({"ioThreadsPolicy", "ioThreads", "chassis"})
_DEVICES_DESCRIBED: Final = frozenset(
    {"disks", "interfaces", "tpm", "inputs", "rng", "autoattachPodInterface", "logSerialConsole"}
)
_DEVICES_HARMLESS: Final = frozenset(
    {
        *("networkInterfaceMultiqueue", "blockMultiQueue", "autoattachMemBalloon", "disableHotplug"),
        *("autoattachGraphicsDevice", "autoattachSerialConsole", "autoattachInputDevice", "autoattachVSOCK"),
        *("useVirtioTransitional", "video", "panicDevices", "clientPassthrough"),
    }
)
_DEVICES_LOST: Final = frozenset(
    {"watchdog", "sound", "gpus", "hostDevices", "filesystems", "downwardMetrics"}
)
_CPU_DESCRIBED: Final = frozenset({"sockets", "cores", "threads", "maxSockets"})
_CPU_LOST: Final = frozenset(
    {"model", "features", "numa", "dedicatedCpuPlacement", "realtime", "isolateEmulatorThread"}
)
_FEATURES_DESCRIBED: Final = frozenset({"acpi", "apic", "smm"})
_FEATURES_HARMLESS: Final = frozenset({"hyperv", "hypervPassthrough", "kvm", "pvspinlock"})
_FIRMWARE_DESCRIBED: Final = frozenset({"bootloader", "uuid", "serial"})
_FIRMWARE_HARMLESS: Final = frozenset({"acpi"})
_MEMORY_DESCRIBED: Final = frozenset({"guest", "maxGuest"})
_MEMORY_HARMLESS: Final = frozenset({"hugepages"})
_NONE: Final = frozenset[str]()
_DISK_DESCRIBED: Final = frozenset({"name", "disk", "bootOrder", "serial", "shareable"})
_NIC_DESCRIBED: Final = frozenset({"name", "model", "macAddress", "bootOrder", "state", "bridge", "sriov"})
_NIC_BINDINGS: Final = frozenset({"masquerade", "slirp", "macvtap", "passt", "passtBinding", "binding"})

_SYSTEMS: Final = ("kubevirt.io", "harvesterhci.io", "migration.harvesterhci.io", "network.harvesterhci.io")
"""Prefixes of labels that KubeVirt, Harvester and vmferry write. Tags of people in Harvester have another."""
_MOST_LABELS: Final = 5
_HARVESTER_SETTINGS: Final = {
    ("annotations", "harvesterhci.io/reservedMemory"): "the memory that Harvester keeps for its processes",
    ("annotations", "harvesterhci.io/enableCPUAndMemoryHotplug"): "CPUs and memory can be added to it",
    ("labels", "harvesterhci.io/maintain-mode-strategy"): "what happens to it if its node is maintained",
}
"""Settings that Harvester keeps outside of the spec (its pkg/util/constants.go)."""


def concerns(found: Found) -> tuple[Concern, ...]:
    """All concerns about a VM, the most severe first."""
    all_found = [
        *_state_concerns(found),
        *_hardware_concerns(found),
        *_disks_concerns(found),
        *_nics_concerns(found),
        *_lost_fields(found.vm),
        *_metadata_concerns(found.vm),
    ]
    weight = [Severity.BLOCK, Severity.WARN, Severity.LOG]
    return tuple(sorted(all_found, key=lambda concern: weight.index(concern.severity)))


def _state_concerns(found: Found) -> Iterator[Concern]:
    vm, instance = found.vm, found.instance
    if vm.is_deleting:
        yield block("vm-deleting", "the VM is being deleted")
    for name in ("snapshotInProgress", "restoreInProgress"):
        if vm.text("status", name):
            yield block(
                "vm-busy", f"its {name.removesuffix('InProgress')} is in progress", "wait for its end"
            )
    if vm.text("spec", "runStrategy") == "WaitAsReceiver":
        yield block("vm-busy", "it waits for a migration from another cluster", "import it from there")
    if instance is not None and instance.condition("Paused").text("status") == "True":
        yield block("suspended", "the VM is paused: its guest cannot shut down", "unpause it")
    if vm.condition("RestartRequired").text("status") == "True":
        yield warn(
            "next-run", "changes wait for its next start", "they are imported as if it had been started"
        )
    persisted = describe.volumes(vm)
    for volume in instance.child("spec").elements("volumes") if instance is not None else ():
        if claim_name(volume) and volume.text("name") not in persisted:
            yield warn(
                "hotplugged-disk",
                f"{volume.text('name')} is attached only until the VM stops, and is not imported",
                "attach it permanently (virtctl addvolume --persist)",
            )


def _hardware_concerns(found: Found) -> Iterator[Concern]:
    vm, domain = found.vm, describe.domain(found.vm)
    architecture = template(vm).text("architecture")
    if architecture not in _ARCHITECTURES:
        yield block("architecture", f"its architecture is {architecture}, not amd64")
    kind = domain.text("machine", "type")
    if kind and "q35" not in kind:
        yield log("machine-type", f"its machine type {kind} becomes q35")
    loader = domain.child("firmware", "bootloader")
    if loader.flag("efi", "persistent"):
        yield warn(
            "efi-persistent",
            "its EFI variables are persistent, but are not carried over",
            "the new VM gets variables with their defaults",
        )
    if domain.flag("devices", "tpm", "persistent"):
        yield warn(
            "vtpm",
            "what its persistent TPM holds is not carried over",
            "have the recovery keys of encrypted volumes ready",
        )
    if domain.has("launchSecurity"):
        yield block("launch-security", "its memory is encrypted (launchSecurity), which is not carried over")
    if domain.has("firmware", "kernelBoot"):
        yield block("direct-kernel", "it boots a kernel from outside of its disks, which is not carried over")
    if not describe.system_uuid(found):
        yield log("uuid-unknown", "its UUID is not written in the VM: the guest gets a new one")
    zone = domain.text("clock", "timezone")
    if zone and "/" not in zone and zone not in ("UTC", "GMT"):
        yield log("clock-zone", f"its time zone is {zone!r}")


def _disks_concerns(found: Found) -> Iterator[Concern]:
    known = describe.volumes(found.vm)
    carried = {device.text("name") for device, _, _ in describe.carried(found)}
    if not carried:
        yield block("no-disks", "the VM has no disk on a claim", "there is nothing to import")
    for device in describe.devices(found.vm):
        name = device.text("name")
        volume = known.get(name, Answer({}))
        if name not in carried:
            yield from _left_out(found, device, volume, name)
        else:
            claim = found.claims[claim_name(volume)]
            yield from _carried_concerns(device, claim, name)
    yield from _shared_claims(found)
    used = {device.text("name") for device in describe.devices(found.vm)}
    for name, volume in known.items():
        if name not in used and claim_name(volume):
            yield log("volume-unused", f"the volume {name} is no disk of the VM and is not imported")


def _left_out(found: Found, device: Answer, volume: Answer, name: str) -> Iterator[Concern]:
    """Why a device is not imported. A disk that the guest needs blocks: a VM without it may not boot."""
    if device.has("cdrom") or device.has("floppy"):
        yield log("removable-media", f"the medium {name} is not carried over")
    elif content := next(filter(volume.has, _CONTENTS), ""):
        yield warn("initialization", f"its {_CONTENTS[content]} {name} is not carried over")
    elif payload := next(filter(volume.has, _PAYLOADS), ""):
        yield warn("payload", f"{name} shows a {payload} of the cluster and is not carried over")
    elif volume.has("emptyDisk"):
        yield warn("empty-disk", f"{name} is empty at each start and is not carried over", "add a disk")
    elif kind := next(filter(volume.has, _NOT_ON_CLAIMS), ""):
        message = f"{name} {_NOT_ON_CLAIMS[kind]}"
        yield block("disk-not-on-claim", message, "copy it to a DataVolume, or remove it from the VM")
    elif device.has("lun"):
        yield block("lun", f"{name} passes SCSI commands through to its storage", "make it a disk")
    else:
        yield _unreadable(found, volume, name)


def _unreadable(found: Found, volume: Answer, name: str) -> Concern:
    """Why a disk cannot be read."""
    claim = claim_name(volume)
    if not claim:
        kinds = ", ".join(field for field in volume.names() if field != "name") or "no volume"
        return block("disk-unreadable", f"{name} has {kinds}, which is not known", "remove it from the VM")
    if claim not in found.claims:
        return block("disk-unreadable", f"the claim {claim} of {name} does not exist, or cannot be read")
    why = f"the claim {claim} of {name} has no volume yet"
    return block("disk-unreadable", why, "start the VM once, or remove the disk")


def _carried_concerns(device: Answer, claim: Answer, name: str) -> Iterator[Concern]:
    if describe.bus(device) not in describe.BUSES:
        yield warn("disk-bus", f"{name} has the unknown bus {describe.bus(device)!r}")
    if device.flag("shareable"):
        yield warn(
            "shared-disk",
            f"{name} may be shared with other VMs, which may be writing to it",
            "power them all off; after the import each has its own copy",
        )
    if device.flag("disk", "readonly"):
        yield warn("disk-read-only", f"{name} is read-only at the source, but not after the import")
    if not describe.is_block(claim):
        yield log(
            "disk-in-filesystem",
            f"{name} is a file on the claim {claim.name}: the new disk has the size of the claim",
        )
    for field in device.names():
        if field not in _DISK_DESCRIBED:
            yield log("disk-setting", f"the setting {field} of {name} is not carried over")


def _shared_claims(found: Found) -> Iterator[Concern]:
    """One claim that two disks of the VM show would be imported twice."""
    counted: dict[str, list[str]] = {}
    for device, claim, _ in describe.carried(found):
        counted.setdefault(claim, []).append(device.text("name"))
    for claim, names in counted.items():
        if len(names) > 1:
            yield block("claim-twice", f"{' and '.join(names)} are on the same claim {claim}", "remove one")


def _nics_concerns(found: Found) -> Iterator[Concern]:
    vm = found.vm
    macs = describe.given_macs(found)
    interfaces = describe.interfaces(vm)
    if not interfaces and describe.domain(vm).flag("devices", "autoattachPodInterface", default=True):
        yield warn("nic-implicit", "KubeVirt gives it a NIC in the pod network, which is not carried over")
    for interface in interfaces:
        name = interface.text("name")
        if interface.has("sriov"):
            yield warn("sriov", f"{name} is an SR-IOV NIC: it is imported as an ordinary NIC")
        elif (interface.text("model") or "virtio") not in describe.NIC_MODELS:
            yield warn("nic.interface", f"{name} has the unknown model {interface.text('model')!r}")
        if not interface.text("macAddress") and not macs.get(name):
            yield log("nic-no-mac", f"{name} has no MAC address of its own: it gets a new one")
        if not describe.network_of(vm, name):
            yield warn("nic-no-network", f"{name} has no network, so none can be mapped for it")
        if interface.text("state") == "absent":
            yield warn("nic.plugged", f"{name} is not plugged: its link is down after the import")
        for field in interface.names():
            if field not in _NIC_DESCRIBED | _NIC_BINDINGS:
                yield log("nic-setting", f"the setting {field} of {name} is not carried over")


def _metadata_concerns(vm: Answer) -> Iterator[Concern]:
    """Labels of people, and settings of Harvester that are no fields of the spec."""
    labels = sorted(name for name in vm.names("metadata", "labels") if not _is_of_system(name))
    if labels:
        rest = len(labels) - _MOST_LABELS
        shown = ", ".join(labels[:_MOST_LABELS]) + (f" and {rest} more" if rest > 0 else "")
        yield log("labels", f"its labels {shown} are not carried over")
    for (kind, name), meaning in _HARVESTER_SETTINGS.items():
        if vm.has("metadata", kind, name):
            yield log("harvester-setting", f"its setting {name} is not carried over: {meaning}")


def _is_of_system(label: str) -> bool:
    prefix = label.rpartition("/")[0]
    return prefix in _SYSTEMS or prefix.endswith((".kubevirt.io", "cattle.io"))


def _lost_fields(vm: Answer) -> Iterator[Concern]:
    """Fields whose loss may matter, then those whose loss is harmless, then those that nobody knows yet."""
    spec, domain = template(vm), describe.domain(vm)
    tables = (
        ("", spec, _DESCRIBED, _LOST, _HARMLESS),
        ("domain.", domain, _DOMAIN_DESCRIBED | {"launchSecurity"}, _NONE, _DOMAIN_HARMLESS),
        ("devices.", domain.child("devices"), _DEVICES_DESCRIBED, _DEVICES_LOST, _DEVICES_HARMLESS),
        ("cpu.", domain.child("cpu"), _CPU_DESCRIBED, _CPU_LOST, _NONE),
        ("features.", domain.child("features"), _FEATURES_DESCRIBED, _NONE, _FEATURES_HARMLESS),
        (
            "firmware.",
            domain.child("firmware"),
            _FIRMWARE_DESCRIBED | {"kernelBoot"},
            _NONE,
            _FIRMWARE_HARMLESS,
        ),
        ("memory.", domain.child("memory"), _MEMORY_DESCRIBED, _NONE, _MEMORY_HARMLESS),
    )
    for prefix, fields, described, lost, harmless in tables:
        for name in fields.names():
            if name in lost:
                yield warn("vm-setting", f"its {prefix}{name} is not carried over")
            elif name in harmless:
                yield log("vm-setting", f"its {prefix}{name} is not carried over")
            elif name not in described:
                yield warn(
                    "unknown-setting",
                    f"its {prefix}{name} is not known to this version of vmferry, and is not carried over",
                )
