"""`vmferry run` imports files with disks: from this computer and from a web server."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from steps.model.contract import Exit
from steps.model.kinds import API_VERSION
from tests.real.e2e import harness
from tests.real.e2e.harness import MIB, QUICK
from tests.unit.steps.disk.server import Behaviour, Server

pytestmark = pytest.mark.programs


def manifests(path: Path, disks: list[dict[str, Any]], **spec: Any) -> Path:
    source = {"kind": "OvaSource", "name": "images"}
    listed = {"disks": disks, **spec}
    documents = [
        {"apiVersion": API_VERSION, "kind": "OvaSource", "metadata": {"name": "images"}, "spec": listed},
        {
            "apiVersion": API_VERSION,
            "kind": "VirtualMachineImport",
            "metadata": {"name": "web"},
            "spec": {"virtualMachineName": "web", "sourceCluster": source, "cpus": 2, "memory": "2Gi"},
        },
    ]
    YAML().dump_all(documents, path)
    return path


@pytest.fixture
def originals(tmp_path: Path) -> list[Path]:
    return [harness.random_disk(tmp_path / f"disk-{number}.img", 2 * MIB) for number in range(2)]


def test_disks_of_two_formats_become_a_vm(tmp_path: Path, originals: list[Path]) -> None:
    image = tmp_path / "system.qcow2"
    argv = ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2"]
    subprocess.run([*argv, originals[0], image], check=True)
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    with Server(Behaviour(originals[1].read_bytes())) as server:
        disks = [
            {"url": str(image), "checksum": f"sha256:{digest}"},
            {"url": f"{server.url}?key=1", "format": "raw"},
        ]
        given = manifests(tmp_path / "manifests.yaml", disks, firmware="efi")
        planned = harness.vmferry("plan", "-f", given, "-o", "json")
        assert planned.code == Exit.DONE, planned.err
        done = harness.vmferry("run", "-f", given, "--into", tmp_path / "out", *QUICK)
    assert done.code == Exit.DONE, done.err
    assert harness.imported(tmp_path / "out", *originals)
    vm = YAML(typ="safe").load(tmp_path / "out" / "virtualmachine.yaml")
    domain = vm["spec"]["template"]["spec"]["domain"]
    assert "efi" in domain["firmware"]["bootloader"]
    assert (domain["cpu"]["cores"], domain["memory"]["guest"]) == (2, "2048Mi")
    assert len(domain["devices"]["interfaces"]) == 1


def test_a_disk_of_another_checksum_is_refused(tmp_path: Path, originals: list[Path]) -> None:
    disks = [{"url": str(originals[0]), "checksum": f"sha256:{'0' * 64}"}]
    given = manifests(tmp_path / "manifests.yaml", disks)
    done = harness.vmferry("run", "-f", given, "--into", tmp_path / "out", *QUICK)
    assert done.code == Exit.CORRUPT
    assert "does not match its digest" in done.error


def test_what_is_wrong_with_the_list_is_said_at_once(tmp_path: Path) -> None:
    disks = [{"url": "/srv/a.bin"}, {"url": "/srv/b.img.gz", "checksum": "sha256:12"}]
    given = manifests(tmp_path / "manifests.yaml", disks, url="https://host/a.ova")
    done = harness.vmferry("plan", "-f", given, "-o", "json")
    assert done.code == Exit.INVALID
    said = " ".join((done.err + done.out).split())
    for part in (
        "spec.url and spec.disks exclude each other",
        "spec.disks[0]: the format of",
        "spec.disks[1].checksum",
        "spec.disks[1]: the size of a compressed raw disk is not known",
    ):
        assert part in said, said
    assert "Traceback" not in said
    assert not json.loads(done.out or "[]")
