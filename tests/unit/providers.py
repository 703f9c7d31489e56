"""A source with one VM, in memory; it refuses every other request."""

from __future__ import annotations

from steps.disk.land import Landed
from steps.disk.volume import Place
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.model.power import PowerMark
from steps.providers import Inventory, Marker, ProgressCallback, Provider


class FakeProvider(Provider):
    """Knows one VM and one network, and changes nothing."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def verify(self) -> None:
        raise AssertionError("verify must not be called")

    def describe(self, vm: str, folder: str | None) -> Machine:
        if (vm, folder) != (self._machine.name, None):
            raise StepError(Exit.NOT_FOUND, f"no VM {vm}")
        return self._machine

    def networks(self) -> frozenset[str]:
        return frozenset({"VM Network"})

    def inventory(self) -> Inventory:
        return Inventory(machines=(self._machine,), networks=("VM Network",), folders=())

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        raise AssertionError("tags must not be called")

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        raise AssertionError("power_off must not be called")

    def power_on(self, machine: Machine) -> None:
        raise AssertionError("power_on must not be called")

    def is_on(self, machine: Machine) -> bool:
        raise AssertionError("is_on must not be called")

    def power_mark(self, machine: Machine) -> PowerMark:
        return PowerMark()

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        raise AssertionError("was_started_since must not be called")

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        raise AssertionError("was_shut_down_since must not be called")

    def marker(self, machine: Machine) -> Marker:
        raise AssertionError("marker must not be called")

    def export(
        self, machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        raise AssertionError("export must not be called")

    def release(self) -> list[str]:
        raise AssertionError("release must not be called")
