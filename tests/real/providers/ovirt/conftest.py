"""A stand-in of an engine with the real ovirt-imageio, and access to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.machine import Machine
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access, connect
from steps.runtime.stop import Stop
from tests.real.ovirt.conftest import Images, StartLab, images, machine, start_lab
from tests.real.ovirt.lab import Lab

__all__ = ["images", "start_lab"]

RUN: Final = "vmi-web-0000-g1"
MakeAccess = Callable[..., Access]


@pytest.fixture
def lab(start_lab: StartLab, images: Images) -> Lab:
    """An engine with the VM `web`, which runs."""
    return start_lab({"vms": [machine(images)]})


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
