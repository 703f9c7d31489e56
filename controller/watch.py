"""Shows runs while they go: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live

from controller.rates import Rates
from controller.view import lines, moved, moving, phases, table
from workflows.status import Phase

EVERY: Final = 5.0
"""Seconds between two plain lines about the same moving bytes."""


class Watch:
    """What a person sees of the imports that run; `changed` is called with each new state."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, Mapping[str, Any]] = {}
        self._rates: dict[str, Rates] = {}
        self._before: dict[str, dict[str, Phase]] = {}
        self._due: dict[str, float] = {}
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

    def changed(self, name: str, workflow: Mapping[str, Any]) -> None:
        """Take note of a run's new state and show it."""
        self._states[name] = workflow
        rates = self._rates.setdefault(name, Rates())
        for leaf in moving(workflow):
            rates.note(leaf)
        if self._live is None:
            self._print(name, workflow, rates)

    def warn(self, name: str, what: str) -> None:
        """Say what a person should know about an import that goes on all the same."""
        self._say(f"{name}: warning: {what}")

    def _print(self, name: str, workflow: Mapping[str, Any], rates: Rates) -> None:
        before = self._before.get(name, {})
        for line in lines(name, before, workflow):
            self._say(line)
        self._before[name] = phases(workflow)
        for leaf in moving(workflow):
            key = f"{name} {leaf.title}"
            if time.monotonic() >= self._due.setdefault(key, time.monotonic() + EVERY):
                self._due[key] = time.monotonic() + EVERY
                self._say(f"{name}: {leaf.title} {moved(leaf, rates)}")

    def _say(self, line: str) -> None:
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {line}",
            soft_wrap=True,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def _render(self) -> Group:
        return Group(*(table(name, state, self._rates[name]) for name, state in self._states.items()))
