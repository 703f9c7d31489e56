"""Imports in a cluster of two nodes with storage of each node: a volume can be used on its own node only.

The stages are plain pods, so that a node can be closed between two of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.kinds import CLAIM, MACHINE, NODE, PERSISTENT_VOLUME, POD, Object
from steps.model.plan import Plan
from steps.model.quantity import to_bytes
from steps.targets.cluster.published import Integrity
from tests.real import scenario
from tests.real.cluster.lab import Lab
from tests.real.cluster.stagepods import StagePods, record_result, record_success
from tests.real.cluster.world import World
from tests.real.standins.api import INSTANCE
from tests.real.standins.instances import pod_name as launcher_of
from tests.real.standins.lab import node_of

CLASS: Final = "wffc"
HOSTNAME: Final = "kubernetes.io/hostname"
ROOM: Final = 300 << 20
"""Bytes that a full node has left: enough for a step, and less than the VM has memory."""


@contextmanager
def cordoned(lab: Lab, node: str) -> Iterator[None]:
    """New pods do not get this node."""
    lab.kubectl("cordon", node)
    try:
        yield
    finally:
        lab.kubectl("uncordon", node)


@contextmanager
def full(lab: Lab, node: str) -> Iterator[None]:
    """A pod requests the node's memory; it does nothing."""
    running = [pod for pod in pods_on(lab, node) if pod["status"]["phase"] in ("Pending", "Running")]
    resources = [one.get("resources", {}) for pod in running for one in pod["spec"]["containers"]]
    requested = [one.get("requests", {}).get("memory", "0") for one in resources]
    found = lab.get(NODE, node)
    assert found is not None
    free = to_bytes(found["status"]["allocatable"]["memory"]) - sum(map(to_bytes, requested))
    container = {
        "name": "filler",
        "image": "lab.local/pause:1",
        "imagePullPolicy": "Never",
        "resources": {"requests": {"memory": str(free - ROOM)}},
    }
    lab.apply(
        {
            "apiVersion": POD.api_version,
            "kind": POD.kind,
            "metadata": {"name": "filler", "namespace": "default"},
            "spec": {
                "nodeSelector": {HOSTNAME: node},
                "containers": [container],
                "terminationGracePeriodSeconds": 0,
            },
        }
    )
    try:
        lab.kubectl("--namespace", "default", "wait", "--for=condition=Ready", "pod/filler", "--timeout=60s")
        yield
    finally:
        lab.kubectl("--namespace", "default", "delete", "pod", "filler", "--timeout=60s")


def pods_on(lab: Lab, node: str) -> list[Object]:
    chosen = f"--field-selector=spec.nodeName={node}"
    found: list[Object] = json.loads(lab.kubectl("get", "pods", "-A", chosen, "-o", "json"))["items"]
    return found


class Landing:
    """An import to KubeVirt of which each disk lands on a volume of class `wffc`: in a file, on a device."""

    def __init__(self, world: World, **spec: Any) -> None:
        self.lab = world.lab
        # A file system of the size of the small disk has more overhead than CDI adds.
        small = {"sourceDisk": "disk-1", "volumeMode": "Block"}
        made = world.submit(target="kubevirt", storageClass=CLASS, diskMapping=[small], **spec)
        self.plan, _ = world.request(made)
        self.pods = StagePods(self.lab, world.chart.template("vmferry-vmware-land"), self.plan)

    def admit(self) -> None:
        """Until the disks are placed; the VM still runs."""
        record_result(self.lab, self.plan, self.pods.run("preflight").results["machine"])
        rows = json.loads(self.pods.run("admit").results["disks"])
        self.pods.rows.update({row["disk"]: row for row in rows})

    def copy(self, disk: str) -> None:
        self.pods.run("export", disk)
        self.pods.run("convert", disk)
        record_success(self.lab, self.plan, "convert", disk)

    def finish(self) -> None:
        for disk in self.pods.rows:
            self.pods.run("hand-over", disk)
        self.pods.run("start")

    def nodes(self) -> dict[str, str]:
        """The node of the volume of each claim of the run."""
        claims = self.lab.find(CLAIM, **{names.LABEL_RUN: self.plan.run})
        return {claim["metadata"]["name"]: node_of_claim(self.lab, claim) for claim in claims}


def node_of_claim(lab: Lab, claim: Object) -> str:
    volume = lab.get(PERSISTENT_VOLUME, claim["spec"]["volumeName"])
    assert volume is not None
    return node_of(volume)


def nodes_of_stages(lab: Lab, plan: Plan) -> dict[tuple[str, str], set[str]]:
    """Where the pods of a run that mount a claim ran, by stage and disk."""
    found: dict[tuple[str, str], set[str]] = {}
    for pod in lab.find(POD, **{names.LABEL_RUN: plan.run}):
        if any("persistentVolumeClaim" in volume for volume in pod["spec"]["volumes"]):
            labels = pod["metadata"]["labels"]
            key = labels[names.LABEL_STAGE], labels.get(names.LABEL_DISK, "")
            found.setdefault(key, set()).add(pod["spec"]["nodeName"])
    return found


def on(node: str, disks: Mapping[str, object], *stages: str) -> dict[tuple[str, str], set[str]]:
    return {(stage, disk): {node} for stage in stages for disk in disks}


def test_disks_land_on_the_node_with_room_for_the_vm(alone: World, nodes: tuple[str, str]) -> None:
    lab, (first, second) = alone.lab, nodes
    made = Landing(alone)
    with full(lab, first):
        made.admit()
    placed = made.nodes()
    assert len(placed) == 4, "two disks and the notes of each"
    assert set(placed.values()) == {second}
    made.pods.run("poweroff")
    made.pods.run("build")
    one, other = made.pods.rows
    made.copy(one)  # the first node has room now, and nobody needs it
    with cordoned(lab, first):
        made.copy(other)
    assert nodes_of_stages(lab, made.plan) == on(second, made.pods.rows, "export", "convert")
    made.finish()
    vm = lab.get(MACHINE, scenario.VM, alone.namespace)
    assert vm is not None
    assert vm["status"]["ready"]
    claims = lab.find(CLAIM, alone.namespace)
    assert [node_of_claim(lab, claim) for claim in claims] == [second, second]
    assert launcher(lab, alone.namespace)["spec"]["nodeName"] == second
    alone.proven()


def launcher(lab: Lab, namespace: str) -> Object:
    instance = lab.get(INSTANCE, scenario.VM, namespace)
    assert instance is not None
    pod = lab.get(POD, launcher_of(instance), namespace)
    assert pod is not None
    return pod


@pytest.mark.parametrize("position", [0, 1], ids=["first", "second"])
def test_a_vm_that_names_a_node_gets_its_disks_there(
    alone: World, nodes: tuple[str, str], position: int
) -> None:
    """One of the two is not the node that the scheduler prefers."""
    made = Landing(alone, virtualMachine={"nodeSelector": {HOSTNAME: nodes[position]}})
    made.admit()
    assert set(made.nodes().values()) == {nodes[position]}


def test_disks_with_scratch_on_two_nodes_do_not_wait_for_each_other(
    alone: World, nodes: tuple[str, str]
) -> None:
    """An import to Harvester: scratch is provided for each disk by its own `export`."""
    lab, (first, second) = alone.lab, nodes
    plan, _ = alone.request(alone.submit())
    pods = StagePods(lab, alone.chart.template(), plan)
    record_result(lab, plan, pods.run("preflight").results["machine"])
    one, other = json.loads(pods.run("admit").results["disks"])
    pods.run("poweroff")
    with cordoned(lab, second):
        pods.run("export", one)
    with cordoned(lab, first):
        pods.run("export", other)
    begun = {}
    for disk in (one, other):
        pods.run("convert", disk)
        begun[disk] = pods.begin("serve", disk), pods.begin("image", disk)
    for disk, (serve, image) in begun.items():
        assert pods.finish("image", disk, image).results["integrity"] == Integrity.SHA512
        pods.finish("serve", disk, serve)
    assert nodes_of_stages(lab, plan) == {
        (stage, disk): {node}
        for stage in ("export", "convert", "serve")
        for disk, node in ((one, first), (other, second))
    }
