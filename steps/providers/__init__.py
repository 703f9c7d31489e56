"""The protocol of a source of VMs. Differences between sources are data in `Machine`, not more methods.

To add a source: a package here with a class that has these methods, a row in `steps.model.sources`, a spec in
`workflows.api.sources`, an extra in pyproject.toml, and the suite `tests/provider_contract.py` run over it
(docs/contributing/add-a-source.md).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from steps.disk.land import Landed
from steps.disk.volume import Place
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine, Tag
from steps.model.plan import DiskFormat, PowerPlan, SourcePlan
from steps.model.power import PowerMark
from steps.model.source_mark import SourceMark
from steps.model.sources import SourceKind
from steps.runtime import proxy
from steps.runtime.stop import Stop

ProgressCallback = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """An entry of a source's inventory."""

    machines: tuple[Machine, ...]
    networks: tuple[str, ...]
    folders: tuple[str, ...]
    tags_unknown: str = ""
    """Why the tags of the VMs are not known, as a clause; "" if they are."""


class Marker(Protocol):
    """Marks a VM that is off, or removes the mark. Each method may be called twice; it raises StepError."""

    longest_name: int
    """Most characters of a VM's name at the source."""

    def has_tag(self, tag: str) -> bool:
        """Whether the VM has the tag."""

    def set_tag(self, tag: str, *, present: bool) -> None:
        """Give the VM an existing tag, or take it away. Raises StepError: NOT_FOUND if there is none."""

    def rename(self, old: str, new: str) -> None:
        """Give the VM the name `new`, if it is called `old`. Raises StepError: INVALID if neither fits."""

    def connect_nics(self, *, connected: bool) -> None:
        """Disconnect the NICs that were connected when the VM was described, or connect them again."""

    def lacks(self, mark: SourceMark) -> list[str]:
        """Why it cannot be marked so, as clauses; found without changing anything."""


class Provider(Protocol):
    """An open connection to a source. Leaving its context releases everything that it holds there."""

    def verify(self) -> None:
        """Prove that the source can be used as planned. Raises StepError."""

    def describe(self, vm: str, folder: str | None) -> Machine:
        """The VM named `vm`. Raises StepError: NOT_FOUND, AMBIGUOUS."""

    def networks(self) -> frozenset[str]:
        """Names of the networks to which VMs of this source can be attached."""

    def inventory(self) -> Inventory:
        """All VMs, in the source's own order of folders and names."""

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        """The tags, attributes or labels of the VM. Raises StepError: NOT_FOUND, DENIED."""

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        """Shut down the VM; a VM that is off is not touched. Raises StepError: POWER."""

    def power_on(self, machine: Machine) -> None:
        """Start the VM and wait until it runs; a VM that runs is not touched. Raises StepError: POWER."""

    def is_on(self, machine: Machine) -> bool:
        """Whether the VM runs now. Raises StepError: NOT_FOUND if it was deleted."""

    def power_mark(self, machine: Machine) -> PowerMark:
        """The present moment in the VM's power history. Raises StepError: DENIED if it cannot be seen."""

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        """Why the VM may have run since the mark, as a clause; None if it is proved that it has not.

        A VM that was started and is off again has run. Raises StepError: UNREACHABLE, DENIED, NOT_FOUND.
        """

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        """Whether this account asked for a shutdown since the mark, and nobody started the VM after it."""

    def marker(self, machine: Machine) -> Marker:
        """What marks the VM. Raises StepError: UNSUPPORTED if VMs of this source are not marked."""

    def export(
        self, machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        """Land one disk's content at `out`; resumes from the data of an earlier attempt."""

    def release(self) -> list[str]:
        """Release what killed attempts of this run left at the source; returns what could not be released."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """The arguments of `connect`."""

    plan: SourcePlan
    credentials: Path
    stop: Stop
    run: str
    """The run's name: sessions and temporary objects at the source carry it."""
    step: str
    """The connecting step and disk, such as `export-disk-0`: at most one is alive at a time."""
    state_folder: Path
    """A folder that outlives a killed attempt: it records what must be released."""
    machine: Machine | None = None
    """The VM of the import, once preflight has found it."""


def is_installed(kind: SourceKind) -> bool:
    """Whether the library of that kind's provider is installed: an image has only those of its own kind."""
    return not kind.library or importlib.util.find_spec(kind.library) is not None


def not_installed_message(kind: SourceKind) -> str:
    """The message for a kind without a provider."""
    here = ", ".join(other for other in SourceKind if is_installed(other)) or "no source"
    return f"this installation has no provider for {kind}: it imports from {here}"


def not_marked(kind: SourceKind) -> StepError:
    """The error of a source whose VMs are not marked. The plan refuses such an import before."""
    return StepError(
        Exit.UNSUPPORTED, f"VMs of {kind} are not marked", kind.no_mark, "remove spec.markSource"
    )


def connect(access: Access) -> AbstractContextManager[Provider]:
    """Open the source, importing only the module of its kind.

    Raises:
        StepError: UNSUPPORTED if there is no provider of that kind; the errors of connecting.
    """
    if (wanted := access.plan.proxy) is not None:
        proxy.use(wanted.http, wanted.https, wanted.no_proxy)
    kind = access.plan.kind
    if not is_installed(kind):
        remedy = f"install vmferry with the extra {kind.provider}"
        raise StepError(Exit.UNSUPPORTED, "ProviderNotInstalled", not_installed_message(kind), remedy)
    module: Any = importlib.import_module(f"steps.providers.{kind.provider}")
    opened: AbstractContextManager[Provider] = module.connect(access)
    return opened
