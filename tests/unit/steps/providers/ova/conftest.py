"""Disks, packages, servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from steps.model.contract import StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access
from steps.runtime.stop import Stop
from tests.tls import SelfSigned, self_signed
from tests.unit.steps.disk.conftest import make_disk

MakeAccess = Callable[..., Access]


class Refused(Protocol):
    def __call__(self, action: Callable[[], object]) -> StepError: ...


@pytest.fixture(autouse=True)
def no_thread_outlives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


@pytest.fixture
def raws(tmp_path: Path) -> list[Path]:
    """Two disks; the second one's last grain is short."""
    made = []
    for number, size in enumerate((6 << 20, (3 << 20) + 5 * 512), 1):
        path = tmp_path / f"original-{number}.raw"
        path.write_bytes(make_disk(size, seed=number))
        made.append(path)
    return made


@pytest.fixture
def access(tmp_path: Path) -> MakeAccess:
    """Returns a function that makes an `Access` for a URL or path, with the keys of its Secret."""

    def make(endpoint: object, step: str = "preflight", *, stop: Stop | None = None, **more: Any) -> Access:
        secret = tmp_path / "secret"
        memory = tmp_path / f"memory-{step}"
        secret.mkdir(exist_ok=True)
        memory.mkdir(exist_ok=True)
        for key in ("username", "password", "ca_crt"):
            if key in more:
                (secret / key.replace("_", ".")).write_text(more.pop(key))
        plan = SourcePlan(kind=SourceKind.OVA, name="appliance", endpoint=str(endpoint), **more)
        return Access(
            plan=plan, credentials=secret, stop=stop or Stop(), run="run-1", step=step, state_folder=memory
        )

    return make


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    """A certificate for localhost."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def refused() -> Refused:
    """Returns a function that runs an action and returns its error, which must be one line."""

    def check(action: Callable[[], object]) -> StepError:
        with pytest.raises(StepError) as caught:
            action()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700
        return caught.value

    return check
