"""`helm uninstall` with imports in every state: it is refused with a reason, or nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steps.model import names
from steps.model.kinds import DEPLOYMENT, IMPORT, SECRET
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.world import FAILED, INVALID, RUNNING, World, a_vm

pytestmark = pytest.mark.argo
Make = Callable[..., World]
HELD = ("reading", "gated", "cancelled", "unknown")


@pytest.fixture
def reinstalled(ground: Ground) -> Iterator[Ground]:
    """The ground, for a test that removes the chart."""
    yield ground
    ground.install()


@pytest.mark.alone
def test_uninstall_with_imports_in_every_state(reinstalled: Ground, make: Make, tmp_path: Path) -> None:
    ground = reinstalled
    made = make([a_vm(tmp_path, name) for name in ("done", *HELD[:3])])
    done = made.begin("done")
    waiting = made.begin("done", name="waiting", source="nowhere")
    done.until(RUNNING)
    gated = made.begin("gated", approvals=["poweroff"])
    unknown = made.begin("unknown")
    eventually(lambda: gated.summary.reason == "WaitingForApproval", gated.describe)
    made.simulator.faults(pauseAt=65536)
    cancelled = made.begin("cancelled")
    eventually(lambda: made.simulator.held(0), cancelled.describe)
    cancelled.change(cancel=True)
    cancelled.until(FAILED)
    made.simulator.faults(pauseAt=65536)  # a rule applies to one disk
    reading = made.begin("reading")
    eventually(lambda: made.simulator.held(0), reading.describe)
    unknown.until(INVALID)

    output = ground.uninstall()
    assert all(f"{made.namespace}/{name} (" in output for name in HELD), output
    assert f"{made.namespace}/done" not in output
    assert f"{made.namespace}/waiting" not in output
    assert ground.cluster.get(DEPLOYMENT, "vmferry-controller", RELEASE), "nothing was deleted"

    for imported in (reading, gated, cancelled, unknown):
        imported.delete()
    assert ground.uninstall() == ""
    copies = ground.all(SECRET, RELEASE, **{names.LABEL_NAMESPACE: made.namespace})
    assert copies == []
    for imported in (done, waiting):
        ground.cluster.delete(IMPORT, imported.name, made.namespace)
    eventually(lambda: made.all(IMPORT) == [], "imports that no controller has to release", 20)
    assert done.machine("done"), "what an import made is its owner's"
    ground.install()  # after a new install, the controller deletes the rest of the finished run
