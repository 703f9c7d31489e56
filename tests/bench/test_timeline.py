"""The downtime of an import is read from its Workflow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bench.downtime.timeline import Part, downtime

POWER = {"version": "1", "mark": {"time": "2026-11-30T10:00:10Z"}}


def node(stage: str, begun: str, ended: str, disk: str = "", **more: Any) -> dict[str, Any]:
    inputs = {"inputs": {"parameters": [{"name": "disk", "value": disk}]}} if disk else {}
    times = {"startedAt": f"2026-11-30T10:{begun}Z", "finishedAt": f"2026-11-30T10:{ended}Z"}
    return {"type": "Pod", "templateName": stage, "phase": "Succeeded", **times, **inputs, **more}


def a_workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"status": {"nodes": {str(number): one for number, one in enumerate(nodes)}}}


def poweroff(**mark: str) -> dict[str, Any]:
    record = {**POWER, "mark": {**POWER["mark"], **mark}}  # type: ignore[dict-item]
    outputs = {"parameters": [{"name": "power", "value": json.dumps(record)}]}
    return node("poweroff", "00:00", "00:13", outputs=outputs)


def test_the_parts_of_the_downtime_follow_each_other() -> None:
    found = downtime(
        a_workflow(
            node("admit", "00:00", "00:05"),
            poweroff(),
            node("build", "00:05", "00:20"),
            node("export", "00:15", "00:30", "disk-0"),
            node("hand-over", "00:31", "00:40", "disk-0"),
            node("start", "00:42", "00:50"),
            node("release-source", "00:52", "00:59"),
        )
    )
    assert found.seconds == 40
    assert found.parts[1] == Part("build", -5, 10)
    parts = list(found.critical())
    assert parts == [
        ("poweroff", 3),
        ("build", 7),
        ("export disk-0", 10),
        ("wait for hand-over disk-0", 1),
        ("hand-over disk-0", 9),
        ("wait for start", 2),
        ("start", 8),
    ]
    assert sum(seconds for _, seconds in parts) == found.seconds


@pytest.mark.parametrize(
    "nodes",
    [
        [node("start", "00:42", "00:50")],
        [poweroff(time=""), node("start", "00:42", "00:50")],
    ],
    ids=["no shutdown", "no time"],
)
def test_a_shutdown_without_a_time_is_no_downtime(nodes: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="has recorded no time"):
        downtime(a_workflow(*nodes))
