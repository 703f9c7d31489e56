"""What the services and our plug-ins do with bytes: the provider's tests rely on it."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openstack import resource

from tests.real.openstack import machines
from tests.real.openstack.cloud import Cloud, Project
from tests.real.openstack.machines import Nic

pytestmark = pytest.mark.openstack

_GIB = 1 << 30
_SECONDS = 300


def test_a_volume_is_read_by_snapshot_volume_and_image(project: Project, tmp_path: Path) -> None:
    disks = [_disk(tmp_path / "root.raw", 300 << 20, 1), _disk(tmp_path / "data.raw", 1 << 30, 2)]
    nics = [
        Nic(network=machines.network(project, "front", v6=True), mac="fa:16:3e:00:00:01"),
        Nic(network=machines.network(project, "back")),
    ]
    secure = {"hw_firmware_type": "uefi", "os_secure_boot": "required", "hw_tpm_model": "tpm-crb"}
    server = machines.server(
        project,
        "two-disks",
        disks,
        nics=nics,
        properties=secure | {"hw_machine_type": "q35", "hw_tpm_version": "2.0"},
        metadata={"owner": "tests"},
        description="has two disks",
    )
    assert (server.description, dict(server.metadata)) == ("has two disks", {"owner": "tests"})
    assert not server.image
    machines.stop(project, server.id)
    assert project.stops(server.id) == 1
    volumes = [entry.volume_id for entry in project.connection.compute.volume_attachments(server.id)]
    root = project.connection.block_storage.get_volume(volumes[0])
    assert secure.items() <= root.volume_image_metadata.items()
    for number, (volume, file) in enumerate(zip(volumes, disks, strict=True)):
        disk_format = ("raw", "qcow2")[number]
        assert _copied(project, volume, disk_format, tmp_path) == _padded(file)
    assert project.held() == []
    addresses = [
        len(port.fixed_ips)
        for port in project.connection.network.ports(device_id=server.id, project_id=project.id)
    ]
    assert sorted(addresses) == [1, 2]


def test_a_local_disk_is_read_by_an_image_of_its_server(project: Project, tmp_path: Path) -> None:
    disk = _disk(tmp_path / "root.raw", 200 << 20, 3)
    server = machines.server(project, "local", [disk], boot="image", properties={"hw_disk_bus": "scsi"})
    assert server.image.id
    machines.stop(project, server.id)
    image = _active(project, _of_server(project, server.id, "whole"))
    assert project.held() == ["image whole (active)"]
    assert image.hw_disk_bus == "scsi"
    assert _content(project, image, tmp_path) == _padded(disk)
    project.connection.image.delete_image(image)
    assert project.held() == []


def test_an_image_of_a_server_with_volumes_has_no_bytes(project: Project, tmp_path: Path) -> None:
    """Nova's own behaviour, which must not mislead the provider."""
    server = machines.server(project, "volumes", [_disk(tmp_path / "root.raw", 1 << 20, 4)])
    image = _active(project, _of_server(project, server.id, "empty"))
    assert image.size == 0
    assert "snapshot_id" in image.properties["block_device_mapping"]


def test_a_server_boots_from_a_volume_made_from_an_iso(project: Project, tmp_path: Path) -> None:
    """Only its metadata shows what it was made from."""
    iso = tmp_path / "install.iso"
    with iso.open(
        "wb"
    ) as file:  # the volume descriptors of ISO 9660: a primary one, and the one that ends them
        file.seek(16 * 2048)
        file.write(b"\1CD001\1".ljust(2048, b"\0") + b"\xffCD001\1".ljust(2048, b"\0"))
        file.truncate(4 << 20)
    server = machines.server(project, "installer", [iso])
    [attached] = project.connection.compute.volume_attachments(server.id)
    volume = project.connection.block_storage.get_volume(attached.volume_id)
    assert volume.volume_image_metadata["disk_format"] == "iso"


def test_both_kinds_of_credentials_work(project: Project) -> None:
    with project.application_credential().connect() as connection:
        assert connection.current_project_id == project.id
    assert project.credentials.user_domain != project.credentials.project_domain
    assert project.connection.current_project_id == project.id


def test_nothing_is_left_of_a_project(cloud: Cloud, tmp_path: Path) -> None:
    with cloud.project() as project:
        disks: list[Path | int] = [_disk(tmp_path / "root.raw", 1 << 20, 5), 1]
        booted = machines.server(project, "from-image", disks, boot="image")
        machines.server(project, "from-volume", disks)
        volume = project.connection.compute.volume_attachments(booted.id)
        snapshot = project.connection.block_storage.create_snapshot(
            volume_id=next(iter(volume)).volume_id, name="forgotten", force=True
        )
        assert snapshot.id in [item.id for item in project.connection.block_storage.snapshots()]
        ids = _ids(project)
        assert len(_files_of(cloud, ids)) >= 5
        assert len(project.held()) == 1
    assert _files_of(cloud, ids) == []


def _ids(project: Project) -> set[str]:
    """The IDs of everything in a project that may have a file."""
    storage, compute = project.connection.block_storage, project.connection.compute
    images = project.connection.image.images(owner=project.id)
    listed = (storage.volumes(), storage.snapshots(), compute.servers(), images)
    return {item.id for items in listed for item in items}


def _files_of(cloud: Cloud, ids: set[str]) -> list[str]:
    """Files of the stores with these IDs; other tests have theirs there at the same time."""
    return [name for name in cloud.left() if any(one in name for one in ids)]


def _disk(path: Path, size: int, seed: int) -> Path:
    """A sparse file with some random bytes at its start, within and at its end."""
    content = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        for offset in (0, size // 3, size - (1 << 16)):
            file.seek(offset)
            file.write(content.randbytes(1 << 16))
    return path


def _padded(file: Path) -> str:
    """SHA-256 of the file's bytes and of the zeros that fill the last GiB of its volume."""
    return _digest(file, machines.gibibytes(file) * _GIB)


def _digest(file: Path, size: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
            size -= len(block)
    for _ in range(size >> 20):
        digest.update(bytes(1 << 20))
    digest.update(bytes(size % (1 << 20)))
    return digest.hexdigest()


def _copied(project: Project, volume: str, disk_format: str, folder: Path) -> str:
    """SHA-256 of a volume's bytes, read in the provider's way; the copies are deleted."""
    cinder, glance = project.connection.block_storage, project.connection.image
    snapshot = _settled(cinder, cinder.create_snapshot(volume_id=volume, name="copy", force=True))
    copy = _settled(cinder, cinder.create_volume(snapshot_id=snapshot.id, name="copy"))
    uploaded = cinder.upload_volume_to_image(copy, "copy", disk_format=disk_format, container_format="bare")
    image = _active(project, uploaded["image_id"])
    digest = _content(project, image, folder)
    glance.delete_image(image)
    _settled(cinder, copy)
    for item, delete in ((copy, cinder.delete_volume), (snapshot, cinder.delete_snapshot)):
        delete(item)
        resource.wait_for_delete(cinder, item, interval=0.3, wait=_SECONDS)
    return digest


def _settled(cinder: Any, item: Any) -> Any:
    return resource.wait_for_status(cinder, item, "available", ["error"], interval=0.3, wait=_SECONDS)


def _of_server(project: Project, server_id: str, name: str) -> str:
    """Nova's createImage; the SDK's own call for it warns."""
    action = {"createImage": {"name": name}}
    answer = project.connection.compute.post(f"/servers/{server_id}/action", json=action, microversion="2.45")
    assert answer.status_code == 202, answer.text
    identifier: str = answer.json()["image_id"]
    return identifier


def _active(project: Project, image: str) -> Any:
    glance = project.connection.image
    return resource.wait_for_status(
        glance, glance.get_image(image), "active", ["killed"], interval=0.3, wait=_SECONDS
    )


def _content(project: Project, image: Any, folder: Path) -> str:
    """SHA-256 of the raw content of an image; Glance's own digest of the download is checked."""
    file = folder / "download"
    answer = project.connection.image.get(f"/images/{image.id}/file", stream=True)
    digest = hashlib.sha512()
    with file.open("wb") as out:
        for block in answer.iter_content(1 << 20):
            digest.update(block)
            out.write(block)
    assert digest.hexdigest() == image.hash_value
    raw = folder / "download.raw"
    argv = ["qemu-img", "convert", "-f", image.disk_format, "-O", "raw", str(file), str(raw)]
    subprocess.run(argv, check=True, capture_output=True)
    return _digest(raw, raw.stat().st_size)
