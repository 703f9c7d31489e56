"""What prevents the import of a VM, as far as an inventory shows it. Pure.

These are the checks of `preflight` with the settings of an installation that nobody has changed. A few need
more than an inventory has: the account's privileges, the quota at the source, and everything at the target.
`vmferry plan` makes those.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from steps.model.concerns import block, bounded, merged
from steps.model.kinds import API_VERSION
from steps.model.limits import exceeded
from steps.model.machine import Concern, Machine, Severity
from steps.model.mapping import shape
from steps.model.plan import Plan
from steps.preflight import power_reasons
from workflows.api.resources import Metadata, VirtualMachineImport
from workflows.api.sources import Source
from workflows.api.spec import SourceReference, VirtualMachineImportSpec
from workflows.plan import plan
from workflows.settings import Settings

OF_MAPPING: Final = frozenset({"network-unmapped", "network-left-out"})
"""Codes of concerns that say what a mapping lacks. An assessment has no mapping, and is about the VM."""
NO_SHUTDOWN: Final = "no-shutdown"
"""Code of a VM that cannot be shut down as an import without settings does it."""


class Readiness(enum.StrEnum):
    """Whether a VM can be imported now. The order is that of `--sort readiness`."""

    READY = "ready"
    WARNINGS = "warnings"
    """It can be imported, and something changes or is lost."""
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Assessed:
    """A VM and what an import would say about it."""

    machine: Machine
    blockers: tuple[Concern, ...] = ()
    warnings: tuple[Concern, ...] = ()

    @property
    def readiness(self) -> Readiness:
        if self.blockers:
            return Readiness.BLOCKED
        return Readiness.WARNINGS if self.warnings else Readiness.READY


def assess_all(machines: Iterable[Machine], source: Source) -> tuple[Assessed, ...]:
    """Every VM of a source, in the order given."""
    assess = assessor(source)
    return tuple(map(assess, machines))


def assessor(source: Source) -> Callable[[Machine], Assessed]:
    """Judges VMs of one source by an import without any setting."""
    return partial(_assess, _default_plan(source))


def _default_plan(source: Source) -> Plan:
    metadata = Metadata(name="assessment", namespace=source.metadata.namespace)
    reference = SourceReference(kind=source.kind, name=source.metadata.name, namespace=metadata.namespace)
    spec = VirtualMachineImportSpec(virtual_machine_name="any", source_cluster=reference)
    import_ = VirtualMachineImport(
        api_version=API_VERSION, kind="VirtualMachineImport", metadata=metadata, spec=spec
    )
    return plan(import_, source, Settings(local_files=True))


def _assess(request: Plan, machine: Machine) -> Assessed:
    every = bounded(
        merged(
            shape(request, machine).concerns,
            exceeded(machine, request.limits),
            (block(NO_SHUTDOWN, text) for _, text in power_reasons(request, machine)),
        )
    )
    found = [concern for concern in every if concern.code not in OF_MAPPING]
    by_severity = {severity: tuple(one for one in found if one.severity is severity) for severity in Severity}
    return Assessed(machine, by_severity[Severity.BLOCK], by_severity[Severity.WARN])
