"""What an import asks for about the new VM (`VmSettings`), written into its manifest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from steps.model import patching
from steps.model.contract import Exit, StepError
from steps.model.kinds import API_VERSION
from steps.model.mapping import Shape
from steps.model.naming import is_reserved_key, shown
from steps.model.plan import Plan
from steps.model.vm_settings import RunStrategy, VmSettings

HALTED: Final = "Halted"
"""The run strategy of a VM that is off until somebody starts it."""


def run_strategy(shape: Shape) -> str:
    """The run strategy of the VM once the import is complete."""
    wanted = shape.settings.run_strategy
    if shape.start:
        return str(wanted or RunStrategy.RERUN_ON_FAILURE)
    return str(RunStrategy.MANUAL) if wanted is RunStrategy.MANUAL else HALTED


def applied(manifest: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The manifest of the VM with what the import asks for; the patch is the last of it."""
    settings, made = shape.settings, dict(manifest)
    made["metadata"] = _metadata(manifest["metadata"], shape)
    spec = dict(manifest["spec"])
    template = dict(spec["template"])
    template["spec"] = _template_spec(template["spec"], shape)
    for name in ("instancetype", "preference"):
        if (matcher := getattr(settings, name)) is not None:
            spec[name] = {"kind": matcher.kind, "name": matcher.name}
    made["spec"] = {**spec, "runStrategy": run_strategy(shape), "template": template}
    return patching.patched(made, settings.patch) if settings.patch else made


def _metadata(metadata: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Our own labels are reserved keys, so none of theirs can replace one."""
    annotations = {**metadata.get("annotations", {}), **shape.annotations}
    return {
        **metadata,
        "labels": {**shape.labels, **metadata["labels"]},
        **({"annotations": annotations} if annotations else {}),
    }


def _template_spec(spec: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    eviction = shape.settings.eviction_strategy
    return {
        **spec,
        **({"evictionStrategy": str(eviction)} if eviction else {}),
        **_scheduling(shape.settings),
        "domain": _domain(spec["domain"], shape),
    }


def _scheduling(settings: VmSettings) -> dict[str, Any]:
    fields = {
        "nodeSelector": dict(settings.node_selector),
        "affinity": dict(settings.affinity),
        "tolerations": [dict(one) for one in settings.tolerations],
    }
    return {name: value for name, value in fields.items() if value}


def scheduling(shape: Shape) -> dict[str, Any]:
    """Where the VM may run: `nodeSelector`, `affinity` and `tolerations` of its pod, each only if it has one.

    They are those of the finished manifest, so the patch counts.
    """
    template = {"spec": {"template": {"spec": _scheduling(shape.settings)}}}
    found = patching.patched(template, shape.settings.patch)["spec"]["template"]["spec"]
    return {name: found[name] for name in ("nodeSelector", "affinity", "tolerations") if found.get(name)}


def _domain(domain: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """KubeVirt refuses an instancetype for a VM with CPU, memory or limits (pkg/instancetype/conflict)."""
    made = dict(domain)
    if shape.settings.instancetype is not None:
        made = {name: part for name, part in made.items() if name not in ("cpu", "memory", "resources")}
    if shape.settings.persistent_efi and shape.firmware.kind == "efi":
        firmware = dict(made["firmware"])
        efi = {**firmware["bootloader"]["efi"], "persistent": True}
        made["firmware"] = {**firmware, "bootloader": {"efi": efi}}
    return made


# --- what a step checks again


def check_request(plan: Plan) -> None:
    """Check again what would let a VM do more than an import may ask for.

    The controller has checked it. But a step has rights, so it does not rely on the request.

    Raises:
        StepError: INVALID, with what is not allowed.
    """
    settings = plan.target.settings
    patching.check_patch(settings.patch, settings.patch_paths)
    if plan.import_.api_version != API_VERSION:
        return  # v2v.kubevirt.io has labels and annotations of its own
    rules = (rule.label for rule in settings.tag_labels)
    for key in (*plan.target.vm_labels, *plan.target.vm_annotations, *rules):
        if is_reserved_key(key):
            raise StepError(
                Exit.INVALID,
                f"the key {shown(key)} of a label or an annotation is refused",
                "it is reserved",
                "remove it from spec.virtualMachine, then retry",
            )


# --- for people


def words(shape: Shape) -> Iterator[str]:
    """What the import asks for, each as a line for a plan."""
    settings = shape.settings
    lines = {
        "CPU and memory": f"those of {settings.instancetype}" if settings.instancetype else "",
        "preference": str(settings.preference or ""),
        "power state": _power_words(shape),
        "run strategy": run_strategy(shape) if settings.run_strategy else "",
        "eviction strategy": str(settings.eviction_strategy or ""),
        "affinity": ", ".join(sorted(settings.affinity)),
        "tolerations": str(len(settings.tolerations) or ""),
        "EFI variables": _efi_words(shape),
    }
    yield from (f"{name}: {text}" for name, text in lines.items() if text)
    for name, texts in (
        ("label", shape.labels),
        ("annotation", shape.annotations),
        ("node selector", settings.node_selector),
    ):
        yield from (f"{name}: {key}={value}" for key, value in texts.items())
    for rule in settings.tag_labels:
        if rule.label not in shape.labels:
            yield f"label: {rule.label} is left out, because the VM has no tag {shown(rule.tag)}"
    yield from (f"patch: {path}" for path in patching.changed_paths(settings.patch))


def _power_words(shape: Shape) -> str:
    if not shape.settings.as_source:
        return ""
    return f"as at the source when the import began: {'on' if shape.start else 'off'}"


def _efi_words(shape: Shape) -> str:
    if not shape.settings.persistent_efi:
        return ""
    return "persistent" if shape.firmware.kind == "efi" else "none, because the VM boots with BIOS"
