"""`vmferry run` with an adaptation, from a file to a folder, and its retry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from steps.guest import v2v
from steps.model.adapted import ADAPTED, Adapted
from steps.model.contract import Exit
from steps.model.guest import GUEST, Guest
from tests.real.adaptation.conftest import digest
from tests.real.inspection.conftest import ROOT

pytestmark = pytest.mark.timeout(3600)
MANIFEST = """\
apiVersion: migration.harvesterhci.io/v1beta1
kind: OvaSource
metadata: {{name: files}}
spec:
  disks: [{{url: {image}}}]
  networks: [front]
---
apiVersion: migration.harvesterhci.io/v1beta1
kind: VirtualMachineImport
metadata: {{name: win}}
spec:
  virtualMachineName: win
  sourceCluster: {{kind: OvaSource, name: files}}
  cpus: 1
  memory: 1Gi
  guest: {{adapt: auto, whenNotAdaptable: fail}}
"""


def vmferry(environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controller.cli.main", *argv],
        cwd=ROOT,
        env={**environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def test_an_import_adapts_its_guest_and_a_retry_repeats_only_that(
    windows: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    manifest, into = tmp_path / "vm.yaml", tmp_path / "win"
    manifest.write_text(MANIFEST.format(image=windows / "windows.img"))
    environment = {**environment, v2v.TOOLS_ENV: str(windows / "virt-tools")}
    before = digest(windows / "windows.img")
    failed = vmferry(environment, "run", "-f", str(manifest), "--into", str(into), "--retry-delay", "0")
    assert failed.returncode == Exit.INVALID, failed.stderr
    assert "there is no virtio-win, which has its drivers" in failed.stderr + failed.stdout
    landed = digest(into / ".vmferry/scratch/disk-0/disk.qcow2")
    done = vmferry(environment, "retry", str(into), "--virtio-win", str(windows / "virtio-win"))
    assert done.returncode == 0, done.stderr
    assert "adapted: the guest boots from virtio now" in done.stderr
    record = Adapted.load(into / ".vmferry/request" / ADAPTED)
    assert [disk.landed for disk in record.disks] == [landed]
    assert [disk.handed_over for disk in record.disks] == [digest(into / "disk-0.qcow2")] != [landed]
    assert record.disks[0].handed_over in (into / "SHA256SUMS").read_text()
    assert Guest.load(into / ".vmferry/request" / GUEST).verdict.answer == "fits"
    assert digest(windows / "windows.img") == before
    check = ["qemu-img", "check", "-q", "-f", "qcow2", str(into / "disk-0.qcow2")]
    subprocess.run(check, check=True)
    stages = [path.name for path in sorted((into / ".vmferry/logs").iterdir())]
    assert "adapt.log" in stages
    assert (into / ".vmferry/logs/inspect.log").read_text().count("verdict convert") == 1
    assert not (into / ".vmferry/scratch").exists()
