"""The VM with SATA disks and e1000e NICs, for which almost every system has drivers. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from steps.model.kinds import Object
from steps.model.mapping import Shape
from steps.model.plan import Bus, InterfaceModel
from steps.model.vm_fields import run_strategy
from steps.targets.cluster import markers

FROM_BUSES: Final = (Bus.VIRTIO, Bus.SCSI)
"""A guest that boots from USB keeps it."""
FROM_MODELS: Final = (InterfaceModel.VIRTIO, None)
"""KubeVirt's default is virtio. The emulated models of real cards stay."""


def devices_digest(vm: Object) -> str:
    """Digest of the buses of the VM's volumes and the models of its NICs.

    Only those that the import gave it: a person may add a disk without a claim, or a device of the host.
    """
    devices = _devices(vm)
    disks = [(disk.get("name"), (disk.get("disk") or {}).get("bus")) for disk in devices.get("disks") or []]
    nics = [(one.get("name"), one.get("model")) for one in devices.get("interfaces") or []]
    known = [[*map(str, one)] for one in (*disks, *nics) if one[1] is not None]
    return hashlib.sha256(json.dumps(sorted(known)).encode()).hexdigest()[:12]


def is_as_built(vm: Object, mark: str, shape: Shape) -> bool:
    """Whether the devices and the run strategy are those with which the VM was started (`markers.BUILT`)."""
    started = vm["spec"].get("runStrategy") == run_strategy(shape)
    return started and mark == f"{markers.BUILT}{devices_digest(vm)}"


def with_sata(vm: Object) -> Object | None:
    """The change of `spec.template`, as a merge patch; None if nothing would change."""
    devices = _devices(vm)
    disks = [_disk(disk) for disk in devices.get("disks") or []]
    interfaces = [_interface(one) for one in devices.get("interfaces") or []]
    if disks == (devices.get("disks") or []) and interfaces == (devices.get("interfaces") or []):
        return None
    changed: Object = {"disks": disks, **({"interfaces": interfaces} if interfaces else {})}
    return {"spec": {"domain": {"devices": changed}}}


def _devices(vm: Object) -> Object:
    found: Object = vm["spec"]["template"]["spec"]["domain"].get("devices") or {}
    return found


def _disk(disk: Object) -> Object:
    own = disk.get("disk")
    if not own or own.get("bus") not in FROM_BUSES:
        return disk
    return {**disk, "disk": {**own, "bus": str(Bus.SATA)}}


def _interface(interface: Object) -> Object:
    """A device of the host has no model."""
    if interface.get("sriov") is not None or interface.get("model") not in FROM_MODELS:
        return interface
    return {**interface, "model": str(InterfaceModel.E1000E)}
