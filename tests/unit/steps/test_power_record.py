"""Fetches what poweroff recorded from the status of the Workflow; nothing in it is trusted."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.power import PowerMark, PowerRecord
from steps.power_record import MAX_BYTES, read_record

RECORD = PowerRecord(mark=PowerMark(position="42", position_time="2026-11-29T10:00:00+00:00", scope="server"))


def node(value: object, phase: str = "Succeeded", template: str = "poweroff", kind: str = "Retry") -> Any:
    parameters = [{"name": "power", "value": value}]
    return {
        "type": kind,
        "templateName": template,
        "phase": phase,
        "outputs": {"parameters": parameters},
    }


def status(*nodes: Any) -> dict[str, Any]:
    return {"nodes": {str(number): found for number, found in enumerate(nodes)}}


def test_the_record_of_poweroff_is_read() -> None:
    other = PowerRecord(mark=PowerMark(position="1")).to_json()
    found = read_record(status(node(other, template="export"), node(RECORD.to_json())))
    assert found == RECORD


def test_it_is_read_from_packed_nodes() -> None:
    nodes = json.dumps(status(node(RECORD.to_json()))["nodes"]).encode()
    packed = {"compressedNodes": base64.b64encode(gzip.compress(nodes)).decode()}
    assert read_record(packed) == RECORD


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"nodes": {}},
        status(node(RECORD.to_json(), phase="Failed")),
        status(node(7)),
        status(node("x" * (MAX_BYTES + 1))),
        status({"templateName": "poweroff", "phase": "Succeeded"}),
    ],
    ids=["no nodes", "empty", "failed", "number", "too long", "no output"],
)
def test_without_a_record_nothing_is_proved(found: dict[str, Any]) -> None:
    with pytest.raises(StepError) as caught:
        read_record(found)
    assert caught.value.code is Exit.STALE
    assert "retry=true" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"mark": {}, "more": 1}', '{"mark": {"scope": "other"}}'])
def test_a_malformed_record_is_refused(text: str) -> None:
    with pytest.raises(StepError) as caught:
        read_record(status(node(text)))
    assert caught.value.code is Exit.INVALID
