"""The real Argo makes the pod that mounts all disks of a VM, from the words that the controller writes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import pytest

from controller.operator.act.actor import Actor
from controller.operator.checkpods.runner import CheckPods
from controller.operator.decide.actions import NameClaims
from controller.operator.observe.facts import Facts
from controller.operator.observe.source import ResolvedSource
from controller.operator.options import Options
from steps.model import names
from steps.model.kinds import POD, WORKFLOW, Object
from tests.real.chart.test_argo_lint import ARGO
from tests.real.controller.apiserver import ApiServer
from tests.real.landing.conftest import RELEASE
from tests.real.landing.conftest import wait_for as wait
from tests.unit.builders import an_import
from tests.unit.workflows.author.rendered import CHART, Json, parse
from workflows.api.status import ImportStatus

WORDS: Final = "disk-0:scratch disk-1:Block disk-2:Filesystem disk-3:notes"
HOSTILE: Final = (
    "disk-0:scratch",
    "disk-1000:Block",
    "disk-1:hostPath",
    "../disk-1:Block",
    'disk-2:Block"},{"name":"x","hostPath":{"path":"/"}',
    "disk-4:Block,disk-5:Block",
    "{{workflow.uid}}:Block",
    "other-disk-1:Block",
    "\ndisk-6:Block\n",
)
"""Words that somebody who may change the status of a Workflow could write."""


def a_workflow(run: str, way: str) -> Json:
    """The shipped template, with what comes before and after the stages with all disks left out."""
    spec = parse((CHART / "files" / f"vmware{way}-guest.yaml").read_text())["spec"]
    given = {"run": run, "source": "default"}
    parameters = [
        {**one, "value": given.get(one["name"], one.get("value"))} for one in spec["arguments"]["parameters"]
    ]
    claims = {"name": "claims", "value": "{{tasks.name-claims.outputs.parameters.claims}}"}
    tasks = [
        {"name": "name-claims", "template": "name-claims"},
        {
            "name": "guest",
            "template": "guest",
            "depends": "name-claims",
            "arguments": {"parameters": [claims]},
        },
    ]
    return {
        "apiVersion": WORKFLOW.api_version,
        "kind": WORKFLOW.kind,
        "metadata": {"name": run, "namespace": RELEASE},
        "spec": {
            **{key: value for key, value in spec.items() if key != "onExit"},
            "entrypoint": "alone",
            "arguments": {"parameters": parameters},
            "templates": [*spec["templates"], {"name": "alone", "dag": {"tasks": tasks}}],
        },
    }


def workflow(argo: ApiServer, run: str) -> Object:
    found = argo.connect().get(WORKFLOW, run, RELEASE)
    assert found is not None
    return found


def suspended(argo: ApiServer, run: str) -> list[str]:
    nodes = (workflow(argo, run).get("status") or {}).get("nodes") or {}
    return [
        node_id
        for node_id, node in nodes.items()
        if (node["templateName"], node["phase"]) == ("name-claims", "Running") and node["type"] == "Suspend"
    ]


def wait_for(look: Callable[[], object], what: str, argo: ApiServer, run: str) -> None:
    """Wait, unless the Workflow has failed."""

    def reached() -> object:
        status = workflow(argo, run).get("status") or {}
        messages = [node.get("message") for node in (status.get("nodes") or {}).values()]
        assert status.get("phase") not in ("Error", "Failed"), messages
        return look()

    wait(reached, what)


def begun(argo: ApiServer, run: str, way: str) -> str:
    """A Workflow that waits for the words; the id of the node."""
    argo.kubectl("create", "-f", "-", given=json.dumps(a_workflow(run, way)))
    wait_for(lambda: suspended(argo, run), "Argo does not suspend the Workflow", argo, run)
    (node,) = suspended(argo, run)
    return node


def answered(argo: ApiServer, run: str, node: str, words: str) -> None:
    """What the controller does, by its own code."""
    cluster = argo.connect(argo.kubeconfig_of(RELEASE, "vmferry-controller"))
    facts = Facts(
        raw={"metadata": {"name": "web", "namespace": "default", "uid": "u"}},
        import_=an_import(),
        fault="",
        status=ImportStatus(),
        resolved=ResolvedSource(),
        workflow=workflow(argo, run),
    )
    options = Options(namespace=RELEASE)
    actor = Actor(cluster, options, CheckPods(cluster, options), facts, lambda: datetime.now(UTC))
    actor.do(NameClaims(run, (node,), words))


def pod_of(argo: ApiServer, run: str) -> Object | None:
    found = argo.connect().find(POD, RELEASE, {names.LABEL_RUN: run, names.LABEL_STAGE: "inspect"})
    return found[0] if found else None


def mounted(pod: Object) -> tuple[dict[str, tuple[str, bool]], dict[str, tuple[str, bool]], set[str]]:
    """Claims by path with whether they are read-only: mounts, devices; and the volumes that are no claims."""
    claims = {one["name"]: one.get("persistentVolumeClaim") for one in pod["spec"]["volumes"]}
    (main,) = [one for one in pod["spec"]["containers"] if one["name"] == "main"]
    mounts = {
        one["mountPath"]: (claim["claimName"], bool(one.get("readOnly")))
        for one in main["volumeMounts"]
        if (claim := claims[one["name"]])
    }
    devices = {
        one["devicePath"]: (claim["claimName"], bool(claim.get("readOnly")))
        for one in main.get("volumeDevices") or []
        if (claim := claims[one["name"]])
    }
    return mounts, devices, {name for name, claim in claims.items() if not claim}


@pytest.mark.parametrize("way", ["", "-land", "-mixed"])
def test_one_pod_mounts_what_the_controller_has_named(argo: ApiServer, way: str) -> None:
    run = f"vmi-all{way}-0a1b2c3d-g1"
    node = begun(argo, run, way)
    assert pod_of(argo, run) is None
    answered(argo, run, node, WORDS)
    wait_for(lambda: pod_of(argo, run), "Argo makes no pod", argo, run)
    pod = pod_of(argo, run)
    assert pod is not None
    mounts, devices, others = mounted(pod)
    assert mounts == {
        "/scratch/disk-0": (f"{run}-disk-0", True),
        "/scratch/disk-1": (f"{run}-disk-1-notes", False),
        "/scratch/disk-2": (f"{run}-disk-2-notes", False),
        "/scratch/disk-3": (f"{run}-disk-3-notes", False),
        "/volumes/disk-2": (f"{run}-disk-2", True),
    }
    assert devices == {"/volumes/disk-1": (f"{run}-disk-1", True)}
    assert {"request", "tmp"} <= others
    assert pod["spec"]["serviceAccountName"] == "vmferry-guest"
    assert pod["spec"]["automountServiceAccountToken"] is False
    (main,) = [one for one in pod["spec"]["containers"] if one["name"] == "main"]
    assert "api-access" not in {one["name"] for one in main["volumeMounts"]}
    user = pod["spec"]["securityContext"]["runAsUser"]
    assert user == (107 if way else 10001)


def test_words_of_a_person_choose_only_among_the_disks_of_the_run(argo: ApiServer) -> None:
    run = "vmi-words-0a1b2c3d-g1"
    answered(argo, run, begun(argo, run, "-land"), " ".join(HOSTILE))
    wait_for(lambda: pod_of(argo, run), "Argo makes no pod", argo, run)
    pod = pod_of(argo, run)
    assert pod is not None
    mounts, devices, _ = mounted(pod)
    assert mounts == {"/scratch/disk-0": (f"{run}-disk-0", True)}
    assert devices == {}
    assert [volume for volume in pod["spec"]["volumes"] if "hostPath" in volume] == []
    assert len(pod["spec"]["containers"]) == 2


def test_a_vm_without_disks_is_not_inspected(argo: ApiServer) -> None:
    run = "vmi-none-0a1b2c3d-g1"
    answered(argo, run, begun(argo, run, ""), "none")
    wait_for(
        lambda: (workflow(argo, run)["status"].get("phase")) == "Succeeded", "it does not end", argo, run
    )
    assert pod_of(argo, run) is None


def test_the_most_disks_are_mounted_by_one_pod(argo: ApiServer) -> None:
    run = "vmi-most-0a1b2c3d-g1"
    words = " ".join(f"disk-{number}:Block" for number in range(300))
    answered(argo, run, begun(argo, run, "-land"), words)
    wait_for(lambda: pod_of(argo, run), "Argo makes no pod", argo, run)
    pod = pod_of(argo, run)
    assert pod is not None
    assert len(mounted(pod)[1]) == 256


def test_a_person_cannot_resume_it_without_the_words(argo: ApiServer) -> None:
    run = "vmi-hand-0a1b2c3d-g1"
    begun(argo, run, "")
    ended = subprocess.run(
        [str(ARGO), "resume", run, "-n", RELEASE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KUBECONFIG": str(argo.kubeconfig)},
    )
    assert ended.returncode != 0
    assert "claims" in ended.stderr
    assert suspended(argo, run)
