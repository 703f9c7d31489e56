"""Before a server is stopped, the path to the image service and the catalogue are checked."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from openstack import exceptions as sdk

from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers.openstack import cloud
from steps.providers.openstack.cloud import Cloud
from steps.runtime.stop import Stop
from tests.unit.steps.disk.server import Behaviour, Server

TYPES = ("compute", "volumev3", "image", "network")


class Connection:
    """The catalogue of a cloud, and the proxies of its services."""

    def __init__(self, points: dict[str, str], images: Any = None, region: str = "RegionOne") -> None:
        self.asked: list[str] = []
        self._images = images
        services = [
            {"type": kind, "endpoints": [{"interface": "public", "region": region, "url": url}]}
            for kind, url in points.items()
        ]
        access = SimpleNamespace(service_catalog=SimpleNamespace(catalog=services))
        self.session = SimpleNamespace(auth=SimpleNamespace(get_access=lambda _: access))

    @property
    def image(self) -> Any:
        self.asked.append("image")
        if isinstance(self._images, Exception):
            raise self._images
        return SimpleNamespace(images=lambda **_: iter(self._images or ()))


def of(connection: Connection, region: str = "RegionOne") -> Cloud:
    plan = SourcePlan(kind=SourceKind.OPENSTACK, name="c", endpoint="http://keystone:5000/v3", region=region)
    return Cloud(plan=plan, connection=connection, tls=None, stop=Stop())


def catalog(image: str = "http://127.0.0.1:9/image") -> dict[str, str]:
    return {**dict.fromkeys(TYPES, "http://127.0.0.1:9/x"), "image": image}


@pytest.mark.parametrize("region", ["regionone", "REGIONONE", "Mars"])
def test_an_unknown_region_is_refused_with_a_list(region: str) -> None:
    with pytest.raises(StepError, match="RegionOne") as caught:
        cloud.check_services(of(Connection(catalog()), region))
    assert caught.value.code is Exit.INVALID
    assert caught.value.code.permanent


@pytest.mark.parametrize("missing", TYPES)
def test_a_service_missing_in_the_catalogue_is_named(missing: str) -> None:
    points = {kind: url for kind, url in catalog().items() if kind != missing}
    with pytest.raises(StepError, match="block-storage" if missing == "volumev3" else missing) as caught:
        cloud.check_services(of(Connection(points)))
    assert caught.value.code is Exit.INVALID


def test_a_host_name_known_only_inside_the_cloud_is_detected() -> None:
    connection = Connection(catalog("http://controller.invalid:9292/image"))
    with pytest.raises(StepError) as caught:
        cloud.check_image_service(of(connection))
    assert caught.value.code is Exit.UNREACHABLE
    for word in ("the image service (Glance) controller.invalid", "port 9292", "hostAliases"):
        assert word in str(caught.value)
    assert connection.asked == []


def test_a_closed_port_is_detected() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StepError, match=f"port {port}.*firewall"):
        cloud.check_image_service(of(Connection(catalog(f"http://127.0.0.1:{port}/image"))))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (sdk.NotSupported("The image service exists but does not have any supported versions."), 30),
        (sdk.ForbiddenException("no"), Exit.DENIED),
    ],
)
def test_an_unusable_service_is_not_an_internal_error(answer: Exception, code: int) -> None:
    if isinstance(answer, sdk.HttpException):
        answer.status_code = 403
    with Server(Behaviour(b"")) as server, pytest.raises(StepError, match="image service") as caught:
        cloud.check_image_service(of(Connection(catalog(server.url), answer)))
    assert caught.value.code == code


def test_an_image_service_that_answers_is_accepted() -> None:
    with Server(Behaviour(b"")) as server:
        cloud.check_image_service(of(Connection(catalog(server.url))))
