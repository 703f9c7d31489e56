"""Answers that no API server and no exporter gives: one clear message, and nothing is left."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Final

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.providers import connect
from steps.providers.kubevirt import checks
from tests.unit.steps.providers.kubevirt.cluster import Cluster
from tests.unit.steps.providers.kubevirt.conftest import MakeAccess, access, standin, tls
from tests.unit.steps.providers.kubevirt.standin import Reply, StandIn
from tests.unit.steps.providers.kubevirt.test_provider import described, exported, shut_down

__all__ = ["access", "standin", "tls"]

PARTS: Final = {
    "rights": ("POST", "selfsubjectaccessreviews"),
    "dry run": ("POST", "virtualmachineexports?dryRun"),
    "note": ("PATCH", "virtualmachines/web"),
    "stop": ("PUT", "/stop"),
    "new export": ("POST", "virtualmachineexports"),
    "new secret": ("POST", "/secrets"),
    "export": ("GET", "virtualmachineexports/vmferry-"),
    "first byte": ("GET", "/volumes/"),
}
"""Method and a part of the path of each call that is not only a reading of VM, instance or claim."""
OF_AN_EXPORT: Final = ("new export", "new secret", "export", "first byte")
"""Of a VM that is off already."""
ANSWERS: Final = (
    *(
        Reply(200, body)
        for body in (
            b"",
            b"null",
            b"[]",
            b"5",
            b"<html>",
            b"\xff\xfe{}",
            b"[" * 100_000,
            b"1" * 5000,
            b'{"metadata": 7}',
            b'{"metadata": {"uid": []}, "status": {"allowed": "yes"}}',
            b'{"status": {"phase": "Ready", "links": 5}}',
            b'{"status": {"phase": "Ready", "links": {"internal": {"volumes": [7]}}}}',
            b'{"status": {"phase": ["Ready"], "conditions": {"Ready": true}}}',
        )
    ),
    Reply(200, gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
    Reply(200, b"{}", cut=1),
    Reply(206, b"x", headers={"Content-Range": "bytes 5-5/10"}),
    Reply(206, b"x", headers={"Content-Range": "bytes 0-0/" + "9" * 30}),
    Reply(302, b"", headers={"Location": "https://elsewhere.example/"}),
    *(Reply(status, b"<html>") for status in (400, 401, 403, 404, 409, 416, 500, 503)),
    Reply(403, json.dumps({"kind": "Status", "message": "\u202e\x1b[2J" + "x" * 9000}).encode()),
)


def test_there_are_more_than_a_hundred() -> None:
    assert len(ANSWERS) * len(PARTS) > 100


@pytest.mark.parametrize("part", PARTS)
def test_no_answer_makes_a_fault_of_our_own(
    standin: StandIn, access: MakeAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    ticks = iter(range(10**9))
    monkeypatch.setattr("steps.providers.kubevirt.power.CLOCK", lambda: 20.0 * next(ticks))
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", ())
    monkeypatch.setattr(checks, "RIGHTS", checks.RIGHTS[:1])
    machine = described(access)
    for number, answer in enumerate(ANSWERS):
        begin(standin, is_on=part not in OF_AN_EXPORT)
        standin.hook = Instead(part, answer)
        out = tmp_path / f"{number}"
        error = refused(access, machine, out)
        standin.hook = lambda method, path: None
        if error is None:
            assert out.read_bytes() == standin.content[machine.disks[0].backing], number
        else:
            assert error.code is not Exit.INTERNAL, number
            assert str(error).isprintable(), number
            assert len(str(error)) < 2000, number
        with connect(access("release-source", machine=machine)) as source:
            assert source.release() == [], number
        assert standin.cluster.held() == 0, number
        assert standin.cluster.stops <= 1, number


class Instead:
    """Gives one answer to all calls of a part."""

    def __init__(self, part: str, answer: Reply) -> None:
        self._part, self._answer = part, answer

    def __call__(self, method: str, path: str) -> Reply | None:
        wanted, place = PARTS[self._part]
        is_dry_run = "dryRun" in path
        fits = method == wanted and place in path and is_dry_run == (self._part == "dry run")
        return self._answer if fits else None


def begin(standin: StandIn, *, is_on: bool) -> None:
    """A new cluster with the same VM."""
    former = standin.cluster
    standin.cluster = Cluster(internal=former.internal, certificate=former.certificate)
    if not is_on:
        standin.cluster.halt()


def refused(access: MakeAccess, machine: Machine, out: Path) -> StepError | None:
    """The error of a shutdown and an export; None if both succeed."""
    try:
        shut_down(access, machine)
        exported(access, machine, out)
    except StepError as error:
        return error
    return None
