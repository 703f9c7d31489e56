"""Imports with hooks, by the real Argo: pods and Workflows next to the Workflow of the import."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import API_VERSION, IMPORT_HOOK, POD, WORKFLOW, WORKFLOW_TEMPLATE, Object
from steps.model.names import LABEL_HOOK
from tests.real.argo.ground import ARGO, RELEASE, Ground, eventually
from tests.real.argo.test_retry import seen_running_again, started
from tests.real.argo.world import FAILED, INVALID, RUNNING, Imported, World, a_vm
from workflows.author.installation import Installation
from workflows.author.pods import executor_patch, pod_security, restricted

pytestmark = [pytest.mark.argo, pytest.mark.alone]
Make = Callable[..., World]
READ: Final = "import json, os; d = json.load(open(os.environ['VMFERRY_HOOK_DOCUMENT']))"
SAY: Final = "open('/dev/termination-log', 'w').write"
BEFORE: Final[dict[str, Any]] = {"hooks": [{"before": "poweroff", "name": "it-hook"}]}


@pytest.fixture(autouse=True)
def allowed(settings: Callable[..., None]) -> None:
    settings(hooks={"allowed": True})


@pytest.fixture
def define(ground: Ground) -> Iterator[Callable[..., None]]:
    """Returns a function that defines the hook of a test."""

    def define(code: str, **spec: Any) -> None:
        container = {"image": image(ground), "command": ["python", "-c"], "args": [code]}
        ground.apply(a_hook(**{"container": container, **spec}))

    yield define
    ground.cluster.delete(IMPORT_HOOK, "it-hook", RELEASE)


def a_hook(**spec: Any) -> Object:
    metadata = {"name": "it-hook", "namespace": RELEASE}
    return {"apiVersion": API_VERSION, "kind": "ImportHook", "metadata": metadata, "spec": spec}


def image(ground: Ground) -> str:
    """An image of the lab that has Python."""
    template = ground.cluster.get(WORKFLOW_TEMPLATE, "vmferry-vmware", RELEASE)
    assert template is not None
    (admit,) = [one for one in template["spec"]["templates"] if one["name"] == "admit"]
    return str(admit["container"]["image"])


def node(imported: Imported, point: str) -> Object:
    found = [one for one in imported.seen().nodes if one["name"].endswith(f".{point}")]
    return found[0] if found else {}


def hook_pods(imported: Imported) -> list[Object]:
    return imported.ground.all(POD, RELEASE, **{LABEL_HOOK: imported.run})


def in_phase(imported: Imported, phase: str, number: int = 1) -> None:
    """Wait until so many hooks of the import are in a phase."""

    def look() -> bool:
        return [row.phase for row in imported.status.hooks].count(phase) == number

    eventually(look, imported.describe, 240)


def test_hooks_run_at_their_points_with_the_document(
    make: Make, define: Callable[..., None], tmp_path: Path
) -> None:
    define(f"{READ}\n{SAY}(' '.join((d['moment'], d['stage'], d['disk'] or '', d['machine']['name'])))")
    made = make([a_vm(tmp_path, "hooked", disks=2)])
    points = [{"after": "admit"}, {"before": "export"}, {"after": "start"}]
    imported = made.begin("hooked", hooks=[{**point, "name": "it-hook"} for point in points])
    imported.until(RUNNING)
    words = sorted(row.message.partition("succeeded: ")[2] for row in imported.status.hooks)
    assert words == [
        "after admit hooked",
        "after start hooked",
        "before export disk-0 hooked",
        "before export disk-1 hooked",
    ]
    assert {row.phase for row in imported.status.hooks} == {"Succeeded"}
    workflow = imported.workflow
    assert workflow
    eventually(lambda: (imported.workflow or {})["status"]["phase"] == "Succeeded", imported.describe, 240)
    (pod, *_) = hook_pods(imported)
    assert pod["spec"]["serviceAccountName"] == "vmferry-hook"
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_a_veto_leaves_the_vm_on_and_argo_retries_the_hook_alone(
    ground: Ground, make: Make, define: Callable[..., None], tmp_path: Path
) -> None:
    define(f"{SAY}('not today'); raise SystemExit(3)")
    made = make([a_vm(tmp_path, "vetoed")])
    imported = made.begin("vetoed", **BEFORE)
    assert "hook it-hook failed: exit code 3: not today" in imported.until(FAILED).message
    assert made.simulator.vm("vetoed")["power"] == "on"
    before = started(imported)
    define("pass")
    workflow = imported.workflow
    assert workflow
    ground.argo("retry", workflow["metadata"]["name"])
    seen_running_again(imported)
    imported.until(RUNNING)
    after = started(imported)
    checked = [name for name in before if "preflight" in name or "admit" in name]
    assert checked
    assert {name: after[name] for name in checked} == {name: before[name] for name in checked}
    eventually(lambda: (imported.workflow or {})["status"]["phase"] == "Succeeded", imported.describe, 240)
    phases = {one["phase"] for one in imported.seen().nodes}
    assert phases <= {"Succeeded", "Skipped", "Omitted"}


def test_nobody_skips_a_hook_with_resume(
    ground: Ground, make: Make, define: Callable[..., None], tmp_path: Path
) -> None:
    define("import time; time.sleep(600)", timeoutSeconds=60)
    made = make([a_vm(tmp_path, "resumed")])
    imported = made.begin("resumed", **BEFORE)
    in_phase(imported, "Running")
    workflow = imported.workflow
    assert workflow
    done = subprocess.run(
        [str(ARGO / "argo"), "-n", RELEASE, "resume", workflow["metadata"]["name"]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ground.environment},
    )
    assert node(imported, "before-poweroff")["phase"] == "Running", done.stderr
    assert "it did not end within 60 s" in imported.until(FAILED).message
    assert made.simulator.vm("resumed")["power"] == "on"


def test_a_deletion_in_the_middle_ends_the_hook(
    make: Make, define: Callable[..., None], tmp_path: Path
) -> None:
    define("import time; time.sleep(600)")
    made = make([a_vm(tmp_path, "deleted")])
    imported = made.begin("deleted", **BEFORE)
    in_phase(imported, "Running")
    run = imported.run
    imported.delete()
    left = {LABEL_HOOK: run}
    eventually(lambda: not imported.ground.all(POD, RELEASE, **left), "the end of the hook's pod", 60)
    assert made.simulator.vm("deleted")["power"] == "on"


def test_a_killed_controller_continues_with_its_hook(
    ground: Ground, make: Make, define: Callable[..., None], tmp_path: Path
) -> None:
    define("import time; time.sleep(30)")
    made = make([a_vm(tmp_path, "killed-hook")])
    imported = made.begin("killed-hook", **BEFORE)
    in_phase(imported, "Running")
    for pod in ground.controller_pods():
        ground.kubectl("delete", "pod", pod["metadata"]["name"], "-n", RELEASE, "--grace-period=0", "--force")
    imported.until(RUNNING)
    assert len(hook_pods(imported)) == 1


@contextlib.contextmanager
def workflow_template(ground: Ground, code: str) -> Iterator[None]:
    container = {
        "image": image(ground),
        "command": ["python", "-c"],
        "args": [code],
        "volumeMounts": [{"name": "document", "mountPath": "/hook"}],
        "securityContext": restricted().model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    volume = {"name": "document", "configMap": {"name": "{{workflow.parameters.document}}"}}
    steps = [[{"name": "first", "template": "look"}], [{"name": "second", "template": "look"}]]
    spec = {
        "entrypoint": "both",
        "serviceAccountName": "vmferry-hook",
        "securityContext": pod_security(10001).model_dump(mode="json", by_alias=True, exclude_none=True),
        "podSpecPatch": executor_patch(Installation()),
        "arguments": {"parameters": [{"name": "document"}]},
        "templates": [
            {"name": "both", "steps": steps},
            {"name": "look", "container": container, "volumes": [volume]},
        ],
    }
    metadata = {"name": "it-hook", "namespace": RELEASE}
    kind = WORKFLOW_TEMPLATE
    ground.apply({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec})
    try:
        yield
    finally:
        ground.cluster.delete(kind, "it-hook", RELEASE)


def test_a_workflow_template_with_steps_is_a_hook(
    ground: Ground, make: Make, define: Callable[..., None], tmp_path: Path
) -> None:
    define("", container=None, workflowTemplate={"name": "it-hook"})
    with workflow_template(ground, "import json; json.load(open('/hook/hook.json'))['machine']['name']"):
        made = make([a_vm(tmp_path, "templated")])
        imported = made.begin("templated", **BEFORE)
        imported.until(RUNNING)
        (made_by_hook,) = ground.all(WORKFLOW, RELEASE, **{LABEL_HOOK: imported.run})
    assert made_by_hook["status"]["phase"] == "Succeeded"
    assert node(imported, "before-poweroff")["phase"] == "Succeeded"


def test_a_hook_for_others_is_refused_before_anything_begins(
    make: Make, define: Callable[..., None], tmp_path: Path
) -> None:
    define("pass", allowedNamespaces=["somebody-else"])
    made = make([a_vm(tmp_path, "not-mine")])
    imported = made.begin("not-mine", **BEFORE)
    assert "the hook it-hook does not exist, or imports of namespace" in imported.until(INVALID).message
    define("pass", allowedNamespaces=[made.namespace])
    imported.leaves(INVALID)
    imported.until(RUNNING)
