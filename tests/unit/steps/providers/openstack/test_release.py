"""Whatever a killed step left in OpenStack is found by its name and deleted, after its copies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import pytest
import stamina
from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from steps.model.contract import Exit, NoAnswerError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers.openstack import copies
from steps.providers.openstack.cloud import Cloud
from steps.providers.openstack.copies import Copies
from steps.runtime.stop import Stop

RUN: Final = "vmi-web-0a1b2c3d-g1"
KINDS: Final = ("image", "volume", "snapshot")


def answer(status: int) -> Exception:
    """The error of openstacksdk for an answer with that status."""
    error = sdk.HttpException("no")
    error.status_code = status
    return error


@dataclass
class Project:
    """The images, volumes and snapshots of a project; each proxy of openstacksdk sees it."""

    objects: list[tuple[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    error: Exception | None = None
    busy: set[str] = field(default_factory=set)

    def add(self, kind: str, name: str) -> None:
        found = SimpleNamespace(
            id=f"{kind}-{len(self.objects)}", name=name, status="available", created_at="1"
        )
        self.objects.append((kind, found))

    def listed(self, kind: str) -> Iterator[Any]:
        if self.error is not None:
            raise self.error
        return iter([found for of, found in self.objects if of == kind])

    def delete(self, kind: str, id_: str) -> None:
        if kind in self.busy:
            raise answer(409)
        self.deleted.append(kind)
        self.objects = [(of, found) for of, found in self.objects if found.id != id_]

    def cloud(self) -> Cloud:
        images = SimpleNamespace(
            images=lambda **_: self.listed("image"), delete_image=lambda id_: self.delete("image", id_)
        )
        volumes = SimpleNamespace(
            volumes=lambda **_: self.listed("volume"),
            snapshots=lambda **_: self.listed("snapshot"),
            delete_volume=lambda id_: self.delete("volume", id_),
            delete_snapshot=lambda id_: self.delete("snapshot", id_),
        )
        plan = SourcePlan(kind=SourceKind.OPENSTACK, name="c", endpoint="http://keystone:5000/v3")
        connection = SimpleNamespace(image=images, block_storage=volumes)
        return Cloud(plan=plan, connection=connection, tls=None, stop=Stop())

    def release(self) -> list[str]:
        return Copies(cloud=self.cloud(), run=RUN).release()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(copies, "POLL_SECONDS", 0)
    ticks = itertools.count(0.0, 60.0)
    monkeypatch.setattr(copies, "CLOCK", lambda: next(ticks))
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS])
def test_the_copies_of_a_killed_step_are_released(kinds: tuple[str, ...]) -> None:
    project = Project()
    for kind in reversed(kinds):
        project.add(kind, f"vmferry-{RUN}-disk-0")
        project.add(kind, f"vmferry-{RUN}0-disk-0")  # of another run
    assert project.release() == []
    assert project.deleted == list(kinds), "each after what was made of it"
    assert len(project.objects) == len(kinds), "those of the other run stay"


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_cannot_be_deleted_is_reported(kind: str) -> None:
    project = Project(busy={kind})
    project.add(kind, f"vmferry-{RUN}-disk-0")
    (left,) = project.release()
    assert left.startswith(f"{kind} vmferry-{RUN}-disk-0 ({kind}-0, available)")
    project.busy.clear()
    assert project.release() == []


@pytest.mark.parametrize(
    "error",
    [
        auth.ConnectFailure("connection refused"),
        auth.DiscoveryFailure("keystone is away"),
        *(answer(status) for status in (502, 503, 504)),
    ],
)
def test_a_cloud_that_is_away_is_waited_for(error: Exception) -> None:
    project = Project(error=error)
    project.add("snapshot", f"vmferry-{RUN}-disk-0")
    with pytest.raises(NoAnswerError) as caught:
        project.release()
    assert caught.value.code is Exit.UNREACHABLE
    project.error = None
    assert project.release() == []
