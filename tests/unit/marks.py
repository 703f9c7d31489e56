"""A source whose one VM can be marked, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from steps.model.contract import StepError
from steps.model.machine import Machine
from steps.model.source_mark import SourceMark
from tests.unit.power import PowerSource


@dataclass
class FakeMarker:
    """Remembers what was changed, in order."""

    name: str
    tags: set[str] = field(default_factory=set)
    connected: bool = True
    done: list[str] = field(default_factory=list)
    fails: dict[str, StepError] = field(default_factory=dict)
    """By method: raised once."""
    missing: list[str] = field(default_factory=list)
    longest_name: int = 20

    def lacks(self, mark: SourceMark) -> list[str]:
        return self.missing

    def has_tag(self, tag: str) -> bool:
        if "has_tag" in self.fails:
            raise self.fails.pop("has_tag")
        return tag in self.tags

    def set_tag(self, tag: str, *, present: bool) -> None:
        self._note("set_tag")
        (self.tags.add if present else self.tags.discard)(tag)

    def rename(self, old: str, new: str) -> None:
        self._note("rename")
        if self.name == old:
            self.name = new

    def connect_nics(self, *, connected: bool) -> None:
        self._note("connect_nics")
        self.connected = connected

    def _note(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            raise self.fails.pop(what)


@dataclass
class MarkedSource(PowerSource):
    """The VM of a `PowerSource`, which can be marked."""

    marks: FakeMarker = field(default_factory=lambda: FakeMarker("web01"))

    def marker(self, machine: Machine) -> FakeMarker:
        return self.marks

    def power_on(self, machine: Machine) -> None:
        self.marks.done.append("power_on")
        super().power_on(machine)
