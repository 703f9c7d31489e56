"""A source of machines, as five verbs. What differs between sources is data in `Machine`, not more verbs.

To add a source: one module here with a class that has these methods, one line in `_MODULES`, one extra in
pyproject.toml, and the suite `tests/provider_contract.py` run over it (docs/providers.md).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from steps.disk.land import Landed
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat, PowerPlan, SourceKind, SourcePlan
from steps.runtime.stop import Stop

Report = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What a source has, for a person who is about to choose."""

    machines: tuple[Machine, ...]
    networks: tuple[str, ...]
    folders: tuple[str, ...]


class Provider(Protocol):
    """An open connection to a source. Leaving its context gives back all it holds there."""

    def verify(self) -> None:
        """Prove that the source can be used as the plan says. Raises StepError."""

    def describe(self, vm: str, folder: str | None) -> Machine:
        """The one machine that `vm` names. Raises StepError: NOT_FOUND, AMBIGUOUS."""

    def networks(self) -> frozenset[str]:
        """Names of the networks that machines of this source can be attached to."""

    def inventory(self) -> Inventory:
        """Everything there is, in the source's own order of folders and names."""

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        """Shut the machine down; a machine that is off is not touched. Raises StepError: POWER."""

    def export(
        self, machine: Machine, disk: Disk, out: Path, disk_format: DiskFormat, report: Report
    ) -> Landed:
        """Land one disk's content at `out`, going on from what an earlier attempt left there."""

    def release(self) -> list[str]:
        """Give back what killed attempts of this run left at the source; returns what could not be."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who asks, with what: the arguments of `connect`."""

    plan: SourcePlan
    credentials: Path
    stop: Stop
    run: str
    """The run's name: sessions and temporary objects at the source carry it."""
    step: str
    """The step and disk that connects, such as `export-disk-0`: at most one is alive at a time."""
    memory: Path
    """A folder that outlives a killed attempt: what must be given back is noted here."""


_MODULES: Final[dict[SourceKind, tuple[str, str]]] = {
    SourceKind.VMWARE: ("steps.providers.vmware", "pyVmomi"),
    SourceKind.OPENSTACK: ("steps.providers.openstack", "openstack"),
    SourceKind.OVA: ("steps.providers.ova", ""),
}
"""The module of each kind, and the library it cannot do without: an image has those of its own kind only."""


def installed(kind: SourceKind) -> bool:
    """Whether a provider of that kind is here, with its library."""
    _, library = _MODULES[kind]
    return not library or importlib.util.find_spec(library) is not None


def not_installed(kind: SourceKind) -> str:
    """What to say of a kind that is not."""
    here = ", ".join(other for other in _MODULES if installed(other)) or "no source"
    return f"this installation has no provider for {kind}: it imports from {here}"


def connect(access: Access) -> AbstractContextManager[Provider]:
    """Open the source, importing only the module of its kind.

    Raises:
        StepError: UNSUPPORTED when there is no provider of that kind; what connecting raises.
    """
    kind = access.plan.kind
    if not installed(kind):
        remedy = f"install vmferry with the extra {_MODULES[kind][0].rpartition('.')[2]}"
        raise StepError(Exit.UNSUPPORTED, "ProviderNotInstalled", not_installed(kind), remedy)
    module: Any = importlib.import_module(_MODULES[kind][0])
    opened: AbstractContextManager[Provider] = module.connect(access)
    return opened
