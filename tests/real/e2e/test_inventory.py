"""A folder of manifests, from the inventory of the source to the imported VMs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.simulator import Simulator

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]


def machines(disk: Path) -> list[dict[str, Any]]:
    return [
        harness.machine("web", disk, folder="a"),
        harness.machine("web", disk, folder="b/c", annotation="not the one in a"),
        harness.machine("Camel_Case.VM", disk),
        harness.machine("empty"),
    ]


def given(simulator: Simulator, path: Path) -> Path:
    """The Secret and the source."""
    secret, source, _ = scenario.manifests(simulator)
    return scenario.write(path, [secret, source])


def test_manifests_of_a_source_are_written_edited_planned_and_run(disks: MakeDisk, tmp_path: Path) -> None:
    disk, folder = disks("one", 5), tmp_path / "imports"
    with harness.vcenter(tmp_path, *machines(disk)) as simulator:
        source = given(simulator, tmp_path / "vm.yaml")
        fill = ("inventory", "-f", source, "--all", "--manifest", "--into", folder)
        first = harness.vmferry(*fill)
        assert first.code == Exit.DONE, first.err
        assert "/DC0/vm/empty cannot be imported: empty has no disks" in first.err
        mapping = folder / "mapping.vmferry"
        mapping.write_text(mapping.read_text().replace('Network: ""', "Network: default/vlan7"))
        again = harness.vmferry(*fill, "-o", "json")
        files = {Path(one["file"]).name: one for one in json.loads(again.out)["files"]}
        assert sorted(one["result"] for one in files.values()) == ["unchanged"] * 2 + ["updated"] * 3
        planned = json.loads(harness.vmferry("plan", "-f", source, "-f", folder, "-o", "json").out)
        assert [one["possible"] for one in planned] == [True] * 3
        ended = harness.vmferry("run", "-f", source, "-f", folder, "--into", tmp_path / "out")
        assert ended.code == Exit.DONE, ended.err
        assert harness.left(simulator) == []
    for name in (one["import"] for one in files.values() if "import" in one):
        assert harness.imported(tmp_path / "out" / name, disk)
        assert "networkName: default/vlan7" in (tmp_path / "out" / name / "virtualmachine.yaml").read_text()
