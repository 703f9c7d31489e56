"""Bare disks: files without a descriptor, at URLs of their own or on this computer."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.disk.land import Landed
from steps.model.contract import Exit
from steps.model.machine import Controller, Machine, Severity
from steps.model.plan import BareDisk, DiskFormat
from steps.providers import Access, connect
from tests.provider_contract import ignore
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused

Bare = Callable[..., Access]


@pytest.fixture
def bare(access: MakeAccess) -> Bare:
    """An `Access` for bare disks."""

    def make(*disks: BareDisk, **more: Any) -> Access:
        return access(disks[0].url, disks=disks, **more)

    return make


def described(access: Access, name: str = "web") -> Machine:
    with connect(access) as source:
        source.verify()
        return source.describe(name, None)


def exported(access: Access, machine: Machine, number: int, out: Path) -> Landed:
    with connect(access) as source:
        return source.export(machine, machine.disks[number], out, DiskFormat.RAW, ignore)


def test_a_list_of_files_is_a_vm_with_these_disks(tmp_path: Path, raws: list[Path], bare: Bare) -> None:
    (tmp_path / "data.vmdk").write_bytes(stream_vmdk(raws[1].read_bytes()).data)
    access = bare(
        BareDisk(url=str(raws[0]), format="raw"),
        BareDisk(url=(tmp_path / "data.vmdk").as_uri(), format="vmdk"),
        firmware="efi",
        bare_networks=("red", "blue & green"),
    )
    machine = described(access)
    assert machine.name == "web"
    assert [(disk.id, disk.capacity, disk.controller) for disk in machine.disks] == [
        ("disk-0", raws[0].stat().st_size, Controller.UNKNOWN),
        ("disk-1", raws[1].stat().st_size, Controller.UNKNOWN),
    ]
    assert [nic.network for nic in machine.nics] == ["red", "blue & green"]
    assert machine.firmware.kind == "efi"
    codes = {concern.code for concern in machine.concerns}
    assert {"cpu-assumed", "memory-assumed", "manifest-missing"} <= codes
    assert "spec.disks names no checksum" in " ".join(concern.message for concern in machine.concerns)
    assert not [concern for concern in machine.concerns if concern.severity is Severity.BLOCK]
    for number, original in enumerate(raws):
        landed = exported(access, machine, number, tmp_path / f"out-{number}")
        assert landed.path.read_bytes() == original.read_bytes()
    with connect(access) as source:
        (listed,) = source.inventory().machines
        assert listed.name == "appliance"
        assert source.networks() == {"red", "blue & green"}


def test_without_networks_it_has_one_nic(raws: list[Path], bare: Bare) -> None:
    machine = described(bare(BareDisk(url=str(raws[0]), format="raw")))
    assert [(nic.network, nic.connected) for nic in machine.nics] == [("default", True)]
    assert machine.firmware.kind == "bios"


@pytest.mark.parametrize("ranges", [True, False])
def test_disks_are_read_from_servers_of_their_own(
    tmp_path: Path, raws: list[Path], bare: Bare, ranges: bool
) -> None:
    """The login is only for the server of the first one."""
    first, second = (Behaviour(raw.read_bytes(), ranges=ranges) for raw in raws)
    with Server(first) as one, Server(second) as two:
        access = bare(
            BareDisk(url=f"{one.url}?token=a%20b", format="raw"),
            BareDisk(url=two.url, format="raw"),
            username="mover",
            password="secret",  # noqa: S106
        )
        machine = described(access)
        for number, original in enumerate(raws):
            landed = exported(access, machine, number, tmp_path / f"out-{number}")
            assert landed.path.read_bytes() == original.read_bytes()
    assert all("Authorization" in headers for headers in first.headers)
    assert second.headers
    assert not any("Authorization" in headers for headers in second.headers)


def test_a_compressed_disk_is_unpacked(tmp_path: Path, raws: list[Path], bare: Bare) -> None:
    content = raws[0].read_bytes()
    (tmp_path / "disk.img.gz").write_bytes(gzip.compress(content))
    disk = BareDisk(url=str(tmp_path / "disk.img.gz"), format="raw", is_gzip=True, capacity=len(content))
    machine = described(bare(disk))
    assert machine.disks[0].capacity == len(content)
    assert exported(bare(disk), machine, 0, tmp_path / "out").path.read_bytes() == content


def checked(raw: Path, digest: str = "") -> BareDisk:
    digest = digest or hashlib.sha256(raw.read_bytes()).hexdigest()
    return BareDisk(url=str(raw), format="raw", checksum=f"sha256:{digest}")


def test_a_checksum_is_compared_while_the_disk_is_read(
    tmp_path: Path, raws: list[Path], bare: Bare, refused: Refused
) -> None:
    good = bare(checked(raws[0]))
    machine = described(good)
    assert not {"manifest-missing", "manifest-entry"} & {concern.code for concern in machine.concerns}
    assert exported(good, machine, 0, tmp_path / "good").path.read_bytes() == raws[0].read_bytes()
    bad = bare(checked(raws[0], "0" * 64))
    machine = described(bad)
    error = refused(lambda: exported(bad, machine, 0, tmp_path / "bad"))
    assert error.code is Exit.CORRUPT
    assert not (tmp_path / "bad").exists()


def test_a_disk_without_a_checksum_next_to_one_with_is_named(raws: list[Path], bare: Bare) -> None:
    machine = described(bare(checked(raws[0]), BareDisk(url=str(raws[1]), format="raw")))
    messages = [concern.message for concern in machine.concerns if concern.code == "manifest-entry"]
    assert messages == ["the manifest has no digest of disk-1.img"]


def test_a_missing_file_is_found_out_before_anything_else(
    raws: list[Path], bare: Bare, refused: Refused
) -> None:
    access = bare(BareDisk(url=str(raws[0]), format="raw"), BareDisk(url="/no/such.img", format="raw"))
    error = refused(lambda: described(access))
    assert error.code is Exit.NOT_FOUND
    assert "/no/such.img" in str(error)


def test_a_web_page_is_no_disk(bare: Bare, refused: Refused) -> None:
    with Server(Behaviour(b"<!DOCTYPE html><html>please log in</html>")) as server:
        error = refused(lambda: described(bare(BareDisk(url=server.url, format="raw"))))
    assert error.code is Exit.NOT_FOUND
    assert "web page" in str(error)


def test_a_disk_that_was_replaced_makes_the_copies_stale(raws: list[Path], bare: Bare) -> None:
    access = bare(BareDisk(url=str(raws[0]), format="raw"))
    machine = described(access)
    with connect(access) as source:
        mark = source.power_mark(machine)
        assert source.was_started_since(machine, mark) is None
    raws[0].write_bytes(raws[0].read_bytes() + bytes(512))
    with connect(access) as source:
        assert "was replaced" in str(source.was_started_since(machine, mark))


def test_the_name_of_a_network_cannot_change_the_descriptor(raws: list[Path], bare: Bare) -> None:
    hostile = 'x"/></Item><Item a="<&>'
    machine = described(bare(BareDisk(url=str(raws[0]), format="raw"), bare_networks=(hostile,)))
    assert [nic.network for nic in machine.nics] == [hostile]
