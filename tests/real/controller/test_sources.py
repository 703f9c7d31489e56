"""A source is verified as the controller does it, at a simulated vCenter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.operator.options import Options
from controller.operator.sources.check import SourceVerdict, verify
from tests.real.simulator import Simulator
from tests.unit.builders import a_source


@pytest.mark.vcenter
def test_a_simulated_vcenter_is_ready(tmp_path: Path) -> None:
    inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
    with Simulator.start(inventory, tmp_path) as simulator:
        source = a_source(endpoint=simulator.url)
        values = {
            "username": simulator.username.encode(),
            "password": simulator.password.encode(),
            "caCert": simulator.ca.read_bytes(),
        }
        assert verify(source, values, Options()).ready
        assert simulator.sessions() == []
        wrong = verify(source, {**values, "password": b"wrong"}, Options())
        assert (wrong.ready, wrong.reason) == (False, "Denied")
        elsewhere = verify(a_source(endpoint=simulator.url, dc="DC9"), values, Options())
        assert (elsewhere.ready, elsewhere.reason) == (False, "NotFound")


@pytest.mark.vcenter
def test_checks_with_one_account_do_not_end_each_others_sessions(tmp_path: Path) -> None:
    """Two sources of one vCenter, or of two clusters with sources of the same name (finding F11)."""
    inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
    with Simulator.start(inventory, tmp_path) as simulator, ThreadPoolExecutor() as pool:
        values = {
            "username": simulator.username.encode(),
            "password": simulator.password.encode(),
            "caCert": simulator.ca.read_bytes(),
        }
        sources = [
            source.model_copy(
                update={"metadata": source.metadata.model_copy(update={"uid": f"uid-{number}"})}
            )
            for number, source in enumerate([a_source(endpoint=simulator.url)] * 2)
        ]
        simulator.hold("RetrievePropertiesEx")
        first = pool.submit(verify, sources[0], values, Options())
        assert simulator.held(60) != [], "the first check waits for an answer"
        assert pool.submit(verify, sources[1], values, Options()).result() == SourceVerdict(ready=True)
        simulator.release()
        assert first.result() == SourceVerdict(ready=True)
        assert simulator.sessions() == []
