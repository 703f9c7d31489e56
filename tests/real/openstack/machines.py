"""Makes images, networks, volumes and servers in a test's project."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from openstack import resource

from tests.real.openstack.cloud import SECONDS, Project

_GIB: Final = 1 << 30
_INTERVAL: Final = 0.3
_FORMATS: Final = {".iso": "iso", ".qcow2": "qcow2", ".vmdk": "vmdk"}


@dataclass(frozen=True, kw_only=True)
class Nic:
    """A NIC: one port."""

    network: str
    """ID, as `network` returns it."""
    mac: str | None = None


def image(project: Project, file: Path, name: str | None = None, **properties: str) -> str:
    """Upload a file unchanged; returns its ID. The suffix is its format, raw by default."""
    glance = project.connection.image
    form = {
        "name": name or file.name,
        "disk_format": _FORMATS.get(file.suffix, "raw"),
        "container_format": "bare",
        **properties,
    }
    answer = glance.post("/images", json=form)
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    project.made.add(made)
    with file.open("rb") as data:
        headers = {"Content-Type": "application/octet-stream"}
        answer = glance.put(f"/images/{made}/file", data=data, headers=headers)
    assert answer.status_code == 204, answer.text
    return made


def network(project: Project, name: str, *, v6: bool = False) -> str:
    """A network with an IPv4 subnet and optionally an IPv6 subnet; returns its ID."""
    neutron = project.connection.network
    made = neutron.create_network(name=name)
    number = len(list(neutron.networks(project_id=project.id)))
    neutron.create_subnet(network_id=made.id, ip_version=4, cidr=f"10.77.{number}.0/24", name=f"{name}-v4")
    if v6:
        neutron.create_subnet(
            network_id=made.id, ip_version=6, cidr=f"fd77:0:0:{number}::/64", name=f"{name}-v6"
        )
    return str(made.id)


def volume(project: Project, content: Path | int, name: str, **properties: str) -> str:
    """A volume with a file's content, or a blank one of this number of GiB; returns its ID.

    It is made from an image that is deleted afterwards: its properties stay in volume_image_metadata.
    """
    cinder = project.connection.block_storage
    if isinstance(content, int):
        made = _settled(project, cinder.create_volume(size=content, name=name), "available")
        return str(made.id)
    with _compact(content) as file:
        source = image(project, file, f"{name}-source", **properties)
    form = cinder.create_volume(size=gibibytes(content), name=name, image_id=source)
    made = _settled(project, form, "available")
    project.connection.image.delete_image(source)
    return str(made.id)


def server(
    project: Project,
    name: str,
    disks: Sequence[Path | int] = (),
    *,
    boot: Literal["volume", "image"] = "volume",
    nics: Sequence[Nic] = (),
    properties: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    description: str | None = None,
    flavor: str | None = None,
) -> Any:
    """A running server, in state ACTIVE.

    Args:
        project: the project of the server.
        name: may be used more than once.
        disks: files of raw bytes (or qcow2, or .iso), or sizes of blank volumes in GiB; the first is booted.
        boot: whether the first is a volume, or a local disk made from an image.
        nics: in the order of their ports.
        properties: of the image that the first disk is made from.
        metadata: of the server itself.
        description: of the server itself.
        flavor: ID; by default a flavor with 2 processors and 2 GiB of memory is made.
    """
    root = (
        image(project, Path(str(disks[0])), f"{name}-image", **(properties or {}))
        if boot == "image"
        else None
    )
    local = gibibytes(disks[0]) if boot == "image" else 0
    mapping: list[dict[str, Any]] = []
    if root is not None:
        mapping.append(_mapped("image", "local", root, 0))
    for index, content in enumerate(disks):
        if index or boot == "volume":
            of_root = {} if index else dict(properties or {})
            made = volume(project, content, f"{name}-disk-{index}", **of_root)
            mapping.append(_mapped("volume", "volume", made, -1 if index else 0))
    more = {"description": description} if description is not None else {}
    created = project.connection.compute.create_server(
        name=name,
        flavor_id=flavor or new_flavor(project, disk=local),
        networks=[{"port": _port(project, nic)} for nic in nics] or "none",
        metadata=dict(metadata or {}),
        **({"image_id": root} if root else {}),
        block_device_mapping=mapping,
        **more,
    )
    return project.connection.compute.wait_for_server(
        created, status="ACTIVE", failures=["ERROR"], interval=_INTERVAL, wait=SECONDS
    )


def stop(project: Project, server_id: str) -> None:
    """Stop it and wait until it is SHUTOFF."""
    nova = project.connection.compute
    nova.stop_server(server_id)
    nova.wait_for_server(
        nova.get_server(server_id), status="SHUTOFF", failures=["ERROR"], interval=_INTERVAL, wait=SECONDS
    )


def new_flavor(
    project: Project,
    *,
    cpus: int = 2,
    memory: int = 2048,
    disk: int = 0,
    specs: Mapping[str, str] | None = None,
) -> str:
    """A flavor that is deleted with the project; memory in MiB, disk in GiB. Returns its ID."""
    nova = project.admin.compute
    name = f"flavor-{project.id[:8]}-{len(project.flavors)}"
    made = nova.create_flavor(name=name, vcpus=cpus, ram=memory, disk=disk)
    project.flavors.append(made.id)
    if specs:
        nova.create_flavor_extra_specs(made, dict(specs))
    return str(made.id)


def gibibytes(content: Path | int) -> int:
    """The size of a volume for that content; Cinder has only whole GiB."""
    if isinstance(content, int):
        return content
    argv = ["qemu-img", "info", "--output=json", str(content)]
    size = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)["virtual-size"]
    return max(1, -(-int(size) // _GIB))


@contextmanager
def _compact(content: Path) -> Iterator[Path]:
    """A raw file as qcow2 for the duration of the upload: its holes are not sent."""
    if content.suffix in _FORMATS:
        yield content
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "disk.qcow2")
        argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(content), str(file)]
        subprocess.run(argv, check=True, capture_output=True)
        yield file


def _mapped(source: str, destination: str, uuid: str, index: int) -> dict[str, Any]:
    """One entry of block_device_mapping_v2."""
    return {
        "source_type": source,
        "destination_type": destination,
        "uuid": uuid,
        "boot_index": index,
        "delete_on_termination": True,
    }


def _port(project: Project, nic: Nic) -> str:
    form = {"network_id": nic.network}
    if nic.mac:
        form["mac_address"] = nic.mac
    return str(project.connection.network.create_port(**form).id)


def _settled(project: Project, item: Any, status: str) -> Any:
    """Wait until a volume has that state."""
    project.made.add(item.id)
    return resource.wait_for_status(
        project.connection.block_storage,
        item,
        status,
        ["error"],
        interval=_INTERVAL,
        wait=SECONDS,
    )
