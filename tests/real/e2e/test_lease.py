"""A lease that really times out in a whole import, as its keep-alive does not get through."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.contract import Exit
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.e2e.harness import EXPORT, MIB, QUICK

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]


def test_a_lease_that_timed_out_is_replaced(disks: MakeDisk, tmp_path: Path) -> None:
    """The keep-alive does not get through for longer than `leaseTimeout`, here 2 s; then it does again."""
    disk = disks("one", 5)
    web = harness.machine("web", disk)
    into = tmp_path / "out"
    with harness.vcenter(tmp_path, web, leaseTimeoutSeconds=2) as vcenter:
        given = harness.manifests(vcenter, tmp_path / "manifests.yaml", "web")
        vcenter.faults(pauseAt=2 * MIB)
        vcenter.hold("HttpNfcLeaseProgress", nth=2)
        with harness.started(tmp_path, "run", "-f", given, "--into", into, *QUICK) as running:
            running.until(lambda: len(vcenter.held(0)) == 2, why="stream and keep-alive held")
            running.until(
                lambda: [lease["end"] for lease in vcenter.leases(ended=True)][:1] == ["expired"],
                why="the lease timed out",
            )
            vcenter.release()
            ended = running.wait()
        assert ended.code == Exit.DONE, ended.err
        assert harness.imported(into, disk)
        assert [task for task in harness.tasks(vcenter, "web") if task[0] == EXPORT] == [
            (EXPORT, "Timedout"),
            (EXPORT, ""),
        ]
        assert harness.left(vcenter) == []
    first, second = harness.attempts(into, "export")
    assert (int(first["outputs"]["exitCode"]), second["phase"]) == (Exit.BROKEN_STREAM, "Succeeded")
    assert "the export lease was lost" in first["message"]
    log = (into / ".vmferry" / "logs" / "export-disk-0.log").read_text()
    assert "bytes, then resuming" in log
