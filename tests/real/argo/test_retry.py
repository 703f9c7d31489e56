"""Only what failed is retried: by Argo's command line or server, by annotation, by editing the spec."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from steps.model import names
from steps.model.kinds import Object
from tests.real.argo.ground import ARGO_SERVER, RELEASE, Ground, eventually, keep
from tests.real.argo.world import FAILED, RUNNING, Imported, World, a_vm

pytestmark = pytest.mark.argo
Make = Callable[..., World]

COUNTED: Final = "count/virtualmachineimages.harvesterhci.io"
COUNTED_CLAIMS: Final = "count/persistentvolumeclaims"
BEFORE: Final = ("preflight", "admit", "poweroff", "export", "convert")
"""Stages that were finished when `image` failed."""


@contextmanager
def no_room(
    ground: Ground, namespace: str, number: int = 0, counted: str = COUNTED
) -> Iterator[Callable[[], None]]:
    """A quota that allows this number of objects, by default of images; the yielded function raises it."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "images", "namespace": namespace},
        "spec": {"hard": {counted: str(number)}},
    }
    ground.apply(quota)
    looked = ("get", "resourcequota", "images", "-n", namespace, "-o", "jsonpath={.status.hard}")
    eventually(lambda: counted in ground.kubectl(*looked), "the quota to be counted", 60)
    yield lambda: ground.apply({**quota, "spec": {"hard": {counted: "9"}}})


def checked(made: World, vm: str) -> Imported:
    """An import that waits for the approval of power-off; `preflight` and `admit` are done."""
    imported = made.begin(vm, approvals=["poweroff"])
    eventually(lambda: imported.summary.reason == "WaitingForApproval", imported.describe)
    return imported


def failed_by_quota(ground: Ground, made: World, vm: str) -> tuple[Imported, dict[str, str]]:
    """An import whose image fails because of a quota, and the start time of each of its pod nodes.

    The quota is made after `admit`, which would refuse the import before power-off.
    """
    imported = checked(made, vm)
    with no_room(ground, made.namespace) as give_room:
        imported.annotate(approve="poweroff")
        imported.until(FAILED)
        assert imported.summary.reason == "NoSpace"
        assert "exceeded quota" in imported.summary.message
        assert made.simulator.vm(vm)["power"] == "off"
        give_room()
    return imported, started(imported)


def started(imported: Imported) -> dict[str, str]:
    """Start times of the pod nodes, by name."""
    nodes = ((imported.workflow or {}).get("status") or {}).get("nodes") or {}
    return {node["name"]: node["startedAt"] for node in nodes.values() if node["type"] == "Pod"}


def assert_only_what_failed_ran_again(before: dict[str, str], after: dict[str, str]) -> None:
    kept = {name: at for name, at in before.items() if any(f"{stage}(" in name for stage in BEFORE)}
    assert len(kept) == len(BEFORE)
    assert {name: after[name] for name in kept} == kept
    again = [name for name in after if "image(" in name or "serve(" in name]
    assert len(again) == 2
    assert all(after[name] > before[name] for name in again)


def seen_running_again(imported: Imported) -> None:
    """Check that the import changes from failed to running."""
    eventually(lambda: imported.summary.status == "Unknown", imported.describe, 60)


@pytest.mark.smoke
def test_retry_by_argo_command_line(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "by-cli")])
    imported, before = failed_by_quota(ground, made, "by-cli")
    workflow = imported.workflow
    assert workflow
    ground.argo("retry", workflow["metadata"]["name"])
    seen_running_again(imported)
    imported.until(RUNNING)
    keep("argo-get-after-retry.txt", ground.argo("get", workflow["metadata"]["name"], "--no-color"))
    keep("node-starts.json", json.dumps({"before": before, "after": started(imported)}, indent=1))
    assert_only_what_failed_ran_again(before, started(imported))
    assert made.simulator.vm("by-cli")["shutdowns"] == 1
    assert len([call for call in made.simulator.calls() if call["kind"] == "disk"]) == 1


def test_retry_by_argo_server_as_its_page_does(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "by-page")])
    imported, before = failed_by_quota(ground, made, "by-page")
    workflow = imported.workflow
    assert workflow
    person(ground)
    answer = put(ground, f"/api/v1/workflows/{RELEASE}/{workflow['metadata']['name']}/retry")
    assert answer["metadata"]["name"] == workflow["metadata"]["name"]
    seen_running_again(imported)
    imported.until(RUNNING)
    assert_only_what_failed_ran_again(before, started(imported))


def test_retry_by_annotation_without_argo_server(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "by-note")])
    imported, _ = failed_by_quota(ground, made, "by-note")
    workflow = imported.workflow
    assert workflow
    first = workflow["metadata"]["name"]
    imported.annotate(retry="true", approve="poweroff")  # a new Workflow asks for approval again
    eventually(
        lambda: imported.status.workflow and imported.status.workflow.name == f"{first}-r1", imported.describe
    )
    imported.until(RUNNING)
    assert made.simulator.vm("by-note")["shutdowns"] == 1
    assert (
        len([call for call in made.simulator.calls() if call["kind"] == "disk"]) == 1
    )  # nothing was read again
    assert "migration.harvesterhci.io/retry" not in (imported.raw or {})["metadata"].get("annotations", {})


def test_retry_by_editing_the_spec(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "by-spec")])
    imported, _ = failed_by_quota(ground, made, "by-spec")
    imported.annotate(approve="poweroff")  # a new Workflow asks for approval again
    imported.change(memory="256Mi", targetVirtualMachineName="fixed")
    imported.leaves(FAILED)
    imported.until(RUNNING)
    machine = imported.machine("fixed")
    assert machine
    assert machine["spec"]["template"]["spec"]["domain"]["memory"]["guest"] == "256Mi"
    assert len([call for call in made.simulator.calls() if call["kind"] == "disk"]) == 1


def person(ground: Ground) -> None:
    """A user to whom the chart's Role for users is bound."""
    metadata = {"name": "a-person", "namespace": RELEASE}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "vmferry-operator"},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    ground.apply(account, binding)


TEMPLATE: Final = {"name": "x", "container": {"image": "evil"}}
CHANGES: Final[tuple[Object, ...]] = (
    {"spec": {"podSpecPatch": '{"containers":[{"name":"main","image":"evil"}]}'}},
    {"spec": {"serviceAccountName": "vmferry-controller"}},
    {"spec": {"templates": [TEMPLATE]}},
    {"spec": {"workflowTemplateRef": {"name": "another"}}},
    {"spec": {"arguments": {"parameters": [{"name": "run", "value": "another"}]}}},
    {"status": {"storedWorkflowTemplateSpec": {"serviceAccountName": "vmferry-controller"}}},
    {"status": {"storedWorkflowTemplateSpec": None}},
    {"status": {"artifactRepositoryRef": {"artifactRepository": {"archiveLogs": True}}}},
    {"metadata": {"labels": {names.LABEL_UID: "another"}}},
    {"metadata": {"labels": {names.LABEL_RUN: None}}},
)
"""Each would let a person run an image under any service account of the release namespace (finding F18)."""


def test_a_person_decides_nothing_that_a_pod_runs(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "by-person")])
    imported = checked(made, "by-person")
    person(ground)
    workflow = (imported.workflow or {})["metadata"]["name"]
    user = f"--as=system:serviceaccount:{RELEASE}:a-person"
    patch = ("-n", RELEASE, "patch", "workflow", workflow, "--type=merge", user, "-p")
    for change in CHANGES:
        with pytest.raises(AssertionError, match="vmferry-workflows"):
            ground.kubectl(*patch, json.dumps(change))
    for suspended in (True, None):
        ground.kubectl(*patch, json.dumps({"spec": {"suspend": suspended}}))


def put(ground: Ground, path: str) -> Object:
    """Send a request to Argo's server with that user's token."""
    token = ground.kubectl("create", "token", "-n", RELEASE, "a-person").strip()
    request = urllib.request.Request(  # noqa: S310 - the lab's own address
        f"{ARGO_SERVER}{path}",
        data=b"{}",
        method="PUT",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: Object = json.load(answer)
    return found
