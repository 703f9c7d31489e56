"""A source is verified as the controller does it, in check pods, at a simulated vCenter."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import SECRET
from tests.real.simulator import Simulator
from tests.unit.controller.operator import programs
from tests.unit.controller.operator.kubelet import check_pods
from tests.unit.controller.operator.sources.place import Place
from workflows.api.status import SourceStatus

SECONDS: Final = 240.0
"""For a check on a busy machine."""


class Cluster(Place):
    """A cluster with one source; its check pods are real programs."""

    def __init__(self, simulator: Simulator, uid: str, login: str = "", **spec: Any) -> None:
        super().__init__(runtime=programs.run)
        self.kubelet.clock = time.monotonic
        values = {
            "username": simulator.username.encode(),
            "password": (login or simulator.password).encode(),
            "caCert": simulator.ca.read_bytes(),
        }
        data = {key: base64.b64encode(value).decode() for key, value in values.items()}
        metadata = {"name": "credentials", "namespace": "default"}
        self.cluster.put({"apiVersion": "v1", "kind": SECRET.kind, "metadata": metadata, "data": data})
        self.raw["metadata"]["uid"] = uid
        self.raw["spec"] |= {"endpoint": simulator.url, **spec}

    def step_until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not reached():
            assert time.monotonic() < end
            self.step()
            time.sleep(0.05)

    def checked(self) -> SourceStatus:
        """The source's status after its first check."""
        self.step_until(lambda: bool(self.status.status))
        assert check_pods(self.cluster) == []
        return self.status


@pytest.mark.vcenter
def test_a_simulated_vcenter_is_ready(tmp_path: Path) -> None:
    inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
    with Simulator.start(inventory, tmp_path) as simulator:
        assert Cluster(simulator, "one").checked().status == "clusterReady"
        assert simulator.sessions() == []
        wrong = Cluster(simulator, "one", login="wrong").checked()
        assert (wrong.status, wrong.conditions[0].reason) == ("clusterNotReady", "Denied")
        elsewhere = Cluster(simulator, "one", dc="DC9").checked()
        assert (elsewhere.status, elsewhere.conditions[0].reason) == ("clusterNotReady", "NotFound")


@pytest.mark.vcenter
def test_checks_with_one_account_do_not_end_each_others_sessions(tmp_path: Path) -> None:
    """Two clusters with sources of the same name (finding F11). In one cluster they do not run at once."""
    inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
    with Simulator.start(inventory, tmp_path) as simulator:
        first, second = Cluster(simulator, "one"), Cluster(simulator, "two")
        simulator.hold("RetrievePropertiesEx")
        first.step()
        assert simulator.held(60) != [], "the first check waits for an answer"
        assert second.checked().status == "clusterReady"
        simulator.release()
        assert first.checked().status == "clusterReady"
        assert simulator.sessions() == []


@pytest.mark.vcenter
def test_a_wrong_password_is_tried_twice_at_the_vcenter(tmp_path: Path) -> None:
    inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
    with Simulator.start(inventory, tmp_path) as simulator:
        place = Cluster(simulator, "one", login="wrong")
        place.checked()
        for _ in range(5):
            place.restart()
            place.world.now += timedelta(hours=1)
            place.step()
            place.step_until(lambda: place.checks.running() == 0)
        assert "the account is not locked" in place.status.message
        assert len(simulator.calls("Login")) == 2
