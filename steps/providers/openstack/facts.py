"""The data about servers from Nova, Cinder, Glance and Neutron, read for one or for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from openstack import exceptions as sdk

from steps.model import unique
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Tag, listed
from steps.model.unique import Index
from steps.providers.openstack.cloud import Cloud

GIB: Final = 1 << 30
ISO: Final = "iso"
"""The format of an image that holds an ISO 9660 file system."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """A server and its related objects, as openstacksdk returns them."""

    server: Any
    flavor: Any
    """Embedded in the server (compute microversion 2.47), or read by its id; None if it was deleted."""
    image: Mapping[str, Any] | None = None
    """The document of the image it was booted from (Image API v2); None for one that boots from a volume."""
    is_image_deleted: bool = False
    """Whether that image was deleted."""
    volumes: tuple[Any, ...] = ()
    unreadable_volumes: tuple[str, ...] = ()
    """Ids of attached volumes that Cinder does not show to the account."""
    ports: tuple[Any, ...] = ()
    interfaces: tuple[str, ...] = ()
    """Ids of the ports in the order of Nova's `os-interface`; empty if that was not read."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Names of networks by their ids."""
    vlans: Mapping[str, int] = field(default_factory=dict)
    """VLANs of networks by their ids. Neutron shows them to administrators only."""
    generation: str = ""
    """Changes whenever the server is started, stopped or changed."""


def root_size(facts: ServerFacts) -> int:
    """Bytes of the root disk of a server that was booted from an image; 0 for none or an unknown size.

    The flavor has its size; with 0 the disk is as large as the image (Compute API, flavors).
    """
    if facts.image is None and not facts.is_image_deleted:
        return 0
    if (facts.image or {}).get("disk_format") == ISO:
        return 0
    if facts.flavor.disk:
        return int(facts.flavor.disk) * GIB
    return int((facts.image or {}).get("virtual_size") or 0)


def read_one(cloud: Cloud, server: Any) -> ServerFacts:
    """The facts of one server."""
    what = f"read server {server.name}"
    volumes = {volume_id: _read_volume(cloud, server, volume_id) for volume_id in attached_volume_ids(server)}
    image_reference = image_id(server)
    image = cloud.find(what, lambda: read_image_document(cloud, image_reference)) if image_reference else None
    ports = tuple(_list_by_id(what, "ports", cloud, lambda: cloud.network.ports(device_id=server.id)))
    known = read_networks(cloud)
    return ServerFacts(
        server=server,
        flavor=_read_flavor(cloud, server),
        image=image,
        is_image_deleted=bool(image_reference) and image is None,
        volumes=tuple(volume for volume in volumes.values() if volume is not None),
        unreadable_volumes=tuple(volume_id for volume_id, volume in volumes.items() if volume is None),
        ports=ports,
        interfaces=_read_interfaces(cloud, server) if len(ports) > 1 else (),
        networks=network_names(known),
        vlans=vlans(known),
        generation=read_generation(cloud, server),
    )


def read_all(cloud: Cloud) -> Iterable[ServerFacts]:
    """The facts of all servers of the project, by name; one list per service, not per server."""
    what = "list the project's servers"
    servers = _list_by_id(what, "servers", cloud, lambda: cloud.compute.servers(details=True))
    volumes = _list_by_id(what, "volumes", cloud, lambda: cloud.volumes.volumes(details=True))
    ports = _list_by_id(what, "ports", cloud, lambda: list(cloud.network.ports()))
    images = cloud.read(what, lambda: _list_image_documents(cloud))
    by_server: defaultdict[str, list[Any]] = defaultdict(list)
    for port in ports:
        by_server[str(port.device_id)].append(port)
    known = read_networks(cloud)
    names, vlan_ids = network_names(known), vlans(known)
    for server in sorted(servers, key=lambda server: (server.name, server.id)):
        server_volumes = {volume_id: volumes.find(volume_id) for volume_id in attached_volume_ids(server)}
        image = images.find(image_id(server))
        yield ServerFacts(
            server=server,
            flavor=_read_flavor(cloud, server),
            image=image,
            is_image_deleted=bool(image_id(server)) and image is None,
            volumes=tuple(volume for volume in server_volumes.values() if volume is not None),
            unreadable_volumes=tuple(
                volume_id for volume_id, volume in server_volumes.items() if volume is None
            ),
            ports=tuple(by_server[str(server.id)]),
            networks=names,
            vlans=vlan_ids,
        )


def attached_volume_ids(server: Any) -> tuple[str, ...]:
    """Ids of the volumes of a server; Nova may list one twice (a stale row of its database)."""
    ids = (attachment["id"] for attachment in server.attached_volumes or ())
    return listed(index_by_id(ids, "volumes", key=str))


def index_by_id(objects: Iterable[T], what: str, key: Callable[[T], str]) -> Index[str, T]:
    """The objects that a service lists, each once: a page may repeat those of the previous one."""
    what = f"{what} with the id"
    return unique.index(objects, key, what=what, where="OpenStack", alike=unique.same_object)


def _list_by_id(what: str, kind: str, cloud: Cloud, call: Callable[[], Iterable[Any]]) -> Index[str, Any]:
    return cloud.read(what, lambda: index_by_id(call(), kind, key=lambda item: str(item.id)))


def _read_interfaces(cloud: Cloud, server: Any) -> tuple[str, ...]:
    """Ids of the ports as Nova lists them; empty for an account that may not list them."""
    what = f"list the interfaces of server {server.name}"
    try:
        found = cloud.find(what, lambda: list(cloud.compute.server_interfaces(server)))
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return ()
    return tuple(dict.fromkeys(str(interface.port_id) for interface in found or ()))


def _read_volume(cloud: Cloud, server: Any, volume: str) -> Any:
    """An attached volume; None if Cinder does not show it: it is in another project, or deleted."""
    what = f"read the volume {volume} of server {server.name}"
    try:
        return cloud.find(what, lambda: cloud.volumes.get_volume(volume))
    except StepError as error:
        if error.code is Exit.DENIED:
            return None
        raise


def read_networks(cloud: Cloud) -> Index[str, Any]:
    """All networks the project can see."""
    return _list_by_id("list the networks", "networks", cloud, lambda: list(cloud.network.networks()))


def network_names(networks: Iterable[Any]) -> dict[str, str]:
    """Names of networks by their ids."""
    return {network.id: network.name for network in networks}


def vlans(networks: Iterable[Any]) -> dict[str, int]:
    """VLANs of networks by their ids (Networking API, provider extended attributes)."""
    found = (
        (network.id, network.provider_segmentation_id)
        for network in networks
        if network.provider_network_type == "vlan"
    )
    return {name: number for name, number in found if isinstance(number, int) and 1 <= number <= 4094}


def image_id(server: Any) -> str:
    """The image a server was booted from; empty when it boots from a volume (Nova gives an empty string)."""
    image = server.image
    return str(getattr(image, "id", "") or "") if image else ""


def read_image_document(cloud: Cloud, image: str) -> dict[str, Any]:
    """An image with all its properties side by side, as the Image API has them."""
    return _checked_json(cloud.images.get(f"/images/{image}"))


def _list_image_documents(cloud: Cloud) -> Index[str, dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    path: str | None = "/images?limit=200"
    while path:
        page = _checked_json(cloud.images.get(path))
        documents += page["images"]
        path = page.get("next", "").removeprefix("/v2") or None
    return index_by_id(documents, "images", key=lambda document: str(document["id"]))


def _checked_json(response: Any) -> dict[str, Any]:
    sdk.raise_from_response(response)
    document: dict[str, Any] = response.json()
    return document


def _read_flavor(cloud: Cloud, server: Any) -> Any:
    flavor = server.flavor
    if getattr(flavor, "vcpus", None):
        return flavor
    return cloud.find(f"read the flavor of {server.name}", lambda: cloud.compute.get_flavor(flavor.id))


def tags(facts: ServerFacts) -> tuple[Tag, ...]:
    return _tags_of(facts.server)


def _tags_of(server: Any) -> tuple[Tag, ...]:
    """The metadata of a server, and its tags (compute microversion 2.26), which have no category."""
    metadata = (Tag(name=str(name), value=str(value)) for name, value in (server.metadata or {}).items())
    plain = (Tag(name=str(name)) for name in server.tags or ())
    return tuple(sorted((*metadata, *plain), key=str))


def read_tags(cloud: Cloud, machine: Machine) -> tuple[Tag, ...]:
    """The tags of a server as they are now.

    Raises:
        StepError: NOT_FOUND, if it was deleted.
    """
    what = f"read the tags of server {machine.name}"
    server = cloud.find(what, lambda: cloud.compute.get_server(machine.source_id))
    if server is None:
        raise StepError(Exit.NOT_FOUND, f"cannot {what}", "it was deleted", "start a new import")
    return _tags_of(server)


_IMPORT_ACTIONS = ("createImage",)
"""Actions of an import on a server that do not change its disks."""


def read_generation(cloud: Cloud, server: Any) -> str:
    """The last request that changed the server; if those cannot be read, the time of its update."""
    try:
        compute = cloud.compute
        actions = cloud.read("read a server's actions", lambda: list(compute.server_actions(server.id)))
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
            raise
        return str(server.updated_at or "")
    changes = sorted(
        (str(action.start_time), str(action.request_id))
        for action in actions
        if action.action not in _IMPORT_ACTIONS
    )
    return changes[-1][1] if changes else ""
