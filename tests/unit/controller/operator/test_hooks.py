"""Hooks of an import: the controller runs each in a pod or Workflow of its own and answers its node."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.hook_verdict import HookVerdict, verdict_for
from steps.model.kinds import CONFIG_MAP, IMPORT_HOOK, POD, WORKFLOW, Object
from steps.model.names import LABEL_HOOK
from tests.unit.builders import a_machine
from tests.unit.controller.operator.kubelet import described
from tests.unit.controller.operator.world import World
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.workflows.status.situations import failed, found, node
from workflows.hooks import point_of
from workflows.status.nodes import disk_of

ROW: Final = {"before": "poweroff", "name": "cmdb"}
IMAGE: Final = {"image": "registry.example.com/cmdb:1", "args": ["check"]}
UID: Final = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER_UID: Final = "0a1c2c3d-0000-4000-8000-000000000002"


def a_world(*rows: dict[str, str], **spec: Any) -> World:
    """An installation with the hook `cmdb`."""
    world = World(hooks=list(rows or (ROW,)))
    settings = world.options.settings.model_copy(update={"hooks": True})
    world.options = world.options.model_copy(update={"settings": settings})
    define(world, **({"container": IMAGE} | spec))
    return world


def define(world: World, name: str = "cmdb", namespace: str = "vmferry", **spec: Any) -> None:
    kind = IMPORT_HOOK
    world.cluster.put(
        {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
    )


def waiting(point: str = "before-poweroff", disk: str | None = None) -> Object:
    """The node of a pod that waits."""
    return node(point, "Running", disk)


def wait(world: World, point: str = "before-poweroff", disk: str = "", uid: str = UID) -> None:
    """The pod of that node, as Argo and the kubelet show it."""
    labels = {
        names.LABEL_RUN: world.run,
        names.LABEL_STAGE: "hook",
        names.LABEL_POINT: point,
        **({names.LABEL_DISK: disk} if disk else {}),
        "workflows.argoproj.io/workflow": world.workflow()["metadata"]["name"],
    }
    metadata = {"name": f"{world.run}-hook-{uid[:4]}", "namespace": "vmferry", "uid": uid, "labels": labels}
    status = {"phase": "Running"}
    world.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})


def gone(world: World, uid: str = UID) -> None:
    """Argo has deleted the pod that waited, or it has ended."""
    world.cluster.drop(POD, f"{world.run}-hook-{uid[:4]}", "vmferry")


def begun(*rows: dict[str, str], nodes: tuple[Object, ...] | None = None, **spec: Any) -> World:
    """An import whose Workflow waits for the hook, after one reconcile of that."""
    world = a_world(*rows, **spec)
    world.look()
    world.found()
    nodes = nodes or (waiting(),)
    world.argo(found(("disk-0",)), node("admit"), *nodes)
    for one in nodes:
        name = one["name"].rpartition(".")[2]
        if point_of(name) is not None and one["phase"] == "Running":
            wait(world, name, disk_of(one) or "")
    world.look()
    return world


def pods(world: World) -> list[Object]:
    return [one for one in world.cluster.all(POD, "vmferry") if LABEL_HOOK in one["metadata"]["labels"]]


def hook_workflows(world: World) -> list[Object]:
    return [
        one
        for one in world.cluster.all(WORKFLOW, "vmferry")
        if LABEL_HOOK in (one["metadata"].get("labels") or {})
    ]


def end(pod: Object, code: int, words: str = "") -> None:
    state = {"terminated": {"exitCode": code, "message": words}}
    phase = "Failed" if code else "Succeeded"
    pod["status"] = {"phase": phase, "containerStatuses": [{"state": state}]}


def answered(world: World, uid: str = UID) -> HookVerdict | None:
    """What the pod that waits reads in its Workflow."""
    return verdict_for(world.workflow(), uid)


def message(world: World) -> str:
    verdict = answered(world)
    assert verdict is not None
    return verdict.message


class TestRefusal:
    def test_a_hook_that_does_not_exist_stops_the_import_before_it_begins(self) -> None:
        world = a_world({"before": "poweroff", "name": "other"})
        world.look()
        assert world.workflows() == []
        assert world.status.import_status == "virtualMachineImportInvalid"
        assert "the hook other does not exist, or imports of namespace default" in world.status.message

    def test_a_hook_for_other_namespaces_is_refused_in_the_same_words(self) -> None:
        world = a_world(allowedNamespaces=["team-a"])
        world.look()
        assert world.workflows() == []
        assert "the hook cmdb does not exist, or imports of namespace default" in world.status.message

    def test_a_hook_that_a_tenant_has_created_does_not_count(self) -> None:
        world = a_world({"before": "poweroff", "name": "own"})
        define(world, "own", namespace="default", container=IMAGE)
        world.look()
        assert world.workflows() == []

    def test_a_hook_with_a_command_is_for_a_computer(self) -> None:
        world = a_world()
        define(world, command=["true"])
        world.look()
        assert world.workflows() == []
        assert "which only `vmferry run` starts" in world.status.message

    def test_an_installation_without_hooks_refuses_them(self) -> None:
        world = World(hooks=[ROW])
        world.look()
        assert world.workflows() == []
        assert "hooks.allowed" in world.status.message

    def test_a_hook_that_was_withdrawn_meanwhile_does_not_run(self) -> None:
        world = a_world()
        world.look()
        world.cluster.drop(IMPORT_HOOK, "cmdb", "vmferry")
        world.found()
        world.argo(found(("disk-0",)), node("admit"), waiting())
        wait(world)
        world.look()
        assert pods(world) == []
        assert answered(world) is not None
        assert "the hook cmdb was not run: the hook cmdb does not exist" in message(world)

    def test_without_the_right_to_read_hooks_an_import_fails_and_does_not_hang(self) -> None:
        world = a_world()
        world.look()
        world.cluster.denied.add(("get", IMPORT_HOOK))
        world.found()
        world.argo(found(("disk-0",)), node("admit"), waiting())
        wait(world)
        world.look()
        assert "the hook cmdb cannot be read" in message(world)

    def test_an_answer_that_is_late_is_waited_for(self) -> None:
        world = begun()
        world.cluster.kinds.discard(IMPORT_HOOK)
        world.look()
        assert answered(world) is None


def test_a_dry_run_lists_the_hooks() -> None:
    world = a_world(ROW, {"after": "start", "name": "cmdb"})
    world.apply(dryRun=True)
    world.script.answer = lambda *_: described(a_machine())
    world.look(4)
    planned = world.status.planned
    assert planned is not None, world.status.message
    kept = world.cluster.peek(CONFIG_MAP, planned.config_map.removeprefix("vmferry/"), "vmferry")
    assert kept is not None
    text = "\n".join(kept["data"].values())
    assert "hook: before poweroff: cmdb\nhook: after start: cmdb\n" in text


class TestPod:
    def test_it_runs_what_the_administrator_has_written(self) -> None:
        world = begun(timeoutSeconds=90, secret="cmdb-login")  # noqa: S106 - a name
        (pod,) = pods(world)
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert (container["image"], container["args"]) == (IMAGE["image"], ["check"])
        assert spec["activeDeadlineSeconds"] == 90
        assert spec["serviceAccountName"] == "vmferry-hook"
        assert spec["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert set(volumes) == {"document", "tmp", "secret"}
        assert volumes["secret"]["secret"]["secretName"] == "cmdb-login"

    def test_it_has_nothing_of_the_import_but_the_document(self) -> None:
        world = begun()
        (pod,) = pods(world)
        text = json.dumps(pod["spec"])
        assert "default" not in text.replace("defaultMode", "")
        assert world.run not in text
        assert "web" not in text
        assert "persistentVolumeClaim" not in text
        assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["document", "tmp"]

    def test_what_the_steps_report_changes_no_pod(self) -> None:
        clean = begun()
        hostile = [{"disk": "disk-0", "image": "evil", "claim": "other"}]
        outputs = {"parameters": [{"name": "disks", "value": json.dumps(hostile)}]}
        other = begun(nodes=(node("admit", outputs=outputs), waiting()))
        assert pods(clean)[0]["spec"] == pods(other)[0]["spec"]

    def test_the_document_describes_the_vm_without_credentials(self) -> None:
        world = begun()
        (pod,) = pods(world)
        kept = world.cluster.peek(CONFIG_MAP, pod["metadata"]["name"], "vmferry")
        assert kept is not None
        document = json.loads(kept["data"]["hook.json"])
        assert (document["hook"], document["moment"], document["stage"]) == ("cmdb", "before", "poweroff")
        assert document["import"] == {"kind": "VirtualMachineImport", "namespace": "default", "name": "web"}
        assert document["machine"]["name"] == "web01"
        for word in ("secret", 'ferry"', "https://vcenter", "password"):
            assert word not in kept["data"]["hook.json"]

    def test_it_belongs_to_the_workflow_of_the_import(self) -> None:
        world = begun()
        (pod,) = pods(world)
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Workflow", world.workflows()[-1])

    def test_a_service_account_of_its_own_has_its_token(self) -> None:
        world = begun(serviceAccountName="cmdb")
        spec = pods(world)[0]["spec"]
        assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("cmdb", True)

    def test_an_import_without_hooks_reads_and_makes_nothing(self) -> None:
        world = World()
        world.look()
        world.argo(found(("disk-0",)), waiting())
        world.look()
        assert pods(world) == []


class TestEnd:
    def test_exit_code_0_lets_the_import_continue(self) -> None:
        world = begun()
        assert world.status.hooks[0].phase == "Running"
        assert world.look() == 5.0
        end(pods(world)[0], 0, "ticket 42 is open\n")
        world.look(2)
        assert answered(world) == HookVerdict(passed=True, message="hook cmdb succeeded: ticket 42 is open")
        ended(world, message(world))
        (row,) = world.status.hooks
        assert (row.name, row.moment, row.stage, row.phase) == ("cmdb", "before", "poweroff", "Succeeded")
        assert row.object_name == pods(world)[0]["metadata"]["name"]
        assert row.finished
        assert {"HookStarted", "HookSucceeded"} <= set(world.events())

    def test_another_exit_code_is_a_veto(self) -> None:
        world = begun()
        end(pods(world)[0], 3, "no\x1b[31m maintenance\nwindow")
        world.look()
        verdict = answered(world)
        assert verdict is not None
        assert not verdict.passed
        assert verdict.message.startswith("hook cmdb failed: exit code 3: no\N{REPLACEMENT CHARACTER}[31m")
        gone(world)
        world.argo(
            found(("disk-0",)),
            node("admit"),
            failed("before-poweroff", 16, verdict.message),
            phase="Failed",
        )
        world.look()
        assert world.status.import_status == "VMMigrationFailed"
        assert (world.summary.reason, world.status.step) == ("HookFailed", "before-poweroff")
        assert "maintenance window" in world.status.message
        assert world.status.hooks[0].phase == "Failed"
        assert "HookFailed" in world.warnings()

    def test_a_hook_may_fail_without_a_veto(self) -> None:
        world = begun(onFailure="continue")
        end(pods(world)[0], 1, "cannot reach the CMDB")
        world.look(2)
        verdict = answered(world)
        assert verdict is not None
        assert verdict.passed
        assert "failed, but the import continues: exit code 1: cannot reach the CMDB" in verdict.message
        ended(world, verdict.message)
        assert world.status.hooks[0].phase == "Ignored"
        assert "HookIgnored" in world.warnings()

    def test_the_deadline_of_the_pod_is_a_veto(self) -> None:
        world = begun(timeoutSeconds=60)
        pods(world)[0]["status"] = {"phase": "Failed", "reason": "DeadlineExceeded"}
        world.look()
        assert "it did not end within 60 s" in message(world)

    def test_a_pod_that_never_starts_ends_at_the_same_time(self) -> None:
        world = begun(timeoutSeconds=60)
        state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        pods(world)[0]["status"] = {"phase": "Pending", "containerStatuses": [{"state": state}]}
        world.look(3)
        assert answered(world) is None
        world.now += timedelta(seconds=90)
        world.look()
        assert "it did not end within 60 s (ImagePullBackOff: no such image)" in message(world)
        assert pods(world) == []

    def test_a_pod_that_the_api_refuses_is_a_veto(self) -> None:
        world = a_world()
        world.look()
        world.found()
        world.argo(found(("disk-0",)), node("admit"), waiting())
        wait(world)
        world.cluster.denied.add(("create", POD))
        world.look()
        assert answered(world) is not None
        assert "the hook cmdb could not be started" in message(world)

    def test_the_annotation_is_removed_when_the_pod_has_read_it(self) -> None:
        world = begun()
        end(pods(world)[0], 0)
        world.look()
        assert answered(world) is not None
        ended(world, message(world))
        world.look()
        assert answered(world) is None
        assert world.status.hooks[0].phase == "Succeeded"


def ended(world: World, words: str) -> None:
    """The pod that waits has read its answer and ended."""
    gone(world)
    outputs = {"exitCode": "0", "parameters": [{"name": "verdict", "value": words}]}
    world.argo(found(("disk-0",)), node("admit"), node("before-poweroff", outputs=outputs))
    world.look()


class TestInterruption:
    def test_a_killed_controller_starts_no_second_pod(self) -> None:
        world = begun()
        before = [one["metadata"]["name"] for one in pods(world)]
        world.look(4)
        assert [one["metadata"]["name"] for one in pods(world)] == before

    def test_it_finishes_what_a_killed_controller_began(self) -> None:
        world = begun()
        world.cluster.drop(POD, pods(world)[0]["metadata"]["name"], "vmferry")
        world.look()
        assert len(pods(world)) == 1, "the ConfigMap alone is not taken for the hook"

    def test_a_retry_in_argo_runs_the_hook_once_more(self) -> None:
        world = begun()
        (first,) = pods(world)
        end(first, 1)
        world.look()
        gone(world)
        world.argo(found(("disk-0",)), node("admit"), waiting())
        wait(world, uid=OTHER_UID)
        world.look()
        assert answered(world, OTHER_UID) is None
        assert len(pods(world)) == 2
        assert first["status"]["phase"] == "Failed", "the log of the first attempt stays"

    def test_a_suspended_import_starts_no_hook(self) -> None:
        world = a_world()
        world.look()
        world.found()
        world.apply(suspend=True)
        world.argo(found(("disk-0",)), node("admit"))
        world.look()
        world.argo(found(("disk-0",)), node("admit"), waiting())
        wait(world)
        world.look(2)
        assert pods(world) == []

    def test_a_cancelled_import_ends_its_hook(self) -> None:
        world = begun()
        world.apply(cancel=True)
        world.look(2)
        assert pods(world) == []
        assert answered(world) is None, "Argo ends the pod that waits"

    def test_a_deleted_import_ends_its_hook(self) -> None:
        world = begun()
        world.delete()
        world.look(2)
        assert pods(world) == []
        assert world.workflow()["spec"]["shutdown"] == "Stop"


@pytest.mark.parametrize("answer_only", [False, True])
def test_a_controller_that_is_killed_at_any_request_runs_a_hook_once(answer_only: bool) -> None:
    """The hook begins, ends and is answered; the controller is killed once on this way, at each place."""
    at_request, was_killed = 0, True
    while was_killed:
        world = a_world()
        world.look()
        world.found()
        world.argo(found(("disk-0",)), node("admit"), waiting())
        wait(world)
        world.cluster.fault = Fault(at=len(world.cluster.calls) + at_request, answer_only=answer_only)
        was_killed = not survives(world)
        if not pods(world):
            survives(world)
        (pod,) = pods(world)
        name = pod["metadata"]["name"]
        if pod.get("status") is None:
            end(pod, 0)
        was_killed = not survives(world) or was_killed
        survives(world)
        verdict = answered(world)
        assert verdict is not None, at_request
        assert verdict.passed
        assert [one["metadata"]["name"] for one in pods(world)] == [name]
        created = [call for call in world.cluster.calls if (call.verb, call.kind) == ("create", POD)]
        assert len(created) <= 2
        at_request += 1
    assert at_request > 10


def survives(world: World) -> bool:
    try:
        world.look()
    except KilledError:
        return False
    return True


class TestDisks:
    ROW: Final = {"before": "export", "name": "cmdb"}

    def test_a_hook_of_a_stage_of_disks_runs_for_each_disk(self) -> None:
        nodes = (node("poweroff"), waiting("before-export", "disk-0"))
        world = begun(self.ROW, nodes=nodes)
        (pod,) = pods(world)
        kept = world.cluster.peek(CONFIG_MAP, pod["metadata"]["name"], "vmferry")
        assert kept is not None
        assert json.loads(kept["data"]["hook.json"])["disk"] == "disk-0"
        assert world.status.hooks[0].disk == "disk-0"

    def test_a_disk_that_the_vm_does_not_have_gets_no_pod(self) -> None:
        world = begun(self.ROW, nodes=(node("poweroff"), waiting("before-export", "disk-7")))
        assert pods(world) == []


class TestWorkflow:
    def test_a_workflow_template_runs_in_a_workflow_of_its_own(self) -> None:
        world = begun(container=None, workflowTemplate={"name": "cmdb", "entrypoint": "check"})
        assert pods(world) == []
        (made,) = hook_workflows(world)
        name = made["metadata"]["name"]
        assert made["spec"] == {
            "workflowTemplateRef": {"name": "cmdb"},
            "entrypoint": "check",
            "activeDeadlineSeconds": 600,
            "arguments": {"parameters": [{"name": "document", "value": name}]},
        }
        made["status"] = {"phase": "Failed", "message": "step 2 said no"}
        world.look()
        assert message(world).startswith("hook cmdb failed: step 2 said no")

    def test_it_is_not_taken_for_a_workflow_of_the_import(self) -> None:
        world = begun(container=None, workflowTemplate={"name": "cmdb"})
        world.look(2)
        assert len(hook_workflows(world)) == 1
        assert world.status.workflow is not None
        assert world.status.workflow.name == world.run


class TestAfterStart:
    ROW: Final = {"after": "start", "name": "cmdb"}

    @pytest.mark.parametrize("phase", ["Running", "Succeeded"])
    def test_an_import_has_not_succeeded_before_its_last_hook(self, phase: str) -> None:
        last = waiting("after-start") if phase == "Running" else node("after-start")
        done = [node(one, disk="disk-0") for one in ("export", "convert", "image", "serve")]
        world = begun(self.ROW, nodes=(node("poweroff"), *done, node("build"), node("start"), last))
        expected = "virtualMachineCreated" if phase == "Running" else "virtualMachineRunning"
        assert world.status.import_status == expected
