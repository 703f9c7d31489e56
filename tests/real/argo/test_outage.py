"""A vCenter that is away, in a real cluster: imports wait and resume, and leftovers are released later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model import names
from steps.model.sources import SourceKind
from tests.real.argo.ground import Ground, eventually
from tests.real.argo.world import RUNNING, World, a_vm

pytestmark = pytest.mark.argo
Make = Callable[..., World]


@pytest.mark.parametrize("mode", ["refuse", "503"])
def test_a_restart_of_vcenter_in_the_middle_of_a_transfer_fails_nothing(
    make: Make, tmp_path: Path, mode: str
) -> None:
    made = make([a_vm(tmp_path, "outlasts")])
    made.simulator.faults(pauseAt=65536)
    imported = made.begin("outlasts")
    eventually(lambda: made.simulator.held(0), imported.describe)
    made.simulator.go_away(mode)
    made.simulator.release()
    made.verify_now(SourceKind.VMWARE, "vcenter")
    eventually(lambda: "export waits for the source since" in imported.status.message, imported.describe)
    assert imported.summary.reason == "SourceNotReady"
    made.simulator.come_back()
    imported.until(RUNNING)
    exports = [node for node in imported.seen().nodes if node.get("templateName") == "export"]
    assert len([node for node in exports if node["type"] == "Pod"]) == 1, "no attempt was counted"
    assert made.simulator.vm("outlasts")["shutdowns"] == 1


@pytest.mark.alone
def test_a_source_that_is_away_during_the_deletion_is_released_when_it_answers(
    ground: Ground, make: Make, settings: Callable[..., None], tmp_path: Path
) -> None:
    settings(controller={"deletionTimeoutSeconds": 20})
    made = make([a_vm(tmp_path, "deleted-early")])
    made.simulator.faults(pauseAt=65536)
    imported = made.begin("deleted-early")
    eventually(lambda: made.simulator.held(0), imported.describe)
    made.simulator.go_away("refuse")
    made.simulator.release()
    imported.delete(seconds=180)
    (request,) = made.requests()
    assert request["metadata"]["labels"][names.LABEL_LEFTOVERS] == "true"
    made.simulator.come_back()
    made.verify_now(SourceKind.VMWARE, "vcenter")
    eventually(lambda: not made.requests(), lambda: f"requests to go: {len(made.requests())}", 300)
    assert made.simulator.leases() == []
    assert made.simulator.sessions() == []
    assert "continues to release" in ground.kubectl("get", "events", "-n", made.namespace)
