"""A project of the running OpenStack with a VM in it; its steps run as in a pod."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from steps.disk.landed import Landed
from steps.model import scratch
from steps.model.plan import DiskFormat, ImportRef, Plan, SourcePlan, TargetKind, TargetPlan
from steps.model.sources import SourceKind
from steps.providers import Access, connect
from steps.runtime.program import MACHINE, PLAN
from steps.runtime.stop import Stop
from tests.real.openstack import machines
from tests.real.openstack.cloud import Credentials, Project
from tests.real.openstack.conftest import cloud, project

__all__ = ["cloud", "project"]

GIB: Final = 1 << 30
MIB: Final = 1 << 20
RUN: Final = "vmi-web-0a1b2c3d-g1"
MakeAccess = Callable[..., Access]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use the cloud are skipped if it is not running."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and {"cloud", "project"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.openstack)


def a_disk(folder: Path, number: int, mib: int = 6) -> Path:
    """A raw disk of 1 GiB, the size of the smallest volume, with data at both ends and in the middle."""
    path = folder / f"original-{number}.raw"
    with path.open("wb") as file:
        file.truncate(GIB)
        for part, at in enumerate((0, GIB // 2, GIB - MIB)):
            file.seek(at)
            file.write(hashlib.shake_256(b"%d %d" % (number, part)).digest(mib * MIB if part == 0 else MIB))
    return path


def source_plan(credentials: Credentials, **more: Any) -> SourcePlan:
    given = {"kind": SourceKind.OPENSTACK, "name": "cloud", "endpoint": credentials.auth_url}
    return SourcePlan(**{**given, "region": credentials.region, **more})


def write_secret(credentials: Credentials, folder: Path, **more: str) -> Path:
    """The Secret with these credentials as a step sees it: one file per key."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "username": credentials.username,
        "password": credentials.password,
        "user_domain_name": credentials.user_domain,
        "project_domain_name": credentials.project_domain,
        "project_name": credentials.project,
        "application_credential_id": credentials.application_id,
        "application_credential_secret": credentials.application_secret,
        "ca_cert": credentials.cacert.read_text() if credentials.cacert else "",
        **more,
    }
    for key, value in values.items():
        if value:
            (folder / key).write_text(value)
    return folder


@pytest.fixture
def access(project: Project, tmp_path: Path) -> MakeAccess:
    """Returns a function that makes an `Access` to the test's project."""

    def make(step: str = "look", *, credentials: Credentials | None = None, **plan: Any) -> Access:
        who = credentials or project.credentials
        return Access(
            plan=source_plan(who, **plan),
            credentials=write_secret(who, tmp_path / f"credentials-{step}"),
            stop=Stop(),
            run=RUN,
            step=step,
            state_folder=tmp_path / "memory",
        )

    return make


@dataclass
class Imported:
    """A server with one volume that is imported step by step, each step a process."""

    project: Project
    server: str
    originals: list[Path]
    folder: Path

    def argv(self, name: str, *arguments: str) -> list[str]:
        places = {
            place: str(self.folder / place) for place in ("request", "scratch", "outputs", "credentials")
        }
        options = [part for place, path in places.items() for part in (f"--{place}", path)]
        return [sys.executable, "-P", "-m", f"steps.{name}", *arguments, *options]

    def environment(self, proxy: str) -> dict[str, str]:
        return {**os.environ, "http_proxy": proxy, "PYTHONPATH": str(Path(__file__).parents[4])}

    def landed(self, disk: str) -> Landed:
        """The disk that an export landed on scratch."""
        assert disk == "disk-0"
        return Landed.load(scratch.landing(self.folder / "scratch", DiskFormat.QCOW2))

    def stop(self) -> None:
        machines.stop(self.project, self.server)


@pytest.fixture
def imported(project: Project, tmp_path: Path) -> Iterator[Imported]:
    """A running server, and the request to import it."""
    original = a_disk(tmp_path, 1)
    server = machines.server(project, "web", [original])
    for place in ("request", "scratch", "outputs"):
        (tmp_path / place).mkdir()
    secret = write_secret(project.credentials, tmp_path / "credentials")
    plan = Plan(
        run=RUN,
        import_=ImportRef(name="web", uid="0a1b"),
        source=source_plan(project.credentials),
        vm="web",
        target=TargetPlan(kind=TargetKind.DIRECTORY),
    )
    (tmp_path / "request" / PLAN).write_text(plan.to_json())
    asked = Access(
        plan=plan.source, credentials=secret, stop=Stop(), run=RUN, step="preflight", state_folder=tmp_path
    )
    with connect(asked) as source:
        source.describe("web", None).save(tmp_path / "request" / MACHINE)
    yield Imported(project, server.id, [original], tmp_path)
    assert project.held() == []
