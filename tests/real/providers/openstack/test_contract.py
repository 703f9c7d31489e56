"""The contract of every source, with a project of the real OpenStack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.provider_contract import Given, ProviderContract
from tests.real.openstack import machines
from tests.real.openstack.cloud import Cloud, Project
from tests.real.openstack.machines import Nic
from tests.real.providers.openstack.conftest import MakeAccess, a_disk


@pytest.fixture(scope="module")
def ours(cloud: Cloud) -> Iterator[Project]:
    with cloud.project() as made:
        yield made


@pytest.fixture(scope="module")
def server(ours: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, tuple[Path, ...]]:
    """A server with two volumes, and a NIC whose network has two subnets."""
    folder = tmp_path_factory.mktemp("originals")
    disks = (a_disk(folder, 1), a_disk(folder, 2))
    front = machines.network(ours, "front", v6=True)
    made = machines.server(ours, "web", list(disks), nics=[Nic(network=front)])
    return made.id, disks


class TestOpenstack(ProviderContract):
    @pytest.fixture
    def project(self, ours: Project) -> Project:
        return ours

    @pytest.fixture
    def given(self, ours: Project, server: tuple[str, tuple[Path, ...]], access: MakeAccess) -> Given:
        made, disks = server
        compute = ours.connection.compute
        if compute.get_server(made).status == "SHUTOFF":
            compute.start_server(made)
            compute.wait_for_server(compute.get_server(made), status="ACTIVE", interval=0.3, wait=120)
        before = ours.stops(made)
        return Given(
            access=access,
            vm="web",
            folder=None,
            originals=disks,
            held=lambda: len(ours.held()),
            stops=lambda: ours.stops(made) - before,
        )
