"""The step `hook`: it waits for the controller's word about the hook of its point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from steps.hook import arguments, await_verdict, body
from steps.model.contract import Exit, StepError, Stopped
from steps.model.hook_verdict import POD_UID_ENV, HookVerdict, annotation, verdict_for
from steps.model.kinds import WORKFLOW
from steps.runtime import kubeapi
from steps.runtime.program import Context
from steps.runtime.stop import Stop
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

RUN: Final = ("vmi-web-0a1b2c3d-g1", "vmferry")
UID: Final = "0a1b2c3d-0000-4000-8000-000000000001"
PASSED: Final = HookVerdict(passed=True, message="hook cmdb succeeded")


def a_cluster(**notes: str) -> FakeCluster:
    cluster = FakeCluster()
    metadata = {"name": RUN[0], "namespace": RUN[1], "annotations": notes}
    cluster.put({"apiVersion": WORKFLOW.api_version, "kind": WORKFLOW.kind, "metadata": metadata})
    return cluster


def say(cluster: FakeCluster, verdict: HookVerdict, uid: str = UID) -> None:
    notes = {annotation(uid): verdict.model_dump_json()}
    cluster.patch(WORKFLOW, RUN[0], {"metadata": {"annotations": notes}}, RUN[1])


class Impatient(Stop):
    """Requests a stop after so many waits; `then` is called at each."""

    def __init__(self, waits: int, then: object = None) -> None:
        super().__init__()
        self.left = waits
        self.then = then

    def sleep(self, seconds: float) -> None:
        if callable(self.then):
            self.then()
        self.left -= 1
        if self.left < 1:
            self.set()
        self.check()


def test_it_waits_for_the_word_that_is_for_its_own_pod() -> None:
    cluster = a_cluster()
    say(cluster, PASSED, uid="another")
    with pytest.raises(Stopped):
        await_verdict(cluster, RUN, UID, Impatient(3))
    stop = Impatient(3, lambda: say(cluster, PASSED))
    assert await_verdict(cluster, RUN, UID, stop) == PASSED


@pytest.mark.parametrize("text", ["", "yes", "{}", "[]", json.dumps({"passed": True, "more": 1})])
def test_words_that_it_cannot_read_are_none(text: str) -> None:
    assert verdict_for({"metadata": {"annotations": {annotation(UID): text}}}, UID) is None


def test_a_lost_connection_is_no_answer_and_a_missing_right_is_an_error() -> None:
    cluster = a_cluster()
    cluster.denied.add(("get", WORKFLOW))
    with pytest.raises(StepError) as refused:
        await_verdict(cluster, RUN, UID, Impatient(3))
    assert refused.value.code is Exit.DENIED


@pytest.mark.parametrize("passed", [True, False])
def test_it_ends_as_the_hook_and_keeps_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool
) -> None:
    cluster = a_cluster()
    verdict = HookVerdict(passed=passed, message="hook cmdb has ended")
    say(cluster, verdict)
    monkeypatch.setenv(POD_UID_ENV, UID)
    monkeypatch.setattr(kubeapi, "connect", lambda _stop: cluster)
    monkeypatch.setattr(kubeapi, "own_namespace", lambda: RUN[1])
    argv = ["--point", "before-poweroff", "--workflow", RUN[0], "--outputs", str(tmp_path)]
    context = Context(arguments().parse_args(argv), Stop())
    if passed:
        body(context)
    else:
        with pytest.raises(StepError) as refused:
            body(context)
        assert (refused.value.code, str(refused.value)) == (Exit.UNSUPPORTED, verdict.message)
    assert (tmp_path / "verdict").read_text() == verdict.message


def test_without_the_uid_of_its_pod_it_says_what_to_do() -> None:
    argv = [sys.executable, "-m", "steps.hook", "--point", "before-poweroff", "--workflow", RUN[0]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert done.returncode == Exit.INVALID
    assert "VMFERRY_POD_UID is not set; upgrade the chart" in done.stderr
