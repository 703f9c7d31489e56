"""The lab, a namespace of our own in it, and a vCenter with one VM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import lab_only
from tests.real.e2e import harness
from tests.real.e2e.conftest import disks
from tests.real.laptop.desk import OPTIONS, TESTED
from tests.real.simulator import Simulator
from tests.real.standins.api import NAMESPACE, Api
from tests.real.standins.asked import gone
from tests.real.standins.lab import Lab
from tests.real.standins.process import lab, reserved, running

__all__ = ["disks"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_only.mark(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def where() -> Iterator[Lab]:
    found = lab()
    with reserved(found):
        yield found


@pytest.fixture(scope="session")
def api(where: Lab) -> Api:
    return Api(where.kubeconfig)


@pytest.fixture
def namespace(where: Lab, api: Api) -> Iterator[str]:
    """A namespace of our own. The running stand-ins delete the objects of an import with it."""
    gone(api, NAMESPACE, "", TESTED)
    made = api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TESTED}})
    yield TESTED
    with running(where, *OPTIONS):
        api.delete(made)
        gone(api, NAMESPACE, "", TESTED)


@pytest.fixture(scope="module")
def simulator(originals: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    machines = [harness.machine("shop", *originals, power="on")]
    with harness.vcenter(tmp_path_factory.mktemp("vc"), *machines) as started:
        yield started


@pytest.fixture
def vcenter(simulator: Simulator) -> Simulator:
    """The vCenter, without faults; its VM runs, also after a test that imported it."""
    simulator.clear()
    simulator.set_power("shop", "on")
    return simulator
