"""Whether the project's quota in Cinder has room for the copies of a server's volumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from steps.model.contract import Exit, StepError
from steps.model.machine import Power, Severity
from steps.model.plan import PowerPlan, SourcePlan
from steps.model.sources import SourceKind
from steps.providers.openstack import power, quotas
from steps.providers.openstack.cloud import Cloud
from steps.runtime.stop import Stop
from tests.unit.builders import a_disk, a_machine
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.providers.openstack.documents import a_server, a_volume

RUN = "vmi-web-0a1b2c3d-g1"
PROJECT = "9f0c"
ALL = ("snapshots", "volumes", "gigabytes", "snapshots_ssd", "volumes_ssd", "gigabytes_ssd")


def row(limit: int, in_use: int = 0, reserved: int = 0) -> dict[str, int]:
    return {"limit": limit, "in_use": in_use, "reserved": reserved, "allocated": 0}


class Cinder:
    """The calls of openstacksdk's proxy that are used, and the document of a quota."""

    def __init__(self, status: int = 200, **quota: Any) -> None:
        self.quota = {"id": PROJECT, **dict.fromkeys(ALL, row(-1)), **quota}
        self.status = status
        self.asked: list[str] = []
        self.made: dict[str, list[str]] = {"snapshots": [], "volumes": []}
        self.known = {one.id: one for one in (a_volume(0), a_volume(1))}

    def get(self, path: str) -> Any:
        self.asked.append(path)
        body = {"quota_set": self.quota} if self.status == 200 else {"forbidden": {"message": "not yours"}}
        return SimpleNamespace(
            status_code=self.status,
            headers=CaseInsensitiveDict({"content-type": "application/json"}),
            content=json.dumps(body).encode(),
            text=json.dumps(body),
            json=lambda: body,
            reason="",
            url=path,
            request=None,
        )

    def snapshots(self, **_: Any) -> list[Any]:
        return self._named("snapshots")

    def volumes(self, **_: Any) -> list[Any]:
        return self._named("volumes")

    def get_volume(self, volume: str) -> Any:
        return self.known[volume]

    def _named(self, kind: str) -> list[Any]:
        names = [f"vmferry-{RUN}-{disk}" for disk in self.made[kind]]
        return [SimpleNamespace(name=name) for name in [*names, "another's", None]]


def cloud(cinder: Cinder, compute: Any = None, image: str = "http://127.0.0.1:9/image") -> Cloud:
    plan = SourcePlan(kind=SourceKind.OPENSTACK, name="c", endpoint="http://keystone:5000/v3", region="R")
    points = [{"interface": "public", "region": "R", "url": image}]
    access = SimpleNamespace(
        service_catalog=SimpleNamespace(catalog=[{"type": "image", "endpoints": points}])
    )
    session = SimpleNamespace(
        get_project_id=lambda: PROJECT, auth=SimpleNamespace(get_access=lambda _: access)
    )
    images = SimpleNamespace(images=lambda **_: iter(()))
    connection = SimpleNamespace(block_storage=cinder, session=session, compute=compute, image=images)
    return Cloud(plan=plan, connection=connection, tls=None, stop=Stop())


def found(cinder: Cinder) -> list[tuple[Severity, str, str]]:
    volumes = [("disk-0", a_volume(0)), ("disk-1", a_volume(1))]  # 1 and 2 GiB
    concerns = quotas.concerns(cloud(cinder), RUN, volumes)
    return [(one.severity, one.code, one.message) for one in concerns]


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        ({}, ""),
        ({"snapshots": row(2), "volumes": row(5, 3), "gigabytes": row(9, 2, 1)}, ""),
        ({"snapshots": row(2, 1)}, "snapshots: 2 more are needed, 1 of 2 are free"),
        ({"volumes": row(5, 2, 2)}, "volumes: 2 more are needed, 1 of 5 are free"),
        ({"gigabytes": row(9, 4)}, "gigabytes: 6 more are needed, 5 of 9 are free"),
        ({"gigabytes": row(3, 8)}, "gigabytes: 6 more are needed, 0 of 3 are free"),
        ({"gigabytes_ssd": row(5)}, "gigabytes_ssd: 6 more are needed, 5 of 5 are free"),
        ({"gigabytes_hdd": row(0)}, ""),
        ({"per_volume_gigabytes": row(1)}, "per_volume_gigabytes: disk-1 has 2 GiB, but a volume may have 1"),
    ],
)
def test_an_exceeded_quota_is_named(quota: dict[str, Any], words: str) -> None:
    concerns = found(Cinder(**quota))
    assert [(severity, code) for severity, code, _ in concerns] == (
        [(Severity.BLOCK, "quota")] if words else []
    )
    assert words in "".join(message for *_, message in concerns)


def test_all_reasons_are_reported_at_once() -> None:
    ((*_, message),) = found(Cinder(snapshots=row(0), gigabytes=row(0)))
    assert "snapshots" in message
    assert "gigabytes" in message


def test_copies_of_an_earlier_attempt_are_not_counted_again() -> None:
    """Of the two disks only the second one's volume of 2 GiB must still be made."""
    cinder = Cinder(snapshots=row(2, 2), volumes=row(4, 3), gigabytes=row(9, 7))
    cinder.made = {"snapshots": ["disk-0", "disk-1"], "volumes": ["disk-0"]}
    assert found(cinder) == []
    cinder.made["volumes"] = []
    assert len(found(cinder)) == 1


def test_an_account_that_may_not_read_quotas_gets_a_warning() -> None:
    ((severity, code, message),) = found(Cinder(status=403))
    assert (severity, code) == (Severity.WARN, "quota-unknown")
    assert "not yours" in message


def test_no_quota_is_read_for_a_server_without_volumes() -> None:
    cinder = Cinder(status=500)
    assert list(quotas.concerns(cloud(cinder), RUN, [])) == []
    assert cinder.asked == []


class Nova:
    """A server that is on until it is stopped."""

    def __init__(self) -> None:
        self.stopped = 0

    def get_server(self, _: str) -> Any:
        return a_server(status="SHUTOFF" if self.stopped else "ACTIVE")

    def stop_server(self, _: str) -> None:
        self.stopped += 1


@pytest.fixture
def glance() -> Iterator[str]:
    with Server(Behaviour(b"")) as server:
        yield server.url


MACHINE = a_machine(name="web01", power=Power.ON, disks=(a_disk(0, key="vol-0"), a_disk(1, key="vol-1")))


def spoil_quota(cinder: Cinder) -> None:
    cinder.quota["snapshots"] = row(1)


def spoil_status(cinder: Cinder) -> None:
    cinder.known["vol-1"] = a_volume(1, status="maintenance")


def spoil_place(cinder: Cinder) -> None:
    cinder.known["vol-0"] = a_volume(0, **{"os-vol-mig-status-attr:migstat": "migrating"})


@pytest.mark.parametrize(
    ("spoil", "words", "code"),
    [
        (spoil_quota, "snapshots: 2 more", Exit.NO_SPACE),
        (spoil_status, "is maintenance", Exit.UNSUPPORTED),
        (spoil_place, "is being migrated", Exit.UNSUPPORTED),
    ],
)
def test_a_server_is_not_stopped_if_something_changed_since_preflight(
    glance: str, spoil: Callable[[Cinder], None], words: str, code: Exit
) -> None:
    cinder, nova = Cinder(), Nova()
    spoil(cinder)
    with pytest.raises(StepError, match=words) as caught:
        power.power_off(cloud(cinder, nova, glance), RUN, MACHINE, PowerPlan())
    assert (caught.value.code, nova.stopped) == (code, 0)


def test_skipped_preflight_checks_override_the_quota(glance: str) -> None:
    """With spec.skipPreflightChecks preflight kept the concern as a warning."""
    cinder, nova = Cinder(snapshots=row(1)), Nova()
    (concern,) = quotas.concerns(cloud(cinder), RUN, [("disk-0", a_volume(0)), ("disk-1", a_volume(1))])
    warned = MACHINE.model_copy(
        update={"concerns": (concern.model_copy(update={"severity": Severity.WARN}),)}
    )
    power.power_off(cloud(cinder, nova, glance), RUN, warned, PowerPlan())
    assert nova.stopped == 1
