"""A source that remembers when its one VM was started and stopped, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import PowerPlan
from steps.model.power import PowerMark
from steps.providers import Access
from tests.unit.providers import FakeProvider

US = "vmferry"


@dataclass
class PowerSource(FakeProvider):
    """The log has an entry for each start and stop, with the account; positions are indexes in it."""

    machine: Machine
    is_running: bool = True
    log: list[tuple[str, str]] = field(default_factory=list)
    fails: StepError | None = None
    """Raised by the next start."""
    down: StepError | None = None
    """Raised when the source is asked for anything."""
    slow: int = 0
    """How often the VM is still on after a shutdown was asked for."""

    def start(self, who: str) -> None:
        self.log.append(("start", who))
        self.is_running = True

    def stop(self, who: str) -> None:
        self.log.append(("stop", who))
        self.is_running = False

    @contextmanager
    def connect(self, _: Access) -> Iterator[PowerSource]:
        if self.down is not None:
            raise self.down
        yield self

    def release(self) -> list[str]:
        return []

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        if self.is_running:
            self.stop(US)

    def power_on(self, machine: Machine) -> None:
        if self.fails is not None:
            raise self.fails
        if not self.is_running:
            self.start(US)

    def is_on(self, machine: Machine) -> bool:
        if self.slow:
            self.slow -= 1
            return True
        return self.is_running

    def power_mark(self, machine: Machine) -> PowerMark:
        return PowerMark(position=str(len(self.log)))

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        starts = [who for what, who in self.log[int(mark.position) :] if what == "start"]
        return f"{starts[0]} started it" if starts else None

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        since = self.log[int(mark.position) :]
        return bool(since) and since[-1] == ("stop", US)


UNREACHABLE = StepError(Exit.UNREACHABLE, "cannot log in", "it does not answer")
