"""VMs of a simulated vCenter: filters with real tags, the report, and an import by wildcard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]


def machines(disk: Path) -> list[dict[str, Any]]:
    return [
        harness.machine("web-1", disk, folder="prod/web", tags=["env:prod", "wave:1"]),
        harness.machine("web-2", disk, folder="prod/web", tags=["env:prod"]),
        harness.machine("<b>db", disk, folder="prod"),
        harness.machine("empty", folder="test"),
    ]


def test_vms_are_found_assessed_and_imported_by_wildcard(disks: MakeDisk, tmp_path: Path) -> None:
    disk = disks("one", 5)
    with harness.vcenter(tmp_path, *machines(disk)) as simulator:
        secret, source, _ = scenario.manifests(simulator)
        given = scenario.write(tmp_path / "source.yaml", [secret, source])

        def found(*words: str) -> list[str]:
            ended = harness.vmferry("inventory", "-f", given, "-o", "json", *words)
            assert ended.code == Exit.DONE, ended.err
            return [one["name"] for one in json.loads(ended.out)["machines"]]

        assert found("--tag", "env:prod") == ["web-1", "web-2"]
        assert found("--tag", "env:*", "--tag", "1") == ["web-1"]
        assert found("--folder", "prod", "--name", "*db*") == ["<b>db"]
        assert found("--readiness", "blocked") == ["empty"]
        assert found("--folder", "/DC0/vm/prod", "--sort", "name", "--descending") == [
            "web-2",
            "web-1",
            "<b>db",
        ]
        ended = harness.vmferry("inventory", "-f", given, "--report", tmp_path / "report")
        assert ended.code == Exit.DONE, ended.err
        page = (tmp_path / "report.html").read_text()
        assert "&lt;b&gt;db" in page
        assert "<b>db" not in page
        assert "`/DC0/vm/prod/<b>db`" in (tmp_path / "report.md").read_text()

        words = ("run", "-f", given, "--vm", "/DC0/vm/prod/web/*", "--into", tmp_path / "out")
        asked = harness.vmferry(*words)
        assert asked.code == Exit.INVALID
        assert "add --yes" in asked.error
        assert simulator.tasks() == []
        done = harness.vmferry(*words, "--yes")
        assert done.code == Exit.DONE, done.err
        assert harness.left(simulator) == []
    for name in ("web-1", "web-2"):
        assert harness.imported(tmp_path / "out" / name, disk)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["web-1", "web-2"]
