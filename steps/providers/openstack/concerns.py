"""What an import of a server would change, lose or cannot import.

The cases are those of Forklift's rules for OpenStack (validation/policies/io/konveyor/forklift/openstack);
the severities are our own, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from steps.model.machine import Concern, Disk, Severity
from steps.providers.openstack.facts import ISO, ServerFacts, root_size

_SHUTTABLE: Final = ("ACTIVE", "SHUTOFF")
_SUSPENDED: Final = ("SUSPENDED", "PAUSED")


def concerns(facts: ServerFacts, values: Mapping[str, str], disks: Iterable[Disk]) -> Iterator[Concern]:
    """All concerns about one server."""
    yield from _state_concerns(facts.server)
    yield from _image_concerns(facts)
    for volume in facts.unreadable_volumes:  # a disk left out would be worse than no import
        yield _block(
            "disk-unreadable",
            f"the attached volume {volume} cannot be read by this account",
            "use an account of the volume's project, or detach it if it no longer exists",
        )
    for disk, volume in (
        (disk, volume) for disk in disks for volume in facts.volumes if volume.id == disk.key
    ):
        yield from volume_concerns(disk, volume)
    yield from _flavor_concerns(facts.flavor)
    yield from _port_concerns(facts)
    yield from _hardware_concerns(facts, values)


def _state_concerns(server: Any) -> Iterator[Concern]:
    if server.status in _SUSPENDED:  # its memory would be lost
        yield _block("suspended", f"{server.name} is {server.status}", "resume it at the source")
    elif server.status not in _SHUTTABLE:  # os-stop refuses these (nova/compute/api.py, stop)
        yield _block("state", f"{server.name} is {server.status}", "bring it to ACTIVE or SHUTOFF")
    if server.status == "ACTIVE" and getattr(server, "is_locked", False):  # os-stop is refused (409)
        yield _block("locked", f"{server.name} is locked: it cannot be shut down", "unlock it at the source")


def _image_concerns(facts: ServerFacts) -> Iterator[Concern]:
    image = facts.image
    if facts.is_image_deleted:
        yield _warn(
            "image-gone",
            "the image it was booted from was deleted: firmware, buses and NICs are taken from the server's"
            " metadata and its flavor",
            "compare them with those of the server",
        )
    if image is not None and image.get("disk_format") == ISO:
        # Nova makes the root disk a copy of the medium: a live system, nothing that was installed.
        yield _warn("iso-root", f"it runs from the ISO image {image.get('name')!r}, which is not imported")
    elif (image is not None or facts.is_image_deleted) and not root_size(facts):
        yield _block(
            "root-size",
            "the size of its root disk is not known: neither the flavor nor the image has it",
            "resize it to a flavor that has a disk size",
        )


_MIGRATING: Final = ("starting", "migrating", "completing")
"""Volume.migration_status, which only an administrator is shown (cinder/objects/volume.py)."""


def volume_concerns(disk: Disk, volume: Any) -> Iterator[Concern]:
    """Why a volume cannot be copied; checked again before the server is stopped."""
    name = f"{disk.id} ({disk.label})"
    if volume.is_encrypted:  # an image of it is ciphertext, its key stays in the key manager
        yield _block("encrypted-disk", f"{name} is encrypted", "retype it to a type without encryption")
    if volume.is_multiattach and len(volume.attachments or ()) > 1:
        yield _block("shared-disk", f"{name} is attached to several servers", "detach it from the others")
    if volume.status not in ("in-use", "available"):
        yield _block("disk-state", f"{name} is {volume.status}", "bring it to in-use at the source")
    elif volume.migration_status in _MIGRATING:  # no snapshot is taken of it (cinder/volume/api.py)
        yield _block("disk-state", f"{name} is being migrated", "wait until that is done, then retry")
    if (volume.volume_image_metadata or {}).get("disk_format") == ISO:
        yield _log("iso-volume", f"{name} was made from an ISO image: it is imported as an ordinary disk")


def _flavor_concerns(flavor: Any) -> Iterator[Concern]:
    if flavor.ephemeral:  # no snapshot of the server has it
        yield _warn("ephemeral-disk", f"its ephemeral disk of {flavor.ephemeral} GiB is not carried over")
    if flavor.swap:
        yield _log("swap-disk", f"its swap disk of {flavor.swap} MiB is not carried over")
    for spec in flavor.extra_specs or {}:
        if spec.startswith(("pci_passthrough:", "resources:VGPU", "accel:")):  # hardware of that host
            yield _warn("passthrough", f"flavor asks for {spec}: the host's device is not carried over")


def _port_concerns(facts: ServerFacts) -> Iterator[Concern]:
    for port in facts.ports:
        name = f"the port {port.mac_address}"
        if port.binding_vnic_type not in (None, "", "normal"):
            yield _warn("sriov", f"{name} is {port.binding_vnic_type}: it is imported as an ordinary NIC")
        if port.trunk_details:  # its VLANs are not ports of this server
            yield _warn("trunk", f"{name} is a trunk: its subports are not carried over")


def _hardware_concerns(facts: ServerFacts, values: Mapping[str, str]) -> Iterator[Concern]:
    if facts.server.has_config_drive:
        yield _log("config-drive", "its config drive is not carried over: cloud-init has run already")
    if values.get("hw_tpm_model") or values.get("hw_tpm_version"):  # Nova keeps its state with the host
        yield _log(
            "vtpm",
            "what the TPM holds is not carried over: have the recovery keys of encrypted volumes ready",
        )


def _block(code: str, message: str, remedy: str = "") -> Concern:
    return Concern(severity=Severity.BLOCK, code=code, message=message, remedy=remedy)


def _warn(code: str, message: str, remedy: str = "") -> Concern:
    return Concern(severity=Severity.WARN, code=code, message=message, remedy=remedy)


def _log(code: str, message: str) -> Concern:
    return Concern(severity=Severity.LOG, code=code, message=message)
