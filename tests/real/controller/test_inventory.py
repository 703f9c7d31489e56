"""kubectl reads what `vmferry inventory` writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.controller.cli.conftest import Vmferry
from tests.unit.controller.cli.test_inventory import Look, source_has

__all__ = ["source_has"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_accepts_the_folder(vmferry: Vmferry, source_has: Look, tmp_path: Path) -> None:
    vmferry("inventory", "-f", "vm.yaml", "--all", "--manifest")
    argv = ["kubectl", "label", "--local", "-f", "imports", "a=b", "-o", "name"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [
        "vmwaresource.migration.harvesterhci.io/vc",
        "virtualmachineimport.migration.harvesterhci.io/web01",
    ]
