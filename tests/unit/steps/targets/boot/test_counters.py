"""How counters are read: from virt-handler itself in a pod, through the API server outside of the cluster."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Final

import pytest

from steps.model.contract import StepError
from steps.model.kinds import POD, Object
from steps.model.vm_counters import Counters
from steps.targets.cluster.boot.counters import HANDLER, PATH, PORT, PodCounters, ProxiedCounters
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

INSTANCE: Final[Object] = {
    "metadata": {"name": "web", "namespace": "default", "uid": "1"},
    "status": {"nodeName": "node-2"},
}
LINE: Final = 'kubevirt_vmi_storage_read_traffic_bytes_total{name="web",namespace="default"} 7'


class Handlers:
    """The metrics of each address; an address without metrics does not answer."""

    def __init__(self, **metrics: str) -> None:
        self.metrics = metrics
        self.asked: list[str] = []

    def resolve(self, host: str) -> list[str]:
        assert host == "kubevirt-prometheus-metrics.kubevirt.svc"
        return ["a", "b", "c"]

    def fetch(self, address: str) -> Iterator[str]:
        self.asked.append(address)
        if address not in self.metrics:
            raise http.client.RemoteDisconnected("closed")
        yield from self.metrics[address].splitlines()

    def reader(self) -> PodCounters:
        return PodCounters("kubevirt", resolve=self.resolve, fetch=self.fetch)


def test_the_node_that_has_the_vm_is_found_and_remembered() -> None:
    handlers = Handlers(a="", c=LINE)
    reader = handlers.reader()
    assert reader.counters_of(INSTANCE) == Counters(7, 0, 0)
    assert handlers.asked == ["a", "b", "c"]
    handlers.asked.clear()
    reader.counters_of(INSTANCE)
    assert handlers.asked == ["c"]


def test_a_vm_that_was_migrated_is_found_again() -> None:
    handlers = Handlers(a="", c=LINE)
    reader = handlers.reader()
    reader.counters_of(INSTANCE)
    handlers.metrics = {"a": LINE, "c": ""}
    handlers.asked.clear()
    assert reader.counters_of(INSTANCE) == Counters(7, 0, 0)
    assert handlers.asked == ["c", "a"]


def test_metrics_without_the_vm_are_an_error_with_a_reason() -> None:
    with pytest.raises(StepError, match=r"do not show the VM: b: RemoteDisconnected|c: RemoteDisconnected"):
        Handlers(a="").reader().counters_of(INSTANCE)


def test_a_name_without_an_address_names_the_value_of_the_chart() -> None:
    def resolve(_host: str) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(StepError, match=r"bootCheck\.kubevirtNamespace"):
        PodCounters("kubevirt", resolve=resolve).counters_of(INSTANCE)


def test_the_search_has_an_end() -> None:
    now = iter(range(0, 10_000, 40))
    handlers = Handlers(**{str(number): "" for number in range(500)})
    reader = PodCounters(
        "kubevirt",
        resolve=lambda _: [str(number) for number in range(500)],
        fetch=handlers.fetch,
        clock=lambda: float(next(now)),
    )
    with pytest.raises(StepError, match="took more than"):
        reader.counters_of(INSTANCE)
    assert len(handlers.asked) < 5


def test_the_api_server_asks_the_handler_of_the_node() -> None:
    cluster = FakeCluster(namespaces={"default", "kubevirt"})
    for node in ("node-1", "node-2"):
        cluster.put(
            {
                "apiVersion": POD.api_version,
                "kind": POD.kind,
                "metadata": {"name": f"virt-handler-{node}", "namespace": "kubevirt", "labels": HANDLER},
                "spec": {"nodeName": node},
            }
        )
    cluster.contents["kubevirt", f"virt-handler-node-2:{PORT}", f"proxy{PATH}"] = LINE.encode()
    assert ProxiedCounters(cluster, "kubevirt").counters_of(INSTANCE) == Counters(7, 0, 0)
    assert [str(call) for call in cluster.calls][-1] == "get pods/proxy kubevirt/virt-handler-node-2"
    cluster.contents.clear()
    with pytest.raises(StepError):
        ProxiedCounters(cluster, "kubevirt").counters_of(INSTANCE)
