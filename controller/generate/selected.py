"""Imports of the VMs of a source that patterns select, without manifests."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterable, Sequence

from controller.generate.manifest import manifest
from controller.generate.mappingfile import Places
from controller.generate.naming import Choice, choices
from controller.manifests.environment import Environment
from controller.manifests.read import InvalidManifestsError, Manifests
from controller.manifests.resolve import Job, credentials_of
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.patterns import fits_vm, unused
from workflows.api.mapping import ImportMapping
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import Source
from workflows.plan import Invalid, plan
from workflows.settings import Settings

SIMILAR_SHOWN = 3
"""How many similar names an error lists."""


def jobs_of(
    patterns: Sequence[str],
    machines: Sequence[Machine],
    source: Source,
    given: Manifests,
    environment: Environment,
    settings: Settings,
    mapping: ImportMapping | None,
) -> list[Job]:
    """An import for each VM that a pattern fits, in the order of the source.

    The names of the imports are those of `vmferry inventory --all --manifest`.

    Raises:
        StepError: NOT_FOUND, if a pattern fits no VM.
        InvalidManifestsError: if an import cannot be planned.
    """
    if left := unused(patterns, machines):
        raise _missing(left, machines)
    fits = fits_vm(patterns)
    faults: list[str] = []
    jobs: list[Job] = []
    for choice in choices(machines, source, {}, ()):
        if not fits(choice.machine):
            continue
        try:
            request = plan(_import(choice), choice.source, settings, mapping)
            jobs.append(Job(request, credentials_of(choice.source, given, environment)))
        except Invalid as error:
            faults += [f"{choice.machine.path or choice.name}: {reason}" for reason in error.reasons]
    if faults:
        raise InvalidManifestsError(faults)
    return jobs


def _import(choice: Choice) -> VirtualMachineImport:
    document = manifest(choice, Places(), {nic.id: nic.network for nic in choice.machine.nics})
    # An import outside a cluster has no uid, but its sessions and temporary objects need one.
    document["metadata"]["uid"] = str(uuid.uuid4())
    return VirtualMachineImport.model_validate(document, by_alias=True, by_name=False)


def _missing(patterns: Iterable[str], machines: Sequence[Machine]) -> StepError:
    names = {machine.name for machine in machines}
    similar = [
        name for pattern in patterns for name in difflib.get_close_matches(pattern, names, SIMILAR_SHOWN)
    ]
    why = f"there are VMs called {', '.join(similar)}" if similar else f"none of its {len(machines)} VMs fits"
    listed = ", ".join(repr(pattern) for pattern in patterns)
    return StepError(Exit.NOT_FOUND, f"there is no VM {listed}", why, "see `vmferry inventory`")
