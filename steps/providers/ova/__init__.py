"""An OVA as a source: a VM in a tar behind a URL, or the same as a folder of files.

address      the user's URL                 markup    XML without what makes it dangerous
source_file  a file: redirects, Range       units     sizes with their units
reader, tar  its bytes, the tar's members   envelope  the content of the descriptor: files, disks, systems
package      a tar or a folder, by names    items, hardware, vendors  its devices, and what makers add
manifest     digests                        describe, concerns  a VM as a document
                                            export    one disk, directly from its file
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from steps.disk.land import Landed
from steps.disk.volume import Place
from steps.model.machine import Disk, Machine, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.model.power import PowerMark
from steps.model.sources import SourceKind
from steps.providers import Access, Inventory, Marker, ProgressCallback, Provider, not_marked
from steps.providers.ova import describe, export
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.package import open_package

__all__ = ["OvaProvider", "connect"]


@contextmanager
def connect(access: Access) -> Iterator[Provider]:
    """Find the archive and detect its kind.

    Raises:
        StepError: INVALID (URL, credentials, or no archive), UNREACHABLE, UNTRUSTED, DENIED, NOT_FOUND.
    """
    with open_package(access) as package:
        yield OvaProvider(Appliance(package), access)


class OvaProvider:
    """An open package, as a provider."""

    def __init__(self, appliance: Appliance, access: Access) -> None:
        self._appliance = appliance
        self._access = access

    def verify(self) -> None:
        """Prove that there is a readable descriptor."""
        _ = self._appliance.envelope

    def describe(self, vm: str, folder: str | None) -> Machine:
        """The system with that name; the only system of a package gets that name."""
        del folder  # an archive has none
        return describe.machine(self._appliance, self._appliance.system(vm), vm)

    def networks(self) -> frozenset[str]:
        return frozenset(describe.networks(self._appliance.envelope))

    def inventory(self) -> Inventory:
        appliance = self._appliance
        machines = tuple(describe.machine(appliance, system) for system in appliance.envelope.systems)
        return Inventory(
            machines=machines,
            networks=tuple(sorted(self.networks())),
            folders=(),
            tags_unknown="an archive has no tags",
        )

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        """None: a descriptor has no tags."""
        return ()

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        """Nothing to do: a VM in an archive does not run."""

    def power_on(self, machine: Machine) -> None:
        """Nothing to do: a VM in an archive does not run."""

    def is_on(self, machine: Machine) -> bool:
        return False

    def power_mark(self, machine: Machine) -> PowerMark:
        """The content of the package: an archive is not started, but it may be replaced."""
        return PowerMark(position=self._appliance.content_digest())

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        is_same = mark.position == self._appliance.content_digest()
        return None if is_same else f"{self._appliance.package.display_url} was replaced by another package"

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        return False

    def marker(self, machine: Machine) -> Marker:
        raise not_marked(SourceKind.OVA)

    def export(
        self, machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        return export.export(self._appliance, self._access, machine, disk, out, disk_format, report)

    def release(self) -> list[str]:
        """Nothing to do: nothing is held at the source."""
        return []
