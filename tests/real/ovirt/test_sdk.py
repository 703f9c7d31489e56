"""The official SDK and the client of ovirt-imageio work with the stand-in as with an engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.real import scenario
from tests.real.ovirt import guest
from tests.real.ovirt.conftest import Images, StartLab, machine
from tests.real.ovirt.lab import Json, Lab
from tests.real.ovirt.layout import PYTHON


def run(lab: Lab, *argv: str, password: str | None = None) -> Json:
    program = Path(__file__).with_name("sdk_client.py")
    options: list[Any] = [PYTHON, program, lab.url, lab.ca, lab.username, *argv]
    given = lab.password if password is None else password
    answer = subprocess.run(options, check=False, input=given, text=True, capture_output=True)
    assert answer.returncode == 0, answer.stderr
    found: Json = json.loads(answer.stdout)
    return found


def test_the_sdk_reads_a_vm_with_all_that_it_refers_to(labs: StartLab, images: Images) -> None:
    custom = {"custom_properties": {"custom_property": [{"name": "hugepages", "value": "2048"}]}}
    web = machine(images, tpm=True, sockets=2, cores=3, snapshots=["before the update"], extra=custom)
    lab = labs({"vms": [web, {"name": "other"}]})

    found = run(lab, "describe", "web")

    domain = next(iter(found["domains"]))
    assert found["version"] == "4.5.6-1.el9"
    assert (found["sockets"], found["cores"], found["tpm"]) == (2, 3, True)
    assert (found["cluster"], found["boot"], found["custom"]) == ("Default", ["hd"], {"hugepages": "2048"})
    assert found["nics"] == [["nic1", "56:6f:00:00:00:01", "virtio", True, True, "ovirtmgmt", "ovirtmgmt"]]
    assert found["disks"] == [
        ["system", "virtio", True, True, images.size, "raw", "ok", domain],
        ["data", "virtio_scsi", False, True, images.size, "cow", "ok", domain],
    ]
    assert found["snapshots"] == ["Active VM", "before the update"]


def test_the_sdk_downloads_the_same_bytes_and_leaves_nothing(
    labs: StartLab, images: Images, tmp_path: Path
) -> None:
    lab = labs({"vms": [machine(images)]})

    run(lab, "download", "web", str(tmp_path))

    for alias in ("system", "data"):
        assert (tmp_path / f"{alias}.raw").read_bytes() == images.raw.read_bytes()
        assert lab.disk(alias)["status"] == "ok"
    assert {tuple(item["phases"]) for item in lab.transfers()} == {
        ("initializing", "transferring", "finalizing_success", "finished_success")
    }
    assert (lab.vm("web")["shutdowns"], lab.vm("web")["status"]) == (1, "down")
    assert (lab.servers(), lab.sessions()) == ([], 0)
    read = sum(call["bytes"] for call in lab.calls("image", "GET") if "extents" not in call["path"])
    assert read < images.size  # 2 disks, whose zeros are not read


def test_the_guest_is_a_vm_that_the_sdk_reads(labs: StartLab, images: Images) -> None:
    lab = labs(guest.inventory(images.chain, system=images.raw))
    found = run(lab, "describe", scenario.VM)
    assert (found["bios"], found["cores"], found["status"]) == ("q35_ovmf", 2, "up")
    assert [f"{nic[-1]}/{nic[-2]}" for nic in found["nics"]] == list(guest.NETWORKS)
    assert [nic[1] for nic in found["nics"]] == list(scenario.MACS)
    assert [disk[:3] for disk in found["disks"]] == [
        ["system", "virtio", True],
        ["data", "virtio_scsi", False],
    ]
    assert list(found["domains"].values()) == [guest.DOMAIN]


def test_the_sdk_is_refused_with_a_wrong_password(labs: StartLab) -> None:
    lab = labs({"vms": [{"name": "web"}]})
    found = run(lab, "describe", "web", password="wrong")  # noqa: S106
    assert found["error"] == "AuthError"
    assert "Cannot authenticate user 'admin@internal'" in found["text"]
