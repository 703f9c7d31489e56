"""`build` reads what `inspect` found from their Workflow; nothing there can stop the import."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.guest_judge import judged
from steps.model.guest_output import to_output
from steps.targets.cluster.completion import WorkflowRef
from steps.targets.cluster.guest_result import read_guest
from tests.unit.steps.model.test_guest_judge import a_linux, facts
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from workflows.status.packed import pack

GUEST = judged(facts(a_linux()))
REF = WorkflowRef("web-r1", "vmferry")


def cluster(nodes: dict[str, Any] | None, *, packed: bool = False) -> FakeCluster:
    made = FakeCluster()
    if nodes is not None:
        status = {"compressedNodes": pack(nodes)} if packed else {"nodes": nodes}
        metadata = {"name": REF.name, "namespace": REF.namespace}
        made.put(
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "status": status}
        )
    return made


def node(text: str = "", phase: str = "Succeeded", template: str = "inspect") -> dict[str, Any]:
    outputs = {"parameters": [{"name": "guest", "value": text}]}
    return {
        "name": "web-r1.transfer.guest.inspect",
        "templateName": template,
        "phase": phase,
        "outputs": outputs,
    }


@pytest.mark.parametrize("packed", [False, True])
def test_the_result_of_the_attempt_that_succeeded(packed: bool) -> None:
    nodes = {"a": node("nonsense", "Failed"), "b": node(""), "c": node(to_output(GUEST))}
    assert read_guest(cluster(nodes, packed=packed), REF) == GUEST


@pytest.mark.parametrize(
    "nodes",
    [
        None,
        {},
        {"a": node(to_output(GUEST), "Failed")},
        {"a": node(to_output(GUEST), template="export")},
        {"a": node(phase="Skipped")},
        {"a": node("AAAA")},
        {"a": node("A" * 100_000)},
        {
            "a": {
                "templateName": "inspect",
                "phase": "Succeeded",
                "outputs": {"parameters": [{"name": "guest", "value": 7}]},
            }
        },
    ],
)
def test_anything_else_is_as_if_nobody_had_looked(nodes: dict[str, Any] | None) -> None:
    assert read_guest(cluster(nodes), REF) is None
