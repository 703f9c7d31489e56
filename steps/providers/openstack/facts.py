"""The data about servers from Nova, Cinder, Glance and Neutron, read for one or for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from openstack import exceptions as sdk

from steps.model import unique
from steps.model.contract import Exit, StepError
from steps.model.unique import Index
from steps.providers.openstack.cloud import Cloud

GIB: Final = 1 << 30
ISO: Final = "iso"
"""The format of an image that holds an ISO 9660 file system."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A server and its related objects, as openstacksdk returns them."""

    server: Any
    flavor: Any
    """Embedded in the server (compute microversion 2.47), or read by its id; None if it was deleted."""
    image: Mapping[str, Any] | None = None
    """The document of the image it was booted from (Image API v2); None for one that boots from a volume."""
    image_lost: bool = False
    """Whether that image was deleted."""
    volumes: tuple[Any, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Ids of attached volumes that Cinder does not show to the account."""
    ports: tuple[Any, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    """Names of networks by their ids."""
    generation: str = ""
    """Changes whenever the server is started, stopped or changed."""


def root_size(facts: Facts) -> int:
    """Bytes of the root disk of a server that was booted from an image; 0 for none or an unknown size.

    The flavor has its size; with 0 the disk is as large as the image (Compute API, flavors).
    """
    if facts.image is None and not facts.image_lost:
        return 0
    if (facts.image or {}).get("disk_format") == ISO:
        return 0
    if facts.flavor.disk:
        return int(facts.flavor.disk) * GIB
    return int((facts.image or {}).get("virtual_size") or 0)


def of_one(cloud: Cloud, server: Any) -> Facts:
    """The facts of one server."""
    what = f"read server {server.name}"
    volumes = {one: _volume(cloud, server, one) for one in attached(server)}
    image = image_id(server)
    found = cloud.find(what, lambda: document(cloud, image)) if image else None
    return Facts(
        server=server,
        flavor=_flavor(cloud, server),
        image=found,
        image_lost=bool(image) and found is None,
        volumes=tuple(one for one in volumes.values() if one is not None),
        unreadable=tuple(name for name, one in volumes.items() if one is None),
        ports=tuple(_listed(what, "ports", cloud, lambda: cloud.network.ports(device_id=server.id))),
        networks=networks(cloud),
        generation=generation(cloud, server),
    )


def of_all(cloud: Cloud) -> Iterable[Facts]:
    """The facts of all servers of the project, by name; one list per service, not per server."""
    what = "list the project's servers"
    servers = _listed(what, "servers", cloud, lambda: cloud.compute.servers(details=True))
    volumes = _listed(what, "volumes", cloud, lambda: cloud.volumes.volumes(details=True))
    ports = _listed(what, "ports", cloud, lambda: list(cloud.network.ports()))
    images = cloud.read(what, lambda: _documents(cloud))
    names = networks(cloud)
    for server in sorted(servers, key=lambda one: (one.name, one.id)):
        found = {one: volumes.find(one) for one in attached(server)}
        image = images.find(image_id(server))
        yield Facts(
            server=server,
            flavor=_flavor(cloud, server),
            image=image,
            image_lost=bool(image_id(server)) and image is None,
            volumes=tuple(one for one in found.values() if one is not None),
            unreadable=tuple(name for name, one in found.items() if one is None),
            ports=tuple(one for one in ports if one.device_id == server.id),
            networks=names,
        )


def attached(server: Any) -> tuple[str, ...]:
    """Ids of the volumes of a server; Nova may list one twice (a stale row of its database)."""
    return tuple(by_id((one["id"] for one in server.attached_volumes or ()), "volumes", key=str))


def by_id(found: Iterable[T], what: str, key: Callable[[T], str]) -> Index[str, T]:
    """The objects that a service lists, each once: a page may repeat those of the previous one."""
    what = f"{what} with the id"
    return unique.index(found, key, what=what, where="OpenStack", alike=unique.same_object)


def _listed(what: str, kind: str, cloud: Cloud, call: Callable[[], Iterable[Any]]) -> Index[str, Any]:
    return cloud.read(what, lambda: by_id(call(), kind, key=lambda one: str(one.id)))


def _volume(cloud: Cloud, server: Any, volume: str) -> Any:
    """An attached volume; None if Cinder does not show it: it is in another project, or deleted."""
    what = f"read the volume {volume} of server {server.name}"
    try:
        return cloud.find(what, lambda: cloud.volumes.get_volume(volume))
    except StepError as error:
        if error.code is Exit.DENIED:
            return None
        raise


def networks(cloud: Cloud) -> dict[str, str]:
    """Names of all networks the project can see, by id."""
    found = _listed("list the networks", "networks", cloud, lambda: list(cloud.network.networks()))
    return {one.id: one.name for one in found}


def image_id(server: Any) -> str:
    """The image a server was booted from; empty when it boots from a volume (Nova gives an empty string)."""
    found = server.image
    return str(getattr(found, "id", "") or "") if found else ""


def document(cloud: Cloud, image: str) -> dict[str, Any]:
    """An image with all its properties side by side, as the Image API has them."""
    return _json(cloud.images.get(f"/images/{image}"))


def _documents(cloud: Cloud) -> Index[str, dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path: str | None = "/images?limit=200"
    while path:
        page = _json(cloud.images.get(path))
        found += page["images"]
        path = page.get("next", "").removeprefix("/v2") or None
    return by_id(found, "images", key=lambda one: str(one["id"]))


def _json(response: Any) -> dict[str, Any]:
    sdk.raise_from_response(response)
    found: dict[str, Any] = response.json()
    return found


def _flavor(cloud: Cloud, server: Any) -> Any:
    flavor = server.flavor
    if getattr(flavor, "vcpus", None):
        return flavor
    return cloud.find(f"read the flavor of {server.name}", lambda: cloud.compute.get_flavor(flavor.id))


_OURS = ("createImage",)
"""Actions of an import on a server that do not change its disks."""


def generation(cloud: Cloud, server: Any) -> str:
    """The last request that changed the server; if those cannot be read, the time of its update."""
    try:
        compute = cloud.compute
        actions = cloud.read("read a server's actions", lambda: list(compute.server_actions(server.id)))
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
            raise
        return str(server.updated_at or "")
    done = sorted((str(one.start_time), str(one.request_id)) for one in actions if one.action not in _OURS)
    return done[-1][1] if done else ""
