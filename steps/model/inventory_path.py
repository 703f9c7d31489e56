"""Inventory paths of vSphere in `spec.virtualMachineName`: /DATACENTER/vm/FOLDER/NAME. Pure.

The folder `vm` of a datacenter holds all its VMs (vSphere Web Services API, Datacenter.vmFolder). A name of a
VM has no slash in this notation: vSphere writes it as %2f (ManagedEntity.name).
"""

from __future__ import annotations

from typing import Final

from steps.model.sources import SourceKind

_VM_FOLDER: Final = "vm"


def is_full(path: str) -> bool:
    """Whether a path begins with a datacenter and its folder `vm`: /DC/vm, /FOLDER/DC/vm/WEB and so on."""
    return path.startswith("/") and _VM_FOLDER in _names(path)[1:]


def of_import(kind: str, vm: str, folder: str | None) -> tuple[str, str | None]:
    """Name and folder of the VM of an import; only vSphere has inventory paths. Raises as `split`."""
    return split(vm, folder) if kind.lower() == SourceKind.VMWARE.lower() else (vm, folder)


def split(vm: str, folder: str | None) -> tuple[str, str | None]:
    """Name and folder of a VM. One that is no inventory path stays as it is, with its folder.

    Raises:
        ValueError: the path contradicts `folder`.
    """
    names = _names(vm)
    if not vm.strip().startswith("/") or _VM_FOLDER not in names[1:-1]:
        return vm, folder
    found = "/" + "/".join(names[:-1])
    if folder and not _fits(tuple(names[:-1]), tuple(_names(folder))):
        raise ValueError(f"{vm!r} is not in the folder {folder!r}")
    return names[-1], found


def _fits(path: tuple[str, ...], folder: tuple[str, ...]) -> bool:
    """Whether `folder` means the same folder: a full path, or one below the folder `vm`."""
    below = [path[number + 1 :] for number, name in enumerate(path) if number and name == _VM_FOLDER]
    return folder == path or folder in below


def _names(path: str) -> list[str]:
    return [name for name in path.strip().split("/") if name]
