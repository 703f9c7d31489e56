"""A vCenter that is away, in a real cluster: imports wait and resume, and leftovers are released later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model import names
from steps.model.kinds import CONFIG_MAP, SOURCES, Object
from steps.model.sources import SourceKind
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.world import RUNNING, World, a_vm
from workflows.api.annotations import RETRY

pytestmark = pytest.mark.argo
Make = Callable[..., World]


def verify_now(made: World) -> None:
    """Let the controller verify the source at once, as a person may."""
    change: Object = {"metadata": {"annotations": {RETRY: "true"}}}
    made.ground.cluster.patch(SOURCES[SourceKind.VMWARE], "vcenter", change, made.namespace)


def requests(made: World) -> list[Object]:
    found = made.ground.all(CONFIG_MAP, RELEASE, **{names.LABEL_NAMESPACE: made.namespace})
    return [one for one in found if one["metadata"]["name"].endswith("-request")]


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
    verify_now(made)
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
    (request,) = requests(made)
    assert request["metadata"]["labels"][names.LABEL_LEFTOVERS] == "true"
    made.simulator.come_back()
    verify_now(made)
    eventually(lambda: not requests(made), lambda: f"requests to go: {len(requests(made))}", 300)
    assert made.simulator.leases() == []
    assert made.simulator.sessions() == []
    assert "continues to release" in ground.kubectl("get", "events", "-n", made.namespace)
