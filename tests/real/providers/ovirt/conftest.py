"""A stand-in of an engine with the real ovirt-imageio, and access to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.machine import Machine
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access, connect
from steps.runtime.stop import Stop
from tests.real.ovirt.conftest import Images, images, machine
from tests.real.ovirt.lab import Lab
from tests.real.ovirt.layout import is_prepared

__all__ = ["images"]

RUN: Final = "vmi-web-0000-g1"
MakeAccess = Callable[..., Access]


@pytest.fixture
def lab(images: Images, tmp_path: Path) -> Iterator[Lab]:
    """An engine with the VM `web`, which runs."""
    if not is_prepared():
        pytest.skip("ovirt-imageio is missing: tests/prepare.sh packages python ovirt builds it")
    with Lab.start({"vms": [machine(images)]}, tmp_path / "engine") as lab:
        yield lab


@pytest.fixture
def access(lab: Lab, tmp_path: Path) -> MakeAccess:
    """Makes an access to the lab for a step."""
    return accesses(lab, tmp_path)


def accesses(lab: Lab, folder: Path) -> MakeAccess:
    credentials = folder / "credentials"
    credentials.mkdir()
    values = {"username": lab.username, "password": lab.password, "caCert": lab.ca.read_text()}
    for key, value in values.items():
        (credentials / key).write_text(value)

    def make(
        step: str, *, run: str = RUN, stop: Stop | None = None, machine: Machine | None = None
    ) -> Access:
        plan = SourcePlan(
            kind=SourceKind.OVIRT,
            name="engine",
            endpoint=lab.url,
            image_daemon_port=lab.daemon,
            image_proxy_port=lab.daemon,
        )
        return Access(
            plan=plan,
            credentials=credentials,
            stop=stop or Stop(),
            run=run,
            step=step,
            state_folder=folder / "state",
            machine=machine,
        )

    return make


@pytest.fixture
def described(access: MakeAccess) -> Machine:
    with connect(access("preflight")) as source:
        return source.describe("web", None)


@pytest.fixture
def stopped(lab: Lab, described: Machine) -> Machine:
    """The VM, which is down."""
    lab.set_vm("web", status="down")
    return described


def ignore(*_: Any) -> None:
    """Ignore the progress."""
