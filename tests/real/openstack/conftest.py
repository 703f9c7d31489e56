"""The running stack, for the tests that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.openstack.cloud import STATE, Cloud, Project, running


@pytest.fixture(scope="session")
def cloud() -> Cloud:
    layout = running()
    if layout is None:
        pytest.skip(f"no OpenStack runs here: make openstack-lab starts it ({STATE} names another's state)")
    return Cloud(layout)


@pytest.fixture
def project(cloud: Cloud) -> Iterator[Project]:
    """A new project for each test."""
    with cloud.project() as made:
        yield made
