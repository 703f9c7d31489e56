"""One simulator for all tests of the provider; each test has its own VMs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from steps.providers import Access
from tests.real.providers.vmware.inventory import INVENTORY
from tests.real.simulator import Simulator, make_access, simulator_states, start_simulator

__all__ = ["simulator_states", "start_simulator"]


class MakeAccess(Protocol):
    def __call__(
        self, *, step: str = "verify", keys: dict[str, str] | None = None, **plan: Any
    ) -> Access: ...


@pytest.fixture(scope="session")
def shared(simulator_states: Callable[[str], Path]) -> Iterator[Simulator]:
    with Simulator.start(INVENTORY, simulator_states("shared")) as simulator:
        yield simulator


@pytest.fixture
def vcenter(shared: Simulator) -> Iterator[Simulator]:
    """The shared simulator; each test must leave it without a session and without a lease."""
    shared.forget_calls()
    yield shared
    shared.clear()
    assert shared.sessions() == []
    assert shared.leases() == []


@pytest.fixture
def access(vcenter: Simulator, tmp_path: Path) -> MakeAccess:
    def make(*, step: str = "verify", keys: dict[str, str] | None = None, **plan: Any) -> Access:
        plan = {"datacenter": "DC0", **plan}
        return make_access(vcenter, tmp_path, step=step, keys=keys, **plan)

    return make
