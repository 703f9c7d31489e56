"""`spec.virtualMachine` of an import in the request, and what is wrong with it. Pure.

The API server has checked a part of this by the schema already. A manifest in a file has not been there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from steps.model import foreign_yaml, patching
from steps.model.naming import (
    is_label_value,
    is_metadata_key,
    is_namespace,
    is_object_name,
    is_reserved_key,
    shown,
)
from steps.model.plan import TargetKind
from steps.model.vm_settings import Matcher, PowerState, RunStrategy, TagLabel, VmSettings
from workflows.api.spec import VirtualMachineImportSpec
from workflows.api.vm import (
    LONGEST_PATCH,
    MOST_ANNOTATIONS,
    MOST_LABELS,
    MOST_RULES,
    MOST_SELECTORS,
    MOST_TERMS,
    MOST_TOLERATIONS,
    InstancetypeKind,
    PreferenceKind,
    Toleration,
    TolerationOperator,
    VirtualMachineSettings,
)
from workflows.settings import Settings

AT: Final = "spec.virtualMachine"
MOST_BRACKETS: Final = 500
"""Opening brackets of a patch: the time of the parser grows with the square of their depth."""


def of_import(spec: VirtualMachineImportSpec, settings: Settings) -> VmSettings:
    """The settings of the request, of an import without `reasons`."""
    vm = spec.virtual_machine
    if vm is None:
        return VmSettings()
    patch = parsed_patch(vm.patch or "")
    return VmSettings(
        tag_labels=tuple(TagLabel(tag=row.tag, label=row.label) for row in vm.tag_labels),
        instancetype=_matcher(vm.instancetype, InstancetypeKind.CLUSTER),
        preference=_matcher(vm.preference, PreferenceKind.CLUSTER),
        run_strategy=vm.run_strategy,
        eviction_strategy=vm.eviction_strategy,
        node_selector=vm.node_selector,
        affinity=_plain(vm.affinity) if vm.affinity is not None else {},
        tolerations=tuple(_plain(one) for one in vm.tolerations),
        as_source=vm.power_state is PowerState.AS_SOURCE,
        persistent_efi=bool(vm.persistent_efi_variables),
        patch=patch,
        patch_paths=settings.patch_paths if patch else (),
    )


def namespace_of(spec: VirtualMachineImportSpec, own: str) -> str:
    """The namespace of the new VM; `own` is that of the import."""
    return (spec.virtual_machine.namespace if spec.virtual_machine else None) or own


def is_started(spec: VirtualMachineImportSpec) -> bool:
    """Whether the new VM is started. `asSource` is decided when the VM is known: until then, it is."""
    vm = spec.virtual_machine
    off = vm is not None and vm.power_state is PowerState.OFF
    return spec.start_virtual_machine is not False and not off


def _matcher(reference: Any, default: str) -> Matcher | None:
    if reference is None:
        return None
    return Matcher(kind=str(reference.kind or default), name=reference.name)


def _plain(model: Any) -> dict[str, Any]:
    """What a person wrote, as JSON."""
    found: dict[str, Any] = model.model_dump(
        by_alias=True, mode="json", exclude_unset=True, exclude_none=True
    )
    return found


def parsed_patch(text: str) -> dict[str, Any]:
    """A patch as JSON.

    Raises:
        ValueError: with the reason, as a part of a sentence.
    """
    if not text.strip():
        return {}
    if len(text) > LONGEST_PATCH:
        raise ValueError(f"it has {len(text)} characters; write at most {LONGEST_PATCH}")
    if text.count("[") + text.count("{") > MOST_BRACKETS:
        raise ValueError(f"it has more than {MOST_BRACKETS} opening brackets")
    try:
        found = foreign_yaml.load(text)
        document = json.loads(json.dumps(found, allow_nan=False))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is not the YAML of JSON values ({_words(error)})") from None
    if not isinstance(document, dict):
        raise ValueError("it is not an object: write a part of a VirtualMachine, such as `spec:`")  # noqa: TRY004
    return document


def _words(error: Exception) -> str:
    return str(error) if type(error) is ValueError else type(error).__name__


# --- what is wrong


def reasons(spec: VirtualMachineImportSpec, settings: Settings) -> Iterator[str]:
    """What is wrong with the settings of the new VM, each as a sentence."""
    vm = spec.virtual_machine
    if vm is None:
        return
    if counted := list(_counts(vm)):
        yield from counted
        return
    if vm.namespace is not None and not is_namespace(vm.namespace):
        yield f"{AT}.namespace {shown(vm.namespace)} is not a valid namespace; remove it, or write another"
    yield from _label_reasons(vm.labels)
    for key in vm.annotations:
        yield from _key_reasons(f"{AT}.annotations", key)
    yield from _tag_reasons(vm)
    yield from _matcher_reasons(spec, settings)
    yield from _power_reasons(spec)
    yield from _selector_reasons(vm.node_selector)
    for number, toleration in enumerate(vm.tolerations):
        yield from (f"{AT}.tolerations[{number}] {reason}" for reason in _toleration_reasons(toleration))
    yield from _affinity_reasons(_plain(vm.affinity) if vm.affinity is not None else {})
    yield from _patch_reasons(vm.patch or "", settings)


def _counts(vm: VirtualMachineSettings) -> Iterator[str]:
    for name, count, most in (
        ("labels", len(vm.labels), MOST_LABELS),
        ("annotations", len(vm.annotations), MOST_ANNOTATIONS),
        ("tagLabels", len(vm.tag_labels), MOST_RULES),
        ("nodeSelector", len(vm.node_selector), MOST_SELECTORS),
        ("tolerations", len(vm.tolerations), MOST_TOLERATIONS),
    ):
        if count > most:
            yield f"{AT}.{name} has {count} entries; write at most {most}"


def _label_reasons(labels: Mapping[str, str]) -> Iterator[str]:
    for key, value in labels.items():
        yield from _key_reasons(f"{AT}.labels", key)
        if not is_label_value(value):
            yield f"{AT}.labels: {shown(value)} of {shown(key)} is not the value of a label"


def _key_reasons(at: str, key: str) -> Iterator[str]:
    if is_reserved_key(key):
        yield (
            f"{at}: the key {shown(key)} is reserved, as are all keys of harvesterhci.io and kubevirt.io and "
            "those that begin with migration.; remove it"
        )
    elif not is_metadata_key(key):
        yield f"{at}: {shown(key)} is not a key: write NAME or DOMAIN/NAME, such as example.com/team"


def _tag_reasons(vm: VirtualMachineSettings) -> Iterator[str]:
    labels = [row.label for row in vm.tag_labels]
    for number, row in enumerate(vm.tag_labels):
        at = f"{AT}.tagLabels[{number}]"
        if not row.tag:
            yield f"{at} has no tag: write the name of a category, attribute or key at the source"
        yield from _key_reasons(at, row.label)
        if row.label in labels[:number]:
            yield f"{at}: an earlier row has the label {shown(row.label)} too; keep one of them"


def _matcher_reasons(spec: VirtualMachineImportSpec, settings: Settings) -> Iterator[str]:
    vm = spec.virtual_machine
    assert vm is not None  # noqa: S101 - for the type checker
    for name, reference in (("instancetype", vm.instancetype), ("preference", vm.preference)):
        if reference is not None and not is_object_name(reference.name):
            yield f"{AT}.{name}.name {shown(reference.name)} is not a valid name; see: kubectl get {name}"
    if vm.instancetype is None:
        return
    if settings.target is TargetKind.HARVESTER:
        yield (
            f"{AT}.instancetype cannot be used with the target harvester, which sets the CPU of each VM "
            "itself; remove it, and set spec.cpus and spec.memory"
        )
    given = [name for name, value in (("spec.cpus", spec.cpus), ("spec.memory", spec.memory)) if value]
    if given:
        yield f"{AT}.instancetype gives the VM its CPU and memory; remove it, or {' and '.join(given)}"


def _power_reasons(spec: VirtualMachineImportSpec) -> Iterator[str]:
    vm = spec.virtual_machine
    assert vm is not None  # noqa: S101 - for the type checker
    if vm.power_state is not None and spec.start_virtual_machine is not None:
        yield f"{AT}.powerState and spec.startVirtualMachine are both set; keep {AT}.powerState"
    if vm.run_strategy is None:
        return
    if vm.run_strategy is RunStrategy.MANUAL:
        if is_started(spec):
            yield f'{AT}.runStrategy is Manual, so KubeVirt does not start the VM; write powerState: "off"'
    elif not is_started(spec):
        yield (
            f"{AT}.runStrategy is {vm.run_strategy}, so KubeVirt would start the VM, but it shall stay off; "
            "remove runStrategy, or write Manual"
        )


def _selector_reasons(selector: Mapping[str, str]) -> Iterator[str]:
    for key, value in selector.items():
        if not is_metadata_key(key):
            yield f"{AT}.nodeSelector: {shown(key)} is not the key of a label"
        if not is_label_value(value):
            yield f"{AT}.nodeSelector: {shown(value)} is not the value of a label"


def _toleration_reasons(toleration: Toleration) -> Iterator[str]:
    """As in k8s.io/kubernetes pkg/apis/core/validation, ValidateTolerations."""
    if toleration.key and not is_metadata_key(toleration.key):
        yield f"has {shown(toleration.key)}, which is not the key of a taint"
    exists = toleration.operator is TolerationOperator.EXISTS
    if not toleration.key and not exists:
        yield "has no key; write one, or operator: Exists for all taints"
    if exists and toleration.value:
        yield f"has the operator Exists and the value {shown(toleration.value)}; remove one of the two"
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        yield "has tolerationSeconds, which needs the effect NoExecute"
    if toleration.toleration_seconds is not None and toleration.toleration_seconds < 0:
        yield f"has the tolerationSeconds {toleration.toleration_seconds}; write 0 or more"


def _affinity_reasons(value: Any) -> Iterator[str]:
    """Only the size: KubeVirt checks the rest when `admit` asks it, before the VM is shut down."""
    pending, found = [value], 0
    while pending:
        part = pending.pop()
        inner: Iterable[Any] = (
            part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        )
        if isinstance(part, list) and len(part) > MOST_TERMS:
            found = max(found, len(part))
        pending += inner
    if found:
        yield f"{AT}.affinity has a list with {found} entries; write at most {MOST_TERMS}"


def _patch_reasons(text: str, settings: Settings) -> Iterator[str]:
    try:
        patch = parsed_patch(text)
    except ValueError as error:
        yield f"{AT}.patch cannot be read: {error}"
        return
    if patch:
        yield from (f"{AT}.patch: {reason}" for reason in patching.reasons(patch, settings.patch_paths))
