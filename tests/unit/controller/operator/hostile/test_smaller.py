"""The smaller findings of the controller: packed nodes (F19), log lines and health (F24)."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from typing import Any, Final

import pytest
from prometheus_client.registry import Collector

from controller.operator import health, telemetry
from controller.operator.routing import EventRouter
from controller.operator.sweep import sweep
from controller.operator.workqueue import Queue
from steps.model import names
from steps.model.kinds import CONFIG_MAP, IMPORT, WORKFLOW
from steps.model.workflow_nodes import nodes_of
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import node
from workflows.status.packed import pack

GATE: Final = node("approve-poweroff", "Running", kind="Suspend", templateName="approve-poweroff")


def at_the_gate() -> World:
    """An import whose Workflow Argo has packed, as it does with some sixty disks."""
    world = World(approvals=["poweroff"])
    world.look()
    world.argo(node("preflight"), GATE)
    found = world.workflow()
    status = found["status"]
    status["compressedNodes"] = pack(status.pop("nodes"))
    return world


def test_an_approval_reaches_a_gate_in_packed_nodes() -> None:
    world = at_the_gate()
    before = nodes_of(world.workflow()["status"])
    world.annotate(approve="poweroff")
    world.look()
    status = world.workflow()["status"]
    assert "nodes" not in status, "Argo reads `nodes` first, and would lose the packed ones"
    after = nodes_of(status)
    gates = [one for one in after.values() if one["type"] == "Suspend"]
    assert [one["phase"] for one in gates] == ["Succeeded"]
    assert {id_: one for id_, one in after.items() if one["type"] != "Suspend"} == {
        id_: one for id_, one in before.items() if one["type"] != "Suspend"
    }
    assert "approve" not in str(world.notes())


def test_an_approval_is_not_written_over_a_change_by_argo(monkeypatch: pytest.MonkeyPatch) -> None:
    world = at_the_gate()
    world.annotate(approve="poweroff")
    patch = world.cluster.patch

    def raced(kind: Any, name: str, change: Any, namespace: str = "") -> Any:
        if kind == WORKFLOW and "status" in change:
            found = world.cluster.peek(WORKFLOW, name, namespace)
            assert found is not None
            world.cluster.put(found)  # Argo writes at this moment
        return patch(kind, name, change, namespace)

    monkeypatch.setattr(world.cluster, "patch", raced)
    with pytest.raises(Exception, match="modified"):
        world.look()
    gates = [one for one in nodes_of(world.workflow()["status"]).values() if one["type"] == "Suspend"]
    assert [one["phase"] for one in gates] == ["Running"]


@pytest.mark.parametrize("nodes", [{"0": None}, {"0": "x"}, {"0": []}, {"0": {"type": "Suspend"}}])
def test_nodes_of_another_shape_change_nothing(nodes: Any) -> None:
    world = at_the_gate()
    world.workflow()["status"]["compressedNodes"] = pack(nodes)
    world.annotate(approve="poweroff")
    world.look(2)


@pytest.mark.parametrize(
    "text", ["a\rb", "a\x1b[2Jb", "a\u2028b", "a\nlevel=fatal", 'a"b', "a\\b", "\x9b1m", "\ud800"]
)
def test_a_name_does_not_control_the_terminal(text: str) -> None:
    line = telemetry._logfmt(None, "", {"level": "info", "msg": "found", "name": text})
    assert line.isprintable()
    assert re.fullmatch(r'level=info msg="found" name="([^"\\]|\\.)*"', line)


def test_a_name_in_another_script_stays_readable() -> None:
    assert 'msg="Größe 大"' in telemetry._logfmt(None, "", {"level": "info", "msg": "Größe 大"})


class Nothing(Collector):
    def collect(self) -> list[Any]:
        return []


def test_silent_connections_hold_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_SECONDS", 0.2)
    before = threading.active_count()
    server = health.serve(Nothing(), lambda: "", lambda: "", port=0)
    try:
        silent = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(30)]
        for one in silent:
            one.settimeout(10)
            assert one.recv(1) == b"", "the server closes it"
            one.close()
        answers = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        answers.request("GET", "/healthz")
        assert answers.getresponse().status == 200
        answers.close()
    finally:
        server.shutdown()
        server.server_close()
    assert threading.active_count() <= before + 2


def test_health_answers_both_families() -> None:
    """The kubelet of an IPv6-only cluster asks the pod's IPv6 address."""
    server = health.serve(Nothing(), lambda: "", lambda: "", port=0)
    try:
        for host in ("127.0.0.1", "::1") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
            asking = http.client.HTTPConnection(host, server.server_port, timeout=10)
            asking.request("GET", "/healthz")
            assert asking.getresponse().status == 200
            asking.close()
    finally:
        server.shutdown()
        server.server_close()


def test_sources_that_nobody_uses_are_forgotten() -> None:
    """Many names that were used once must not slow down each event (F21)."""
    hub = EventRouter(Queue(), Queue())
    metadata = {"name": "web", "namespace": "default", "uid": "uid"}
    for number in range(1000):
        spec = {"sourceCluster": {"kind": "VmwareSource", "name": f"s-{number}"}}
        hub.route(IMPORT, {"metadata": metadata, "spec": spec}, False)
    assert [source.name for source in hub._source_of] == ["s-999"]
    hub.route(IMPORT, {"metadata": metadata}, True)
    assert (list(hub._source_of), hub._by_uid) == ([], {})


def test_the_sweep_reads_no_data() -> None:
    """Notes of a VM are up to a megabyte; hundreds of them would not fit into the memory (F21)."""
    world = World()
    world.look()
    request = names.request(world.run)
    world.cluster.drop(IMPORT, "web", "default")
    world.cluster.finish(IMPORT, "web", "default")
    listed = world.cluster.outlines(CONFIG_MAP, "vmferry", names.LABEL_UID)
    assert all("data" not in one for one in listed)
    assert sweep(world.cluster, "vmferry") == [request]
