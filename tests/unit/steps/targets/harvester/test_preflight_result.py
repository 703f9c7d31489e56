"""`admit` takes the VM from its own Workflow, and waits until Argo has written it."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from steps.model.contract import Exit, StepError, Stopped
from steps.model.kinds import WORKFLOW, Kind, Object
from steps.model.machine_output import to_output
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster.completion import WorkflowRef
from steps.targets.cluster.preflight_result import PATIENCE, find_output, read_machine
from tests.unit.builders import a_machine
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.harvester.stand_ins import FakeTime

NAME = "vmi-web-0a1b2c3d-g1"
REF = WorkflowRef(NAME, "vmferry")


def node(name: str, output: str, phase: str = "Succeeded") -> Object:
    return {"name": name, "phase": phase, "outputs": {"parameters": [{"name": "machine", "value": output}]}}


def stored(cluster: FakeCluster, **status: object) -> None:
    cluster.put(
        {
            "apiVersion": WORKFLOW.api_version,
            "kind": WORKFLOW.kind,
            "metadata": {"name": NAME, "namespace": "vmferry"},
            "status": status,
        }
    )


def read(cluster: Cluster, time: FakeTime | None = None) -> object:
    time = time or FakeTime()
    return read_machine(cluster, REF, time, clock=time.clock)


def test_the_result_is_read_from_plain_and_from_packed_nodes() -> None:
    nodes = {"1": node(f"{NAME}.preflight", to_output(a_machine()))}
    plain, packed = FakeCluster(), FakeCluster()
    stored(plain, nodes=nodes)
    stored(packed, compressedNodes=base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode())
    assert read(plain) == read(packed) == a_machine()


def test_only_the_node_of_preflight_counts() -> None:
    """Every other node may have an output of that name: other steps read foreign data too."""
    others = [
        node(f"{NAME}.transfer.disks(0:disk-0).preflight", "forged"),
        node(f"{NAME}.onExit.preflight", "forged"),
        node(f"{NAME}-r1.preflight", "forged"),
        node("preflight", "forged"),
        node(f"{NAME}.preflight(0)", "an attempt"),
    ]
    nodes = {str(number): one for number, one in enumerate(others)}
    assert find_output({"nodes": nodes}, NAME) is None
    assert find_output({"nodes": {**nodes, "z": node(f"{NAME}.preflight", "real")}}, NAME) == "real"
    assert find_output({"nodes": {"z": node(f"{NAME}.preflight", "early", "Running")}}, NAME) is None


class LateCluster(FakeCluster):
    """Argo creates the pod of `admit` before it writes the Workflow."""

    asked = 0

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        self.asked += 1
        if self.asked == 3:
            stored(self, nodes={"1": node(f"{NAME}.preflight", to_output(a_machine()))})
        return super().get(kind, name, namespace)


def test_the_step_waits_until_argo_has_written_the_result() -> None:
    cluster = LateCluster()
    assert read(cluster) == a_machine()
    assert cluster.asked == 3


def test_a_result_that_does_not_come_can_be_retried() -> None:
    cluster, time = FakeCluster(), FakeTime()
    stored(cluster, nodes={})
    with pytest.raises(StepError, match="does not show the result of preflight") as caught:
        read(cluster, time)
    assert caught.value.code is Exit.UNREACHABLE
    assert time.clock() >= PATIENCE


def test_nodes_in_a_database_name_the_setting() -> None:
    cluster = FakeCluster()
    stored(cluster, offloadNodeStatusVersion="fnv:1")
    with pytest.raises(StepError, match="nodeStatusOffLoad") as caught:
        read(cluster)
    assert caught.value.code is Exit.INVALID


def test_a_stop_ends_the_wait() -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        read_machine(FakeCluster(), REF, stop)
