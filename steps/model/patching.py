"""The patch of an import over its finished VirtualMachine: what it may change, and how it is applied. Pure.

A patch is a JSON merge patch (RFC 7386): a part of the manifest, with the values to set; null removes a
field. It may change only the paths that the installation lists, each as names with dots between them, and
everything below them. Some parts no installation can allow: `_FORBIDDEN`, `_SOURCES` and reserved metadata.

`workflows.vm_settings` checks it when an import is planned. `steps.admit` and `steps.build` check it again,
because they trust the request no more than an import.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.model.naming import is_reserved_key, shown

MOST_BYTES: Final = 16 << 10
"""Of a patch as JSON."""
DEEPEST: Final = 32
"""Levels of a patch. A VirtualMachine has some fifteen."""
MOST_REASONS: Final = 10
DEFAULT_PATHS: Final = (
    *(f"spec.template.spec.domain.cpu.{name}" for name in ("model", "features")),
    *(
        f"spec.template.spec.domain.devices.{name}"
        for name in (
            *("autoattachGraphicsDevice", "autoattachInputDevice", "autoattachMemBalloon"),
            *("autoattachSerialConsole", "blockMultiQueue", "inputs", "logSerialConsole"),
            *("networkInterfaceMultiqueue", "panicDevices", "rng", "sound", "video", "watchdog"),
        )
    ),
    *(
        f"spec.template.spec.{name}"
        for name in ("affinity", "nodeSelector", "tolerations", "topologySpreadConstraints")
    ),
)
"""CPU model, devices without access to the host, scheduling."""

Path = tuple[str, ...]

_DISKS: Final = "the disks and volumes of the VM are those of the import: use spec.diskMapping"
_HOST: Final = "it gives the guest access to the host"
_START: Final = "it would start the VM before the import is complete: use powerState and runStrategy"
_FIELD: Final = "use the field of spec.virtualMachine"
_FORBIDDEN: Final[Mapping[Path, str]] = {
    tuple(path.lower().split(".")): why
    for path, why in {
        "spec.running": _START,
        "spec.runStrategy": _START,
        "spec.instancetype": _FIELD,
        "spec.preference": _FIELD,
        "spec.dataVolumeTemplates": _DISKS,
        "spec.updateVolumesStrategy": _DISKS,
        "spec.template.spec.volumes": _DISKS,
        "spec.template.spec.utilityVolumes": _DISKS,
        "spec.template.spec.domain.devices.disks": _DISKS,
        "spec.template.spec.domain.devices.filesystems": _DISKS,
        "spec.template.spec.accessCredentials": "it gives the guest the content of a Secret",
        "spec.template.spec.resourceClaims": _HOST,
        "spec.template.spec.domain.devices.hostDevices": _HOST,
        "spec.template.spec.domain.devices.gpus": _HOST,
        "spec.template.spec.domain.devices.downwardMetrics": _HOST,
        "spec.template.spec.domain.devices.clientPassthrough": _HOST,
        "spec.template.spec.domain.devices.autoattachVSOCK": _HOST,
        "spec.template.spec.domain.firmware.kernelBoot": "it boots the guest from another image",
        "spec.template.spec.domain.firmware.acpi": "it reads a volume that is no disk",
    }.items()
}
"""What a patch never changes, whatever the installation allows: paths in lower case, as some decoders of JSON
ignore the case of a name."""
_ANYWHERE: Final = ("accesscredentials", "gpus", "hostdevices", "hostdisk", "ownerreferences")
"""Names that are refused wherever they are, also inside a list."""
_SOURCES: Final = ("secret", "configmap", "serviceaccount")
"""Parts of the names of all fields by which a VM refers to such an object: secret, secretRef, secretName,
imagePullSecret, configMap, serviceAccount, serviceAccountName and so on (core/v1 schema.go)."""
_FREE_KEYS: Final = ("annotations", "labels", "matchLabels", "nodeSelector")
"""Objects whose keys a person chooses."""
_METADATA: Final[tuple[Path, ...]] = (("metadata",), ("spec", "template", "metadata"))
_MAPS: Final = ("annotations", "labels")


def reasons(patch: Mapping[str, Any], allowed: Sequence[str]) -> Iterator[str]:
    """Why a patch is refused, each as a sentence that begins with the path; nothing if it may be applied."""
    if not patch:
        return
    if excess := _excess(patch):
        yield excess
        return  # the other checks walk through the patch
    paths = [tuple(path.split(".")) for path in allowed]
    found = (reason for path, value in _leaves(patch) for reason in _reasons_of(path, value, paths))
    unique = list(dict.fromkeys(found))
    yield from unique[:MOST_REASONS]
    if len(unique) > MOST_REASONS:
        yield f"and {len(unique) - MOST_REASONS} more reasons"


def patched(manifest: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a patch that `reasons` accepts. Neither of the two is changed."""
    merged: dict[str, Any] = _merged(manifest, patch)
    return merged


def check_patch(patch: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Check a patch before it is applied.

    Raises:
        StepError: INVALID, with every reason.
    """
    found = list(reasons(patch, allowed))
    if found:
        raise StepError(
            Exit.INVALID,
            "the patch of the VM is refused",
            " | ".join(found),
            "correct spec.virtualMachine.patch, then retry",
        )


def changed_paths(patch: Mapping[str, Any]) -> list[str]:
    """The paths that a patch sets or removes, for people."""
    return [".".join(path) for path, _ in _leaves(patch) if path]


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _excess(patch: Mapping[str, Any]) -> str:
    """Why a patch is too large to be looked at; empty if it is not. Needs no recursion."""
    level: list[Any] = [patch]
    for _ in range(DEEPEST):
        level = [part for value in level for part in _parts(value)]
        if not level:
            break
    else:
        return f"the patch has more than {DEEPEST} levels"
    size = len(json.dumps(patch).encode())
    return f"the patch has {size} bytes; write at most {MOST_BYTES}" if size > MOST_BYTES else ""


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """What the patch sets: every value that is not an object with members, with its path."""
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _leaves(part, (*path, name))
    else:
        yield path, value


def _reasons_of(path: Path, value: Any, allowed: Iterable[Path]) -> Iterator[str]:
    where = _dotted(path)
    if why := _forbidden(path):
        yield f"{where} cannot be patched: {why}"
        return
    if metadata := _metadata_reason(path, value):
        yield f"{where} cannot be patched: {metadata}"
        return
    for name in _names(path, value):
        if name.lower() in _ANYWHERE:
            yield f"{where} cannot be patched: it contains {shown(name)}"
        elif any(source in name.lower() for source in _SOURCES):
            yield (
                f"{where} cannot be patched: it contains {shown(name)}, and a VM may not refer to a Secret, "
                "ConfigMap or ServiceAccount by a patch"
            )
    if not any(path[: len(one)] == one for one in allowed):
        yield (
            f"{where} is not among the paths that this installation allows; remove it, or ask its "
            "administrator to add it to the chart's value import.patchPaths"
        )


def _forbidden(path: Path) -> str:
    """Why no installation can allow this path; empty if one can."""
    if path[:1] not in (("metadata",), ("spec",)):
        return "only metadata and spec can be"
    folded = tuple(name.lower() for name in path)
    for one, why in _FORBIDDEN.items():
        shorter = min(len(path), len(one))
        # Also a value in place of an object that contains the forbidden part: it would remove that part.
        if folded[:shorter] == one[:shorter]:
            return why
    return ""


def _metadata_reason(path: Path, value: Any) -> str:
    """What is wrong with a change of metadata; empty if it may be made, or is none."""
    for at in _METADATA:
        if path[: len(at)] != at:
            continue
        field, key = path[len(at) : len(at) + 1], path[len(at) + 1 : len(at) + 2]
        if not field or field[0] not in _MAPS:
            return "of metadata, only labels and annotations can be"
        if not key:
            return "" if value == {} else f"{field[0]} must be an object"
        if is_reserved_key(key[0]):
            return "keys of harvesterhci.io, kubevirt.io and migration. are reserved"
        if len(path) > len(at) + 2 or not (value is None or isinstance(value, str)):
            return "the value must be a text"
    return ""


def _names(path: Path, value: Any) -> Iterator[str]:
    """Every name of a field in a path and in the value; without keys that a person chooses."""
    for number, name in enumerate(path):
        if not number or path[number - 1] not in _FREE_KEYS:
            yield name
    last = path[-1] if path else ""
    yield from _inner_names(value, free=last in _FREE_KEYS)


def _inner_names(value: Any, *, free: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not free:
                yield name
            yield from _inner_names(part, free=name in _FREE_KEYS)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _inner_names(part, free=False)


def _dotted(path: Path) -> str:
    """The path for a message: bounded, without control characters."""
    return shown(".".join(path) or "(the whole VM)")
