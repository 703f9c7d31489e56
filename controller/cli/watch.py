"""Shows running imports: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live

from controller.cli.rates import Rates
from controller.cli.view import lines, phases, running_text, table, transfer_text, transferring
from workflows.status.nodes import Leaf, Phase, running

EVERY: Final = 5.0
"""Seconds between two plain lines about the same transfer."""
QUIET: Final = 30.0
"""Seconds without a line about a stage after which a plain line reports that it still runs."""


class Watch:
    """Displays running imports; `changed` is called with each new state."""

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._console = console
        self._clock = clock
        self._now = now
        self._states: dict[str, Mapping[str, Any]] = {}
        self._rates: dict[str, Rates] = {}
        self._before: dict[str, dict[str, Phase]] = {}
        self._printed_at: dict[str, float] = {}
        self._live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=4)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def forget(self, name: str) -> None:
        """Show a run no more: it has ended, and others begin."""
        for known in (self._states, self._rates, self._before, self._printed_at):
            known.pop(name, None)

    def changed(self, name: str, workflow: Mapping[str, Any]) -> None:
        """Store a run's new state and show it."""
        self._states[name] = workflow
        rates = self._rates.setdefault(name, Rates())
        for leaf in transferring(workflow):
            rates.note(leaf)
        if self._live is None:
            self._print(name, workflow, rates)

    def tick(self) -> None:
        """Print a line about each stage without recent output; the live table needs none."""
        if self._live is not None:
            return
        for name, workflow in self._states.items():
            for leaf in running(workflow):
                if self._is_due(name, leaf, QUIET):
                    self._print_line(
                        f"{name}: {leaf.title} {running_text(leaf, self._rates[name], self._now())}"
                    )

    def warn(self, name: str, message: str) -> None:
        """Print a warning about an import that continues."""
        self._print_line(f"{name}: warning: {message}")

    def _print(self, name: str, workflow: Mapping[str, Any], rates: Rates) -> None:
        before = self._before.get(name, {})
        for line in lines(name, before, workflow):
            self._print_line(line)
        self._before[name] = phases(workflow)
        for leaf in transferring(workflow):
            if self._is_due(name, leaf, EVERY):
                self._print_line(f"{name}: {leaf.title} {transfer_text(leaf, rates)}")

    def _is_due(self, name: str, leaf: Leaf, seconds: float) -> bool:
        """Whether the last line about an attempt is `seconds` old; if so, count a line now."""
        key, now = f"{name} {leaf.title} {leaf.attempts}", self._clock()
        if now < self._printed_at.setdefault(key, now) + seconds:
            return False
        self._printed_at[key] = now
        return True

    def _print_line(self, line: str) -> None:
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {line}",
            soft_wrap=True,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def _render(self) -> Group:
        now = self._now()
        return Group(*(table(name, state, self._rates[name], now) for name, state in self._states.items()))
