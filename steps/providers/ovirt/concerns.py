"""What an import of a VM would change, lose or cannot import.

The cases and severities are those of the v2v importer's rules for oVirt, with its codes, apart from these:
what KubeVirt can carry by now is no concern (IDE disks become SATA), and the state of the disks' chain
counts, as a transfer reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from steps.model.concerns import block, log, warn
from steps.model.machine import Concern, Power, Severity
from steps.providers.ovirt import describe
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.find import Surroundings

BLANK: Final = "00000000-0000-0000-0000-000000000000"
"""The template of a VM that was made without one."""
_STABLE: Final = ("up", "down", "powering_up", "powering_down", "reboot_in_progress", "wait_for_launch")
"""Statuses from which the engine can shut a VM down, or in which it waits for that."""
_ARCHITECTURES: Final = ("", "undefined", "x86_64")


def concerns(vm: Answer, around: Surroundings) -> tuple[Concern, ...]:
    """All concerns about a VM, the most severe first."""
    cluster = around.cluster(vm)
    found = [
        *_state_concerns(vm),
        *_hardware_concerns(vm, cluster),
        *_disks_concerns(vm),
        *_nics_concerns(vm, around),
        *_setting_concerns(vm),
        *_lost_settings(vm),
        *_device_concerns(vm),
    ]
    weight = [Severity.BLOCK, Severity.WARN, Severity.LOG]
    return tuple(sorted(found, key=lambda concern: weight.index(concern.severity)))


def _state_concerns(vm: Answer) -> Iterator[Concern]:
    status = vm.text("status")
    if describe.power(vm) is Power.SUSPENDED:  # the disks belong to a memory image that is not imported
        yield block("suspended", "the VM is suspended", "run it and shut it down")
    elif status not in _STABLE:
        yield block("vm.status", f"its status is {status or 'unknown'}", "bring it to up or down")
    if vm.flag("has_illegal_images"):
        yield block("vm.has_illegal_images", "it has illegal disks", "repair or remove them at the source")
    origin = vm.text("origin").lower()
    if origin == "kubevirt":
        yield block("vm.origin", "it runs in a KubeVirt that the engine shows", "import it from there")
    if origin in ("managed_hosted_engine", "hosted_engine"):
        yield block("hosted-engine", "it is the VM in which the engine itself runs")
    if vm.flag("next_run_configuration_exists"):
        yield warn(
            "next-run", "changes wait for its next start", "they are imported as if it had been started"
        )
    if vm.flag("stateless"):
        yield warn("stateless", "it is stateless: what was written since its start is lost at its shutdown")
    if vm.text("vm_pool", "id"):
        yield warn("vm-pool", "it belongs to a pool, which may start it again", "detach it from the pool")
    yield from _origin_of_disks(vm)


def _origin_of_disks(vm: Answer) -> Iterator[Concern]:
    snapshots = vm.items("snapshots", "snapshot")
    kinds = {snapshot.text("snapshot_type") for snapshot in snapshots}
    if "preview" in kinds or "in_preview" in {snapshot.text("snapshot_status") for snapshot in snapshots}:
        yield block("preview", "a snapshot of it is in preview", "commit or undo the preview")
    if "regular" in kinds:  # a transfer reads the current state through the whole chain
        yield log("snapshots", "it has snapshots: its current state is imported, the snapshots are not")
    if vm.text("template", "id") not in ("", BLANK):
        yield log("from-template", "it was made from a template: its disks are imported as complete copies")


def _hardware_concerns(vm: Answer, cluster: Answer) -> Iterator[Concern]:
    bios = describe.bios_type(vm, cluster)
    if bios not in describe.FIRMWARE:
        yield block("vm.bios.type", f"its firmware is unknown: {bios or 'cluster_default'}", _GRANT_CLUSTERS)
    if bios == "i440fx_sea_bios":
        yield log("machine-type", "its machine type i440fx becomes q35")
    architecture = vm.text("cpu", "architecture")
    if architecture not in _ARCHITECTURES:
        yield block("vm.cpu.architecture", f"its architecture is {architecture}, not x86_64")
    if vm.child("cpu", "cpu_tune").items("vcpu_pins", "vcpu_pin"):
        yield warn("vm.cpu.cpu_tune", "its CPUs are pinned to those of a host, which is not carried over")
    if vm.text("custom_cpu_model"):
        yield warn("custom-cpu", f"its CPU model {vm.text('custom_cpu_model')} is not carried over")
    if vm.text("custom_emulated_machine"):
        yield log("vm.machine.type", f"its machine type is {vm.text('custom_emulated_machine')}")
    if vm.flag("tpm_enabled"):
        yield log(
            "vtpm",
            "what the TPM holds is not carried over: have the recovery keys of encrypted volumes ready",
        )
    policy = vm.text("serial_number", "policy") or cluster.text("serial_number", "policy") or "host"
    if policy == "host":
        yield log("serial-host", "its serial number is that of its host, and is not carried over")
    zone = vm.text("time_zone", "name")
    if zone and not vm.text("time_zone", "utc_offset") and not describe.iana_zone(zone):
        yield warn("clock-zone", f"its time zone {zone!r} is unknown", "it starts with UTC")


_GRANT_CLUSTERS: Final = "let the account see its cluster, or set the BIOS type of the VM"


def _disks_concerns(vm: Answer) -> Iterator[Concern]:
    attachments = describe.attachments_in_order(vm)
    if not attachments:
        yield block("no-disks", "the VM has no disks", "there is nothing to import")
    for attachment in attachments:
        yield from _disk_concerns(attachment, describe.label(attachment))


def _disk_concerns(attachment: Answer, name: str) -> Iterator[Concern]:
    yield from _unreadable_disk(attachment, name)
    disk = attachment.child("disk")
    if disk.flag("shareable"):
        yield warn(
            "shared-disk",
            f"{name} may be shared with other VMs, which may be writing to it",
            "power them all off; after the import each has its own copy",
        )
    interface = attachment.text("interface")
    if interface not in describe.BUSES:
        yield warn("disk_attachment.interface", f"{name} has the unknown interface {interface!r}")
    if not attachment.flag("active", default=True):
        yield warn("disk-inactive", f"{name} is not active, but it is imported and attached")
    if attachment.flag("read_only"):
        yield warn("disk-read-only", f"{name} is read-only at the source, but not after the import")
    if disk.text("backup") == "incremental":
        yield log("disk_attachment.disk.backup", f"{name} is in incremental backups, which do not continue")
    if attachment.flag("pass_discard"):
        yield log("disk_attachment.pass_discard", f"{name} passes discards on, which is not carried over")
    if disk.flag("wipe_after_delete"):
        yield log(
            "disk_attachment.disk.wipe_after_delete", f"{name} is not wiped after the import is deleted"
        )
    if disk.flag("propagate_errors"):
        yield log("disk_attachment.disk.propagate_errors", f"errors of {name} are not reported to the guest")


def _unreadable_disk(attachment: Answer, name: str) -> Iterator[Concern]:
    """Why no image transfer reads a disk, or not as the guest does."""
    disk = attachment.child("disk")
    storage, status = disk.text("storage_type"), disk.text("status")
    if storage == "lun" or disk.child("lun_storage"):
        yield block(
            "disk_attachment.disk.lun_storage",
            f"{name} is a direct LUN, which no image transfer reads",
            "copy it to an image disk, or detach it and attach the LUN to the imported VM",
        )
    elif storage not in ("", "image"):
        yield block("disk_attachment.disk.storage_type", f"{name} is on storage of the type {storage}")
    if describe.capacity(attachment) <= 0:  # silently omitting a disk would be worse than no import
        yield block("disk-unreadable", f"the size of {name} cannot be read", "let the account see the disk")
    if status not in ("", "ok", "locked"):
        yield block("disk_attachment.disk.status", f"{name} is {status}", "repair or remove it at the source")
    if attachment.flag("uses_scsi_reservation") or disk.flag("uses_scsi_reservation"):
        yield block("disk_attachment.uses_scsi_reservation", f"{name} uses SCSI reservations")
    if disk.text("sgio") not in ("", "disabled"):
        yield block("disk_attachment.disk.sgio", f"{name} passes SCSI commands through to its storage")


def _nics_concerns(vm: Answer, around: Surroundings) -> Iterator[Concern]:
    for nic in describe.nics_in_order(vm):
        name = nic.text("name") or nic.text("id")
        interface = nic.text("interface")
        if interface == "pci_passthrough":
            yield warn("sriov", f"{name} is an SR-IOV NIC: it is imported as an ordinary NIC")
        elif interface not in describe.NIC_MODELS:
            yield warn("nic.interface", f"{name} has the unknown interface {interface!r}")
        if interface == "rtl8139_virtio":
            yield log(
                "nic-dual-mode", f"{name} has two models, rtl8139 and virtio: it is imported as rtl8139"
            )
        if not nic.flag("plugged", default=True):
            yield warn("nic.plugged", f"{name} is not plugged: its link is down after the import")
        if not nic.text("vnic_profile", "id"):
            yield warn("nic-no-profile", f"{name} has no vNIC profile, so no network can be mapped for it")
        profile = around.profiles.get(nic.text("vnic_profile", "id"))
        if profile is not None:
            yield from _profile_concerns(profile, name)


def _profile_concerns(profile: Answer, name: str) -> Iterator[Concern]:
    if profile.flag("port_mirroring"):
        yield warn("nic.vnic_profile.port_mirroring", f"the port mirroring of {name} is not carried over")
    if profile.items("custom_properties", "custom_property"):
        yield warn(
            "nic.vnic_profile.custom_properties", f"the custom properties of {name} are not carried over"
        )
    if profile.text("network_filter", "id"):
        yield warn("nic.vnic_profile.network_filter", f"the network filter of {name} is not carried over")
    if profile.text("qos", "id"):
        yield log("nic.vnic_profile.qos", f"the quality of service of {name} is not carried over")


def _setting_concerns(vm: Answer) -> Iterator[Concern]:
    """Settings whose loss may matter."""
    names = [one.text("name") for one in vm.items("custom_properties", "custom_property")]
    if names:
        yield warn("vm.custom_properties", f"its custom properties are not carried over: {', '.join(names)}")
    if vm.flag("high_availability", "enabled"):
        yield warn(
            "high-availability",
            "it is highly available: the engine would start it again after a crash",
            "choose a run strategy for the imported VM",
        )
    if vm.flag("soundcard_enabled"):
        yield warn("vm.soundcard_enabled", "its sound card is not carried over")
    if vm.flag("usb", "enabled"):  # on in many desktops, and harmless there
        yield log("vm.usb", "the redirection of USB devices to it is not carried over")
    if vm.text("placement_policy", "affinity") in ("pinned", "user_migratable"):
        yield warn(
            "vm.placement_policy.affinity", "it is bound to hosts of the source; the imported VM is not"
        )
    if vm.child("initialization"):
        yield warn("initialization", "its initial configuration (cloud-init, sysprep) is not carried over")
    if vm.items("payloads", "payload"):
        yield warn("payload", "the files that it gets as a CD-ROM or floppy disk are not carried over")
    if vm.text("os", "kernel"):
        yield warn("direct-kernel", "it boots a kernel from outside of its disks, which is not carried over")


def _lost_settings(vm: Answer) -> Iterator[Concern]:
    """Settings whose loss is harmless."""
    if vm.flag("bios", "boot_menu", "enabled"):
        yield log("vm.bios.boot_menu.enabled", "its boot menu is not carried over")
    if vm.flag("start_paused"):
        yield log("vm.start_paused", "it starts paused at the source, but not after the import")
    if vm.flag("delete_protected"):
        yield log("delete-protected", "its protection against deletion is not carried over")
    if vm.number("high_availability", "priority"):
        yield log(
            "vm.high_availability.priority", "its priority among highly available VMs is not carried over"
        )
    if vm.number("io", "threads"):  # one is the default
        yield log("vm.io.threads", "its I/O threads are not carried over")
    if vm.text("numa_tune_mode"):
        yield log("vm.numa_tune_mode", "its NUMA mode is not carried over")
    if vm.text("quota", "id"):
        yield log("vm.quota", "its quota is not carried over")
    if vm.text("rng_device", "source") not in ("", "urandom"):
        yield log("vm.rng_device.source", "its source of random numbers is not carried over")
    if vm.text("lease", "storage_domain", "id"):
        yield log("lease", "its lease on a storage domain is not carried over")


def _device_concerns(vm: Answer) -> Iterator[Concern]:
    for device in vm.items("host_devices", "host_device"):
        name = device.text("name") or device.text("id")
        yield warn("passthrough", f"{name} is passed through from the host and is not carried over")
    for watchdog in vm.items("watchdogs", "watchdog"):
        yield warn("vm.watchdogs", f"its watchdog {watchdog.text('model')} is not carried over")
    for cdrom in vm.items("cdroms", "cdrom"):
        if cdrom.text("file", "id"):
            yield log("removable-media", f"the medium {cdrom.text('file', 'id')} is not carried over")
