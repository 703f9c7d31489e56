"""An import on a computer outlasts a short outage of its source, and warns of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.model.contract import Exit
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.e2e.harness import MIB
from tests.real.simulator import Simulator

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]
WAIT = ("--retry-delay", "0.1", "--source-wait", "300")


@pytest.fixture(scope="module")
def vcenter(disks: MakeDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    machine = harness.machine("web", disks("outage", 5))
    with harness.vcenter(tmp_path_factory.mktemp("outage"), machine) as simulator:
        yield simulator


def test_an_import_resumes_in_the_same_attempt(vcenter: Simulator, disks: MakeDisk, tmp_path: Path) -> None:
    given = harness.manifests(vcenter, tmp_path / "manifests.yaml", "web")
    into = tmp_path / "out"
    vcenter.faults(pauseAt=2 * MIB)
    with harness.started(tmp_path, "run", "-f", given, "--into", into, *WAIT) as running:
        running.held(vcenter)
        vcenter.go_away("refuse")
        vcenter.release()
        running.until(lambda: "waits for the source since" in running.err, why="the wait")
        vcenter.come_back()
        ended = running.wait()
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disks("outage", 5))
    assert len(harness.attempts(into, "export")) == 1
    assert harness.left(vcenter) == []


def test_a_source_that_has_never_answered_fails_soon(vcenter: Simulator, tmp_path: Path) -> None:
    """A wrong address must not wait for half an hour."""
    given = harness.manifests(vcenter, tmp_path / "manifests.yaml", "web")
    vcenter.go_away("refuse")
    try:
        ended = harness.vmferry("run", "-f", given, "--into", tmp_path / "out", *WAIT)
    finally:
        vcenter.come_back()
    assert ended.code == Exit.UNREACHABLE
    assert "waits for the source" not in ended.err
