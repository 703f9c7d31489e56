"""The real CDI fills claims in the lab: on a plain class, and by its populator on a class of a CSI driver."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.machine import Controller, Firmware
from tests.real import scenario
from tests.real.cluster.lab import Lab
from tests.real.guest import datadisk
from tests.real.standins.api import Api
from tests.real.standins.files import served
from tests.real.standins.process import eventually
from tests.real.virt import guests

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("cdi")]

MIB: Final = 1 << 20
GIB: Final = 1 << 30
FILL_SECONDS: Final = 1200.0
"""A guest of 2 GiB takes 13 to 22 s in an idle lab."""


def data_volume(lab: Lab, namespace: str, name: str, url: str, pvc: dict[str, Any]) -> None:
    """A DataVolume of an http source; returns when CDI says that the claim is filled."""
    lab.apply(
        {
            "apiVersion": "cdi.kubevirt.io/v1beta1",
            "kind": "DataVolume",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"source": {"http": {"url": url}}, "pvc": {"accessModes": ["ReadWriteOnce"], **pvc}},
        }
    )

    def filled() -> bool:
        where = ("--namespace", namespace, "get", "datavolume", name)
        return lab.kubectl(*where, "-o", "jsonpath={.status.phase}") == "Succeeded"

    eventually(filled, f"DataVolume {name}", FILL_SECONDS)


def differences(lab: Lab, namespace: str, name: str, original: Path) -> str:
    """The complaint of qemu-img if the claim has other bytes than the original; "" if they are equal."""
    disk = lab.place.disk(Api(lab.place.kubeconfig), namespace, name)
    argv = ["qemu-img", "compare", "-f", "raw", "-F", "raw", str(original), str(disk)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_a_claim_of_a_csi_class_is_filled_and_not_bound_empty(
    lab: Lab, namespace: str, csi_class: str, tmp_path: Path
) -> None:
    data = datadisk.make(tmp_path / "data.img")
    pvc = {
        "storageClassName": csi_class,
        "volumeMode": "Block",
        "resources": {"requests": {"storage": str(data.size)}},
    }
    with served(lab.host, tmp_path) as url:
        data_volume(lab, namespace, "data", f"{url}/data.img", pvc)
    assert differences(lab, namespace, "data", data.path) == ""


def test_the_guest_boots_from_a_filesystem_volume_that_cdi_filled(
    lab: Lab, namespace: str, tmp_path: Path
) -> None:
    system, data = scenario.guest_image(), datadisk.make(tmp_path / "data.img", stay=True)
    compact = tmp_path / "guest.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", system, compact], check=True, capture_output=True
    )
    sizes = {"guest.qcow2": 3 * GIB, "data.img": 512 * MIB}
    with served(lab.host, tmp_path) as url:
        for number, (file, size) in enumerate(sizes.items()):
            pvc = {"storageClassName": "disk", "resources": {"requests": {"storage": str(size)}}}
            data_volume(lab, namespace, f"disk-{number}", f"{url}/{file}", pvc)
    assert differences(lab, namespace, "disk-0", system) == ""
    found = guests.machine("guest-cdi", Controller.VIRTIO, Firmware(kind="efi"), data)
    guest = guests.start(lab, namespace, found, {disk.id: disk.id for disk in found.disks})
    report = scenario.proven(guest.reported(), data)
    assert (report.firmware, report.root.bus) == ("uefi", "virtio")
    assert report.secureboot != "on"
    assert guest.screenshot() >= guests.SMALLEST_SCREEN
