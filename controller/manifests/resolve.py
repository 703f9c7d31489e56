"""Resolves manifests, environment and options to imports that can be run."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.manifests.environment import ADDRESSES, MACHINES, NAME, Environment
from controller.manifests.read import InvalidManifestsError, Manifests, config_map
from controller.manifests.v2v import job_of
from steps.model import first_boot
from steps.model.contract import StepError
from steps.model.naming import normalise
from steps.model.patterns import matcher
from steps.model.plan import DiskWay, Plan, SourcePlan, TargetKind
from workflows import ways
from workflows.api.import_hook import ImportHook
from workflows.api.mapping import ImportMapping
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import (
    Source,
)
from workflows.api.spec import SourceReference
from workflows.hooks import hook_faults
from workflows.plan import Invalid, plan, source_plan, source_reasons
from workflows.settings import Settings, WantedWay


@dataclass(frozen=True)
class Job:
    """One import, resolved, with the credentials of its source (Secret keys and their values)."""

    plan: Plan
    credentials: dict[str, bytes]
    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Passphrases of encrypted devices."""
    scripts: Mapping[str, bytes] = field(default_factory=dict)
    """Scripts for the first start."""
    hooks: Mapping[str, ImportHook] = field(default_factory=dict)
    """The hooks of the import that the manifests define, by name."""

    @property
    def name(self) -> str:
        return self.plan.import_.name


@dataclass(frozen=True)
class MappingChoice:
    """How imports get their mappings, in addition to those that they name."""

    default: ImportMapping | None = None
    """The mapping of imports that name none."""
    are_ignored: bool = False
    """Whether the rows do not matter, as for the credentials of a run that has its rows already."""


MOST_NAMES: Final = 10
"""Imports that a message lists."""

ONLY_NAMED: Final = MappingChoice()
WITHOUT: Final = MappingChoice(are_ignored=True)


def jobs(
    manifests: Manifests,
    environment: Environment,
    settings: Settings,
    mappings: MappingChoice = ONLY_NAMED,
    vms: Sequence[str] = (),
) -> list[Job]:
    """Every given import, in its order; with `vms` only those for a VM that one of these patterns fits.

    Raises:
        InvalidManifestsError: with every reason of every import, or a pattern that fits no import.
    """
    imports = list(manifests.imports.values())
    if not imports and not manifests.v2v_imports:
        imports = list(environment.imports)
    if not imports and not manifests.v2v_imports:
        write = "write one (vmferry inventory --manifest NAME)"
        raise InvalidManifestsError(
            [f"no VirtualMachineImport given; {write}, or set {' or '.join(MACHINES)}"]
        )
    resolved, faults = [], []
    for import_ in imports:
        try:
            resolved.append(job(import_, manifests, environment, settings, mappings))
        except Invalid as error:
            faults += [f"VirtualMachineImport {import_.metadata.name}: {reason}" for reason in error.reasons]
    for v2v_import in manifests.v2v_imports.values():
        try:
            resolved.append(Job(*job_of(v2v_import, manifests, settings)))
        except Invalid as error:
            name = v2v_import.metadata.name
            faults += [f"VirtualMachineImport {name}: {reason}" for reason in error.reasons]
    if not faults and vms:
        resolved, faults = _selected(resolved, vms)
    faults += clashes(resolved)
    if faults:
        raise InvalidManifestsError(faults)
    return resolved


def _selected(resolved: Sequence[Job], vms: Sequence[str]) -> tuple[list[Job], list[str]]:
    """The imports for these VMs, and a fault for each pattern that fits none."""
    fits = matcher(vms)
    unused = [vm for vm in vms if not any(map(matcher([vm]), map(_names, resolved)))]
    known = ", ".join(job.name for job in resolved[:MOST_NAMES]) + (
        ", ..." if len(resolved) > MOST_NAMES else ""
    )
    faults = [f"no import is for a VM that fits {vm!r} (imports: {known})" for vm in unused]
    return [job for job in resolved if fits(_names(job))], faults


def _names(job: Job) -> tuple[str, ...]:
    """By what a person names the VM of an import: its name, its path, and the name of the import."""
    request = job.plan
    folder, datacenter = (request.folder or "").strip("/"), request.source.datacenter.strip("/")
    below = f"{folder}/{request.vm}" if folder else request.vm
    return request.vm, job.name, below, f"/{below}", f"/{datacenter}/vm/{below}"


def job(
    import_: VirtualMachineImport,
    manifests: Manifests,
    environment: Environment,
    settings: Settings,
    mappings: MappingChoice,
) -> Job:
    """One import, resolved. Raises Invalid with every reason."""
    # An import outside a cluster has no uid, but its sessions and temporary objects need one.
    metadata = import_.metadata.model_copy(update={"uid": str(uuid.uuid4())})
    import_ = import_.model_copy(update={"metadata": metadata})
    source = source_of(import_.spec.source_cluster, import_.metadata.namespace, manifests, environment)
    if faults := [*cluster_only(import_), *_target_faults(import_, settings)]:
        raise Invalid(faults)
    mapping = mapping_of(import_, manifests, mappings)
    planned = plan(import_, source, settings, mapping)
    credentials = credentials_of(source, manifests, environment)
    keys, scripts = _keys(import_, manifests), _scripts(import_, manifests)
    return Job(planned, credentials, keys, scripts, _hooks(planned, manifests))


def _hooks(planned: Plan, manifests: Manifests) -> dict[str, ImportHook]:
    """The given hooks that an import names, whatever their namespace. Raises Invalid if one is not usable."""
    wanted = {hook.name for hook in planned.hooks}
    found: dict[str, ImportHook] = {}
    for (_, name), hook in manifests.hooks.items():
        if name not in wanted:
            continue
        if name in found:
            raise Invalid([f"the hook {name} of spec.hooks is given in two namespaces; give one of them"])
        if wrong := list(hook_faults(hook)):
            raise Invalid(wrong)
        found[name] = hook
    return found


def refuse_hooks(resolved: Iterable[Job]) -> None:
    """Refuse imports with a hook that this computer does not run; a plan can be made of them.

    Raises:
        InvalidManifestsError: naming each of them.
    """
    faults = [
        f"VirtualMachineImport {job.name}: {why}"
        for job in resolved
        for name in dict.fromkeys(hook.name for hook in job.plan.hooks)
        if (why := why_not_here(name, job.hooks.get(name), job.plan.import_.namespace))
    ]
    if faults:
        raise InvalidManifestsError(faults)


def why_not_here(name: str, hook: ImportHook | None, namespace: str) -> str:
    """Why `vmferry run` cannot run a hook; empty if it can."""
    if hook is None:
        return (
            f"the hook {name} of spec.hooks is not given; add an ImportHook with `command` to the manifests"
        )
    if not hook.spec.allows(namespace):
        return f"{hook.title} is not for imports of namespace {namespace}; add it to allowedNamespaces"
    if not hook.spec.command:
        what = "a container" if hook.spec.container is not None else "a WorkflowTemplate"
        return (
            f"{hook.title} has {what}, which `vmferry run` does not run; give an ImportHook of that name "
            "with `command`, or import with vmferry in the cluster"
        )
    return ""


def _keys(import_: VirtualMachineImport, manifests: Manifests) -> Mapping[str, bytes]:
    """The passphrases of spec.guest.keys. Raises Invalid if the Secret is not given or empty."""
    guest, namespace = import_.spec.guest, import_.metadata.namespace
    if guest is None or guest.keys is None:
        return {}
    found = manifests.secrets.get((namespace, guest.keys.name))
    if found is None or not found.values():
        what = "has no keys" if found is not None else "is not given; add it to the manifests"
        raise Invalid([f"Secret {namespace}/{guest.keys.name} of spec.guest.keys {what}"])
    return found.values()


def _scripts(import_: VirtualMachineImport, manifests: Manifests) -> Mapping[str, bytes]:
    """The scripts of spec.guest.firstBoot. Raises Invalid if they are not given or unusable."""
    guest, namespace = import_.spec.guest, import_.metadata.namespace
    if guest is None or guest.first_boot is None:
        return {}
    name = guest.first_boot.name
    found = config_map(manifests, namespace, name)
    if found is None or not found.values():
        what = "has no scripts" if found is not None else "is not given; add it to the manifests"
        raise Invalid([f"ConfigMap {namespace}/{name} of spec.guest.firstBoot {what}"])
    try:
        first_boot.scripts(found.values())
    except StepError as error:
        raise Invalid([str(error)]) from None
    return found.values()


def mapping_of(
    import_: VirtualMachineImport, manifests: Manifests, mappings: MappingChoice
) -> ImportMapping | None:
    """The mapping that an import names, else the default.

    Raises:
        Invalid: if it names one that is not given.
    """
    reference = import_.spec.import_mapping
    if mappings.are_ignored or reference is None or not reference.name:  # `plan` refuses an empty name
        return mappings.default
    place = (reference.namespace or import_.metadata.namespace, reference.name)
    default = mappings.default
    if default is not None and place == (default.metadata.namespace, default.metadata.name):
        return default
    found = manifests.import_mappings.get(place)
    if found is None:
        known = ", ".join("/".join(key) for key in manifests.import_mappings) or "none"
        raise Invalid(
            [
                f"ImportMapping {'/'.join(place)} of spec.importMapping is not given (found: {known}); add "
                "it to the manifests"
            ]
        )
    return found


def cluster_only(import_: VirtualMachineImport) -> Iterator[str]:
    """Fields that need a cluster. They are refused, as ignoring them would surprise."""
    spec = import_.spec
    if spec.dry_run:
        yield "spec.dryRun is set; run `vmferry plan`, or remove the field to import"
    if spec.approvals:
        yield "spec.approvals works only in a cluster; remove the field to import with `vmferry run`"
    if spec.profile:
        yield "spec.profile names a profile of an installation in a cluster; remove the field to import here"
    for name, wanted in (("suspend", spec.suspend), ("cancel", spec.cancel)):
        if wanted:
            yield f"spec.{name} is set; remove the field to import"


def _target_faults(import_: VirtualMachineImport, settings: Settings) -> Iterator[str]:
    """An import into a folder needs no cluster, so its target does not matter."""
    wanted, given = import_.spec.target, settings.target
    if wanted and given not in (TargetKind.DIRECTORY, TargetKind(wanted)):
        yield f"spec.target is {wanted}; run `vmferry run --to {wanted}`, or remove the field"
    if given is TargetKind.KUBEVIRT and settings.disks is WantedWay.LAND and not settings.mounts_claims:
        yield ways.EMBEDDED_LAND


def refuse_landing(resolved: Iterable[Job]) -> None:
    """Refuse imports that only pods can carry out; a plan can be made of them.

    Raises:
        InvalidManifestsError: naming each of them.
    """
    faults = [
        f"VirtualMachineImport {job.name}: {ways.EMBEDDED_VOLUME}"
        for job in resolved
        if job.plan.target.way is DiskWay.MIXED
    ]
    if faults:
        raise InvalidManifestsError(faults)


def clashes(resolved: Iterable[Job]) -> Iterator[str]:
    """A sentence for each two imports that would make VMs with one name."""
    taken: dict[tuple[str, str], str] = {}
    for job in resolved:
        key = (
            job.plan.target.namespace,
            job.plan.target.vm_name or normalise(job.plan.vm, job.plan.target.spelling),
        )
        if key in taken:
            yield (
                f"{taken[key]} and {job.name} would both become {'/'.join(key)}; "
                "set spec.targetVirtualMachineName in one of them"
            )
        taken[key] = job.name


def source_of(wanted: SourceReference, own: str, manifests: Manifests, environment: Environment) -> Source:
    """The source that an import of the namespace `own` names. Raises Invalid if it is not given."""
    namespace = wanted.namespace or own
    source = manifests.sources.get((wanted.kind.lower(), namespace, wanted.name))
    if source is not None:
        return _filled(source, environment)
    described = environment.source(wanted.kind)
    if described is not None and wanted.name in ("", NAME):
        return described  # only if the manifest names no other source: the VM there will be powered off
    known = ", ".join("/".join(key) for key in manifests.sources) or "none"
    raise Invalid(
        [f"its source {wanted.kind or '(no kind)'} {namespace}/{wanted.name} is not given (found: {known})"]
    )


def _filled(source: Source, environment: Environment) -> Source:
    """The source, with the address from the environment if the manifest has none."""
    spec, described = source.spec, environment.source(source.kind)
    if described is None or source.spec.address:
        return source
    filled = {name: getattr(spec, name) or getattr(described.spec, name) for name in spec.FROM_ENVIRONMENT}
    return source.model_copy(update={"spec": spec.model_copy(update=filled)})


def credentials_of(source: Source, manifests: Manifests, environment: Environment) -> dict[str, bytes]:
    """The values of the source's Secret; those of the environment if the manifests have none.

    Raises:
        Invalid: if neither has credentials.
    """
    reference = source.spec.credentials
    if reference is None and not source.spec.NEEDS_SECRET:
        return {}  # an archive may be public
    name = reference.name if reference else ""
    namespace = (reference.namespace if reference else "") or source.metadata.namespace
    secret = manifests.secrets.get((namespace, name))
    if secret is not None:
        return secret.values()
    if not name and (values := environment.credentials(source)):
        return values
    known = ", ".join("/".join(key) for key in manifests.secrets) or "none"
    raise Invalid(
        [f"Secret {namespace}/{name or '(spec.credentials is empty)'} is not given (found: {known})"]
    )


def only_source(manifests: Manifests, environment: Environment, name: str | None) -> Source:
    """The source to use, by NAME or KIND/NAME if there are several.

    Raises:
        InvalidManifestsError: if there is none, or the name does not select exactly one.
    """
    ours = [_filled(source, environment) for source in manifests.sources.values()]
    matching = _named(ours, name) or _named(environment.sources, name)
    if len(matching) != 1:
        names = ", ".join(_shown(ours or environment.sources)) or "none"
        remedy = f"select one with --source, or set {' or '.join(ADDRESSES)}"
        raise InvalidManifestsError([f"need exactly one source, found: {names}; {remedy}"])
    return matching[0]


def _named(sources: Iterable[Source], name: str | None) -> list[Source]:
    wanted = name.lower() if name else ""
    return [
        source
        for source in sources
        if wanted in ("", source.metadata.name, f"{source.kind}/{source.metadata.name}".lower())
    ]


def _shown(sources: Sequence[Source]) -> list[str]:
    """Their names, with the kind if names are ambiguous."""
    names = [source.metadata.name for source in sources]
    if len(set(names)) == len(names):
        return names
    return [f"{source.kind}/{source.metadata.name}" for source in sources]


def access(
    source: Source, manifests: Manifests, environment: Environment
) -> tuple[SourcePlan, dict[str, bytes]]:
    """How to reach a source, and its credentials.

    Raises:
        InvalidManifestsError: with every reason why it cannot be reached.
    """
    faults = list(source_reasons(source, local_files=True))
    if faults:
        raise InvalidManifestsError(faults)
    try:
        return source_plan(source), credentials_of(source, manifests, environment)
    except Invalid as error:
        raise InvalidManifestsError(error.reasons) from None
