"""Servers that refuse, disks that are full, and the limit of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.disk.land import Source
from steps.model.contract import Exit, NoAnswerError, StepError
from tests.unit.steps.disk.conftest import fetch
from tests.unit.steps.disk.server import Behaviour, Server


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, Exit.DENIED),
        (403, Exit.DENIED),
        (404, Exit.NOT_FOUND),
        (410, Exit.NOT_FOUND),
        (302, Exit.INVALID),
        (429, Exit.UNREACHABLE),
        (503, Exit.UNREACHABLE),
    ],
)
def test_http_statuses_have_exit_codes(tmp_path: Path, status: int, code: Exit) -> None:
    source_headers = {"Cookie": "secret"}
    with Server(Behaviour(b"", status=status)) as server, pytest.raises(StepError) as caught:
        fetch(Source(server.url, headers=source_headers), tmp_path / "out")
    assert caught.value.code is code
    assert server.how.headers[0]["Cookie"] == "secret"
    assert "secret" not in str(caught.value) + repr(Source(server.url, headers=source_headers))


def test_a_closed_port_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError) as caught:
        fetch(Source("http://localhost:9/"), tmp_path / "out")
    assert caught.value.code is Exit.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "is_away"), [(502, True), (503, True), (504, True), (500, False), (429, True), (404, False)]
)
def test_a_gateway_without_its_server_is_waited_for(tmp_path: Path, status: int, is_away: bool) -> None:
    with Server(Behaviour(b"", status=status)) as server, pytest.raises(StepError) as caught:
        fetch(Source(server.url), tmp_path / "out")
    assert isinstance(caught.value, NoAnswerError) is is_away
