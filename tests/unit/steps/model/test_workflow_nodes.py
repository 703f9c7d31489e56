"""Nodes and outputs of a Workflow that anybody may have written."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from steps.model import workflow_nodes
from steps.model.workflow_nodes import gunzip, nodes_of, output_of

NODES = {"a": {"name": "a", "outputs": {"parameters": [{"name": "machine", "value": "text"}]}}}


def packed(content: bytes) -> dict[str, str]:
    return {"compressedNodes": base64.b64encode(gzip.compress(content, mtime=0)).decode()}


def test_packed_and_plain_nodes_are_read_alike() -> None:
    assert nodes_of({"nodes": NODES}) == nodes_of(packed(json.dumps(NODES).encode())) == NODES


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"nodes": None},
        {"nodes": []},
        {"compressedNodes": 7},
        {"compressedNodes": "!"},
        packed(b"[]"),
        packed(b"{"),
    ],
    ids=str,
)
def test_nodes_that_cannot_be_read_are_none(status: dict[str, Any]) -> None:
    assert nodes_of(status) == {}


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_nodes, "UNPACKED_LIMIT", 1 << 10)
    assert nodes_of(packed(b'{"a": "' + bytes(1 << 20) + b'"}')) == {}


def test_content_up_to_the_limit_is_unpacked() -> None:
    assert gunzip(gzip.compress(bytes(100)), 100) == bytes(100)
    with pytest.raises(ValueError, match="more than 99 bytes"):
        gunzip(gzip.compress(bytes(100)), 99)
    with pytest.raises(ValueError, match="cut off"):
        gunzip(gzip.compress(bytes(100))[:-3], 100)


def test_an_output_is_found_by_its_name() -> None:
    assert output_of(NODES["a"], "machine") == "text"
    assert output_of(NODES["a"], "other") is None
    for node in ({}, {"outputs": None}, {"outputs": {"parameters": [{"name": "machine"}]}}):
        assert output_of(node, "machine") is None
