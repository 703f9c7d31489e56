"""The lab with everything that an import needs: stand-ins for Harvester, a simulated vCenter, the chart."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import lab_only, scenario
from tests.real.cluster.chart import Chart
from tests.real.cluster.lab import ROOT, Lab, command
from tests.real.cluster.world import World
from tests.real.guest import datadisk
from tests.real.simulator import Simulator
from tests.real.standins.process import reserved, running

HERE = Path(__file__).parent
IMAGES_SECONDS = 900.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_only.mark(items, HERE)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    found = Lab.start()
    with reserved(found.place):
        space = {"name": found.release, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": space})
        if not found.argo_folder:
            found.kubectl("apply", "--server-side", "-f", str(HERE / "argo-kinds.yaml"))
        yield found


@pytest.fixture(scope="session")
def images(lab: Lab) -> None:
    """The five images, built from the current code."""
    command([str(HERE / "images")], seconds=IMAGES_SECONDS)


@pytest.fixture(scope="session")
def harvester(lab: Lab) -> Iterator[None]:
    """Stand-ins for Harvester, Longhorn, CDI and KubeVirt."""
    with running(lab.place, "--backoff", "1", "--grace", "2", "--default-class"):
        yield


@pytest.fixture(scope="session")
def chart(lab: Lab, images: None, harvester: None) -> Chart:
    """Installed with the values that fit the lab."""
    found = Chart(lab)
    found.install()
    return found


@pytest.fixture(scope="session")
def vcenter(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[scenario.Scenario]:
    """A simulated vCenter that pods reach, with a running guest of two disks."""
    folder = tmp_path_factory.mktemp("vcenter")
    if not scenario.GUEST.exists():
        subprocess.run([ROOT / "tests" / "prepare.sh", "guest"], check=True)
    data = datadisk.make(folder / "data.img", stay=True)
    with Simulator.start(
        scenario.inventory(data.path), folder / "state", listen=f"{lab.host}:0"
    ) as simulator:
        yield scenario.Scenario(simulator, data, folder)


@pytest.fixture
def world(request: pytest.FixtureRequest, chart: Chart, vcenter: scenario.Scenario) -> Iterator[World]:
    """A namespace for the imports of one test; afterwards the lab is as before."""
    made = World(chart, vcenter)
    made.begin()
    yield made
    made.end()


@pytest.fixture
def alone(world: World) -> Iterator[World]:
    """Only the test works on its imports."""
    world.lab.scale_controller(0)
    yield world
    world.lab.reset()  # before a controller starts to reconcile these imports
    world.lab.scale_controller(1)
