"""Reconciles of one import with a cluster in memory: what is written, and in which order."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json

import pytest

from controller.operator.checkpods.runner import CheckPods
from controller.operator.observe.facts import FINALIZER
from controller.operator.observe.request import TRIED
from controller.operator.options import Options
from controller.operator.sweep import sweep
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, EVENT, IMPORT, SECRET, WORKFLOW, Object
from tests.unit.builders import a_machine
from tests.unit.controller.operator.kubelet import Exited, check_pods, described
from tests.unit.controller.operator.world import KEY, World, vm_of_others
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.workflows.status.situations import RELEASE, at, exited, failed, found, node, upto
from workflows import argo_names
from workflows.api.annotations import APPROVE, RETRY
from workflows.api.conditions import find

RUNNING = (*upto("end"), node("start"))


def gate(name: str) -> Object:
    """A gate at which the Workflow waits."""
    return node(f"approve-{name}", "Running", kind="Suspend", templateName=f"approve-{name}")


def wrote(manager: str, annotation: str) -> Object:
    """An entry of `metadata.managedFields`."""
    annotations: Object = {f"f:migration.harvesterhci.io/{annotation}": {}}
    return {"manager": manager, "fieldsV1": {"f:metadata": {"f:annotations": annotations}}}


def open_gates(world: World) -> list[str]:
    """The gates at which the Workflow still waits."""
    nodes = world.workflow()["status"]["nodes"].values()
    return [one["templateName"] for one in nodes if (one["type"], one["phase"]) == ("Suspend", "Running")]


def begun(**spec: object) -> World:
    world = World(**spec)
    world.look()
    return world


class TestBegin:
    def test_its_objects_exist_before_the_workflow_is_announced(self) -> None:
        world = begun()
        assert world.status.workflow is not None
        run = world.status.workflow.name
        assert world.workflows() == [run]
        assert world.status.workflow.namespace == "vmferry"
        request = world.cluster.peek(CONFIG_MAP, names.request(run), "vmferry")
        assert request is not None
        plan = json.loads(request["data"]["plan.json"])
        assert (plan["vm"], plan["target"]["kind"], plan["run"]) == ("web01", "harvester", run)
        owner = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": f"{run}-request",
            "uid": request["metadata"]["uid"],
        }
        assert world.workflow()["metadata"]["ownerReferences"] == [owner]
        for name in (names.credentials(run), names.address(run)):
            secret = world.secret(name)
            assert secret is not None
            assert secret["metadata"]["ownerReferences"] == [owner]
        limits = world.cluster.peek(CONFIG_MAP, argo_names.LIMITS, "vmferry")
        assert limits is not None
        key = world.workflow()["metadata"]["labels"][names.LABEL_LIMITS]
        assert limits["data"][f"{key}.machines"] == "2"
        assert world.raw is not None
        assert FINALIZER in world.raw["metadata"]["finalizers"]
        writes = world.cluster.writes()
        announced = next(i for i, call in enumerate(writes) if call.endswith("default/web/status"))
        made = next(i for i, call in enumerate(writes) if call.startswith("create workflows"))
        assert announced < made

    def test_a_second_reconcile_writes_nothing(self) -> None:
        world = begun()
        world.argo(node("preflight", "Running"))
        world.look(2)
        before = world.cluster.writes()
        world.look(3)
        assert world.cluster.writes() == before

    def test_credentials_are_only_in_the_secret(self) -> None:
        world = begun()
        for kind in (CONFIG_MAP, WORKFLOW):
            assert "c2VjcmV0" not in json.dumps(world.cluster.all(kind))  # base64 of the password

    @pytest.mark.parametrize("answer_only", [False, True])
    def test_a_kill_at_any_request_has_the_same_result(self, answer_only: bool) -> None:
        whole = begun()
        calls = len(whole.cluster.calls)
        for number in range(calls):
            world = World()
            world.cluster.fault = Fault(number, answer_only=answer_only)
            with pytest.raises(KilledError):
                world.look()
            world.cluster.fault = None
            world.look(2)
            assert world.workflows() == whole.workflows(), number
            assert len(world.cluster.all(SECRET, "vmferry")) == 2, number


class TestWaiting:
    def test_a_source_that_is_not_ready_is_waited_for(self) -> None:
        world = World()
        world.set_source("clusterNotReady", "the password is wrong")
        world.look()
        assert world.status.import_status == ""
        assert world.summary.reason == "SourceNotReady"
        assert "not ready yet" in world.summary.message
        assert "the password is wrong" in world.summary.message
        assert world.workflows() == []
        world.set_source("clusterReady")
        world.look()
        assert len(world.workflows()) == 1

    def test_a_later_secret_starts_the_import(self) -> None:
        world = World()
        world.cluster.drop(SECRET, "credentials", "default")
        world.look()
        assert world.summary.reason == "SecretNotFound"
        world.set_password("secret")
        world.look()
        assert len(world.workflows()) == 1

    def test_an_import_that_waits_has_no_step(self) -> None:
        world = begun()
        world.argo(failed("preflight", 14, "no VM web01"), phase="Failed")
        world.look(2)
        assert world.status.step == "preflight"
        world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
        world.apply(suspend=True)
        world.look()
        assert (world.summary.reason, world.status.step) == ("Paused", "")

    def test_a_suspended_import_does_not_start(self) -> None:
        world = begun(suspend=True)
        assert (world.workflows(), world.summary.reason) == ([], "Paused")
        world.apply(suspend=False)
        world.look()
        assert len(world.workflows()) == 1


class TestInvalid:
    def test_all_reasons_are_reported_and_a_fix_recovers(self) -> None:
        world = World(
            storageClass="slow",
            networkMapping=[{"sourceNetwork": "VM Network", "destinationNetwork": "default/vlan9"}],
        )
        world.cluster.put(vm_of_others("web01"))
        world.look()
        assert world.status.import_status == "virtualMachineImportInvalid"
        assert all(part in world.summary.message for part in ("'slow'", "default/vlan9", "default/web01"))
        assert world.workflows() == []
        world.apply(storageClass="fast", networkMapping=[], targetVirtualMachineName="web02")
        world.look()
        assert (world.status.import_status, len(world.workflows())) == ("", 1)

    def test_an_invalid_field_is_reported(self) -> None:
        world = begun(defaultDiskBusType="ide")
        assert world.status.import_status == "virtualMachineImportInvalid"
        assert (world.summary.status, world.summary.reason) == ("False", "Invalid")
        assert "defaultDiskBusType" in world.summary.message
        world.apply(defaultDiskBusType="sata")
        world.look()
        assert len(world.workflows()) == 1

    @pytest.mark.parametrize("kind", ["", "VmwareSouce"])
    def test_an_unknown_kind_of_source_is_invalid(self, kind: str) -> None:
        world = begun(sourceCluster={"apiVersion": "migration.harvesterhci.io/v1beta1", "kind": kind})
        assert world.status.import_status == "virtualMachineImportInvalid"
        assert "VmwareSource, OpenstackSource, OvaSource" in world.summary.message
        assert world.workflows() == []
        world.apply(sourceCluster={"kind": "VmwareSource", "name": "vcenter", "namespace": "default"})
        world.look()
        assert (world.status.import_status, len(world.workflows())) == ("", 1)

    def test_an_import_refused_by_the_target_restarts_after_a_correction(self) -> None:
        world = begun()
        world.argo(found(), failed("admit", 19, "duplicate mac address"), phase="Failed")
        world.look(2)
        assert world.status.import_status == "virtualMachineImportInvalid"
        assert world.summary.reason == "Conflict"
        assert len(world.workflows()) == 1
        world.annotate(retry="true")
        world.look(2)
        assert (world.status.import_status, len(world.workflows())) == ("", 1)
        assert world.workflows()[0].endswith("-r1")

    def test_an_import_refused_by_preflight_restarts_after_an_edit(self) -> None:
        world = begun()
        world.argo(failed("preflight", 14, "no VM web01"), phase="Failed")
        world.look(2)
        assert world.status.import_status == "virtualMachineImportInvalid"
        assert len(world.workflows()) == 1
        world.apply(virtualMachineName="web02")
        world.look(2)
        (workflow,) = world.workflows()
        assert workflow.endswith("-g2")
        requests = [one["metadata"]["name"] for one in world.cluster.all(CONFIG_MAP, "vmferry")]
        assert set(requests) == {f"{workflow}-request", argo_names.LIMITS}


class TestCorrectedSecret:
    """The source was ready when the import started, and its password had been changed since."""

    def refused(self, code: int, words: str) -> World:
        world = begun()
        world.argo(failed("preflight", code, words), phase="Failed")
        world.look(2)
        assert (world.status.import_status, world.status.step) == ("virtualMachineImportInvalid", "preflight")
        return world

    @pytest.mark.parametrize("code", [Exit.DENIED, Exit.UNTRUSTED, Exit.INVALID])
    def test_the_import_restarts_by_itself(self, code: Exit) -> None:
        world = self.refused(code, "the user name or password is wrong")
        assert world.look(3) == 30.0
        assert len(world.workflows()) == 1
        world.set_password("right")
        world.look(2)
        (workflow,) = world.workflows()
        assert workflow.endswith("-r1")
        copy = world.secret(names.credentials(world.run))
        assert copy is not None
        assert base64.b64decode(copy["data"]["password"]) == b"right"
        world.argo(failed("preflight", code, "still wrong"), phase="Failed")
        world.look(4)
        assert world.workflows() == [workflow], "once for each change"

    def test_a_correction_while_the_workflow_ended_counts(self) -> None:
        """The exit handler takes half a minute, and the run's copy is updated meanwhile."""
        world = begun()
        world.argo(failed("preflight", Exit.DENIED, "wrong"), node(RELEASE, "Running"))
        world.look(2)
        world.set_password("right")
        world.look(2)
        world.argo(failed("preflight", Exit.DENIED, "wrong"), exited(), phase="Failed")
        world.look(3)
        assert world.workflows()[0].endswith("-r1")

    def test_a_correction_after_the_workflow_was_deleted_counts(self) -> None:
        world = self.refused(Exit.DENIED, "wrong")
        world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
        world.look(2)
        assert world.workflows() == []
        world.set_password("right")
        world.look(2)
        assert world.workflows()[0].endswith("-r1")

    def test_the_import_waits_until_its_source_answers(self) -> None:
        world = self.refused(Exit.DENIED, "wrong")
        world.set_password("right")
        world.set_source("clusterNotReady", "it is away")
        world.look(2)
        assert len(world.workflows()) == 1
        world.set_source("clusterReady")
        world.look(2)
        assert world.workflows()[0].endswith("-r1")

    def test_a_secret_does_not_restart_other_refusals(self) -> None:
        """The VM may exist by now: it must not be powered off because a password was rotated."""
        world = self.refused(Exit.NOT_FOUND, "no VM web01")
        world.set_password("right")
        assert world.look(3) == world.options.recheck_seconds
        assert not world.workflows()[0].endswith("-r1")

    def test_the_digest_is_only_on_the_secret(self) -> None:
        world = self.refused(Exit.DENIED, "wrong")
        copy = world.secret(names.credentials(world.run))
        assert copy is not None
        tried = copy["metadata"]["annotations"][TRIED]
        for kind in (CONFIG_MAP, WORKFLOW, IMPORT):
            assert tried not in json.dumps(world.cluster.all(kind))


class TestRetry:
    def failing(self) -> World:
        world = begun()
        world.argo(
            found(), node("poweroff"), failed("export", 13, "scratch is full", "disk-0"), phase="Failed"
        )
        world.look(2)
        assert world.status.import_status == "VMMigrationFailed"
        assert world.summary.message == "scratch is full"
        return world

    def test_the_annotation_starts_a_workflow_with_the_same_request(self) -> None:
        world = self.failing()
        run = world.workflows()[0]
        world.annotate(retry="true")
        world.look()
        assert world.workflows() == [f"{run}-r1"]
        assert RETRY not in world.notes()
        assert world.status.import_status == ""
        world.argo(*RUNNING, phase="Succeeded")
        world.look(2)
        assert world.status.import_status == "virtualMachineRunning"

    def test_a_retry_in_argo_moves_the_import_back_to_running(self) -> None:
        world = self.failing()
        world.argo(found(), node("poweroff"), node("export", "Running", "disk-0"))
        world.look()
        assert (world.status.import_status, world.summary.status) == ("sourceReady", "Unknown")
        assert len(world.workflows()) == 1

    def test_an_edited_late_field_starts_a_workflow_with_the_same_run(self) -> None:
        world = self.failing()
        run = world.workflows()[0]
        world.apply(storageClass="fast")
        world.look(2)
        assert world.workflows() == [f"{run}-r1"]
        request = world.cluster.peek(CONFIG_MAP, names.request(run), "vmferry")
        assert request is not None
        assert json.loads(request["data"]["plan.json"])["target"]["storageClass"] == "fast"

    def test_an_upgrade_does_not_rename_the_vm_of_a_running_import(self) -> None:
        """A request of an older version does not define how names are spelled."""
        world = begun(virtualMachineName="Größe")
        run = world.workflows()[0]
        request = world.cluster.peek(CONFIG_MAP, names.request(run), "vmferry")
        assert request is not None
        plan = json.loads(request["data"]["plan.json"])
        assert plan["target"].pop("spelling") == "letters"
        request["data"]["plan.json"] = json.dumps(plan)
        world.argo(found(), failed("build", 30, "no answer"), phase="Failed")
        world.annotate(retry="true")
        world.look(2)
        assert world.workflows() == [f"{run}-r1"]
        request = world.cluster.peek(CONFIG_MAP, names.request(run), "vmferry")
        assert request is not None
        assert json.loads(request["data"]["plan.json"])["target"]["spelling"] == "dashes"

    def test_approvals_and_suspension_do_not_cause_a_retry(self) -> None:
        world = self.failing()
        before = world.workflows()
        world.apply(approvals=["start"], suspend=False)
        world.look(3)
        assert world.workflows() == before

    def test_a_waiting_retry_is_added_to_the_failure_once(self) -> None:
        world = self.failing()
        world.apply(storageClass="slow")
        world.look(4)
        assert world.status.import_status == "VMMigrationFailed"
        assert world.status.message.startswith("scratch is full (a retry waits: ")
        assert world.status.message.count("a retry waits") == 1
        assert world.events().count("RetryWaits") == 1
        assert "RetryWaits" in world.warnings()
        world.apply(storageClass="fast")
        world.look()
        assert world.workflows()[0].endswith("-r1")

    def test_that_waits_says_so_only_once_when_its_workflow_was_deleted(self) -> None:
        world = self.failing()
        world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
        world.look()
        world.apply(storageClass="slow")
        world.look(4)
        assert world.status.message.count("(a retry waits: ") == 1

    def test_retries_are_numbered(self) -> None:
        world = self.failing()
        for number in (1, 2, 3):
            world.annotate(retry="true")
            world.look(2)
            assert world.workflows()[0].endswith(f"-r{number}")
            world.argo(failed("preflight", 30, "no answer"), phase="Failed")
            world.look(2)

    @pytest.mark.parametrize("answer_only", [False, True])
    def test_a_kill_at_any_request_leaves_one_workflow(self, answer_only: bool) -> None:
        reference = self.failing()
        start = len(reference.cluster.calls)
        reference.annotate(retry="true")
        reference.look()
        for number in range(start + 1, len(reference.cluster.calls)):
            world = self.failing()
            world.annotate(retry="true")
            world.cluster.fault = Fault(number, answer_only=answer_only)
            with contextlib.suppress(KilledError):  # an answer that is a refusal is not lost
                world.look()
            world.cluster.fault = None
            world.look(3)
            assert world.workflows() == reference.workflows(), (number, world.workflows())

    def test_a_retry_of_a_running_import_is_ignored_with_an_event(self) -> None:
        world = begun()
        world.argo(node("preflight", "Running"))
        world.annotate(retry="true")
        world.look(2)
        assert RETRY not in world.notes()
        assert "RetryIgnored" in world.warnings()
        assert len(world.workflows()) == 1


class TestWhileItRuns:
    def test_its_link_into_argo_follows_the_configuration(self) -> None:
        world = begun()
        world.argo(node("preflight", "Running"))
        for host in ("argo", "argo.example"):
            world.options = Options(workflow_link=f"https://{host}/{{namespace}}/{{name}}")
            world.look()
            assert world.status.workflow is not None
            assert world.status.workflow.link == f"https://{host}/vmferry/{world.workflows()[0]}"

    def test_a_changed_spec_is_reported_once(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff", "Running"))
        world.look()
        world.apply(storageClass="fast")
        world.look(3)
        assert world.events().count("SpecChanged") == 1
        assert "SpecChanged" in world.warnings()
        assert len(world.workflows()) == 1

    def test_resume_does_not_end_a_suspension_from_argo(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff", "Running"))
        world.apply(suspend=True)
        world.look()
        assert world.workflow()["spec"]["suspend"] is True
        world.look()
        assert world.summary.reason == "Paused"
        world.apply(suspend=False)
        world.look()
        assert "suspend" not in world.workflow()["spec"]
        world.workflow()["spec"]["suspend"] = True  # in Argo's own UI
        world.look(2)
        assert world.workflow()["spec"]["suspend"] is True

    def test_cancel_stops_and_its_removal_retries(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff", "Running"))
        world.apply(cancel=True)
        world.look()
        assert world.workflow()["spec"]["shutdown"] == "Stop"
        world.argo(
            found(), failed("poweroff", None, "workflow shutdown with strategy:  Stop"), phase="Failed"
        )
        world.look(2)
        assert (world.status.import_status, world.summary.reason) == ("VMMigrationFailed", "Cancelled")
        world.look(3)
        assert len(world.workflows()) == 1
        world.apply(cancel=False)
        world.look(2)
        assert world.workflows()[0].endswith("-r1")

    def test_an_annotation_opens_a_gate(self) -> None:
        world = begun(approvals=["poweroff"])
        gate = node("approve-poweroff", "Running", kind="Suspend", templateName="approve-poweroff")
        world.argo(node("preflight", "Running"))
        world.annotate(approve="poweroff")
        world.look()
        assert "approve" in json.dumps(world.notes())  # it came too early and is kept
        world.argo(found(), gate)
        assert world.raw is not None
        world.raw["metadata"]["managedFields"] = [
            wrote("kubectl-annotate", "approve"),
            wrote("helm", "other"),
        ]
        world.look()
        opened = [one for one in world.workflow()["status"]["nodes"].values() if one["type"] == "Suspend"]
        assert [one["phase"] for one in opened] == ["Succeeded"]
        assert opened[0]["message"] == "approved by kubectl-annotate"
        assert "Approved" in world.events()
        assert "migration.harvesterhci.io/approve" not in world.notes()

    def test_of_two_approved_gates_the_later_one_waits_for_its_turn(self) -> None:
        world = begun(approvals=["poweroff", "start"])
        world.annotate(approve="start, poweroff")
        world.argo(found(), gate("poweroff"))
        world.look()
        assert open_gates(world) == []
        assert world.notes()[APPROVE] == "start"
        world.argo(*upto("end"), gate("start"))
        world.look()
        assert open_gates(world) == []
        assert APPROVE not in world.notes()

    def test_an_approval_opens_no_other_gate(self) -> None:
        world = begun(approvals=["poweroff", "start"])
        world.annotate(approve="start")
        world.argo(found(), gate("poweroff"))
        world.look(2)
        assert open_gates(world) == ["approve-poweroff"]
        assert world.notes()[APPROVE] == "start"

    def test_an_approval_of_a_gate_that_the_import_does_not_have_is_removed(self) -> None:
        world = begun(approvals=["poweroff"])
        world.annotate(approve="start")
        world.argo(node("preflight", "Running"))
        world.look()
        assert APPROVE not in world.notes()

    def test_an_approval_of_a_gate_that_is_open_is_removed(self) -> None:
        world = begun(approvals=["poweroff"])
        world.annotate(approve="poweroff")
        world.argo(found(), node("approve-poweroff", kind="Suspend"), node("poweroff", "Running"))
        world.look()
        assert APPROVE not in world.notes()

    @pytest.mark.parametrize("value", ["everything", "poweroff,everything", "", " , "])
    def test_an_unknown_gate_is_reported(self, value: str) -> None:
        world = begun(approvals=["poweroff"])
        world.argo(found(), gate("poweroff"))
        world.annotate(approve=value)
        world.look()
        assert "ApprovalUnknown" in world.warnings()
        assert APPROVE not in world.notes()
        assert open_gates(world) == ["approve-poweroff"]

    def test_a_changed_password_reaches_the_run(self) -> None:
        world = begun()
        world.argo(node("preflight", "Running"))
        world.look()
        world.set_password("changed")
        world.look()
        secret = world.secret(names.credentials(world.workflows()[0]))
        assert secret is not None
        assert secret["data"]["password"] == base64.b64encode(b"changed").decode()

    def test_progress_never_falls_and_is_an_annotation(self) -> None:
        world = begun()
        world.argo(found(("disk-0",)), node("poweroff"), node("export", "Running", "disk-0", progress="5/10"))
        world.look()
        first = int(world.notes()["vmimport.v2v.kubevirt.io/progress"])
        assert first > 0
        world.argo(found(("disk-0",)), node("poweroff"), node("export", "Running", "disk-0", progress="1/10"))
        world.look()
        assert int(world.notes()["vmimport.v2v.kubevirt.io/progress"]) == first


class TestEnds:
    def test_success_is_final_and_the_secrets_are_deleted(self) -> None:
        world = begun()
        world.argo(*RUNNING, phase="Succeeded")
        world.look(2)
        assert world.status.import_status == "virtualMachineRunning"
        assert world.status.percent == 100
        assert world.cluster.all(SECRET, "vmferry") == []
        world.argo(failed("preflight", 14, "x"), phase="Failed")
        world.annotate(retry="true")
        world.look(2)
        assert world.status.import_status == "virtualMachineRunning"
        assert RETRY not in world.notes()

    def test_a_finished_import_has_no_finalizer_and_leaves_nothing(self) -> None:
        """If the controller is removed too, as after `helm uninstall`, a finalizer would stay for ever."""
        world = begun()
        world.argo(*RUNNING)
        world.look(2)
        assert world.raw is not None
        assert FINALIZER in world.raw["metadata"]["finalizers"], "the exit handler is at work"
        world.argo(*RUNNING, phase="Succeeded")
        world.look(2)
        assert FINALIZER not in (world.raw["metadata"].get("finalizers") or [])
        before = world.cluster.writes()
        world.look(2)
        assert world.cluster.writes() == before
        world.delete()
        assert world.raw is None
        assert world.look() is None
        assert [one["metadata"]["name"] for one in world.cluster.all(CONFIG_MAP, "vmferry")] == [
            argo_names.LIMITS
        ]
        assert world.workflows() == []

    def test_the_secrets_stay_until_the_exit_handler_has_run(self) -> None:
        world = begun()
        world.argo(*RUNNING)
        world.look(3)
        assert world.status.import_status == "virtualMachineRunning"
        assert len(world.cluster.all(SECRET, "vmferry")) == 2
        world.argo(*RUNNING, phase="Succeeded")
        world.look()
        assert world.cluster.all(SECRET, "vmferry") == []

    def test_a_failed_import_survives_the_ttl_and_can_be_retried(self) -> None:
        world = TestRetry().failing()
        run = world.workflows()[0]
        world.cluster.drop(WORKFLOW, run, "vmferry")
        world.look(3)
        assert (world.status.import_status, world.summary.reason) == ("VMMigrationFailed", "WorkflowGone")
        assert world.status.message.count("was deleted") == 1
        world.annotate(retry="true")
        world.look()
        assert world.workflows() == [f"{run}-r1"]

    def test_a_workflow_deleted_while_it_ran_fails_the_import(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff", "Running"))
        world.look()
        world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
        world.look(2)
        assert (world.status.import_status, world.summary.reason) == ("VMMigrationFailed", "WorkflowGone")
        assert world.workflows() == [argo_names.give_back(world.run)]


class TestDeletion:
    def test_deletion_before_the_start(self) -> None:
        world = World()
        world.set_source("clusterNotReady")
        world.look()
        world.delete()
        assert world.raw is None
        assert world.look() is None

    def test_deletion_stops_the_run_and_leaves_nothing(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff", "Running"))
        world.look()
        world.delete()
        world.look()
        assert world.workflow()["spec"]["shutdown"] == "Stop"
        world.look(2)
        assert world.raw is not None
        world.argo(
            found(),
            failed("poweroff", None, "workflow shutdown with strategy:  Stop"),
            exited(),
            phase="Failed",
        )
        world.look(2)
        assert world.raw is None
        assert world.workflows() == []
        assert world.cluster.all(SECRET, "vmferry") == []

    def test_deletion_runs_cleanup_if_no_exit_handler_ran(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff"), failed("export", None, "pod deleted", "disk-0"), phase="Error")
        world.look()
        run = world.workflows()[0]
        world.delete()
        world.look(2)
        assert argo_names.give_back(run) in world.workflows()
        back = world.cluster.peek(WORKFLOW, argo_names.give_back(run), "vmferry")
        assert back is not None
        assert back["spec"]["shutdown"] == "Stop"
        assert world.raw is not None
        world.argo(exited(), phase="Failed", name=argo_names.give_back(run))
        world.look(2)
        assert world.raw is None
        assert world.workflows() == []

    def test_the_cleanup_uses_the_runs_copy_of_a_secret_that_was_deleted(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff"), failed("export", None, "pod deleted", "disk-0"), phase="Error")
        world.look()
        run = world.workflows()[0]
        world.cluster.drop(SECRET, "credentials", "default")
        world.delete()
        world.look(2)
        assert argo_names.give_back(run) in world.workflows()
        copy = world.secret(names.credentials(run))
        assert copy is not None
        assert base64.b64decode(copy["data"]["password"]) == b"secret"

    def test_deletion_after_success_keeps_the_vm(self) -> None:
        world = begun()
        world.argo(*RUNNING, phase="Succeeded")
        world.look(2)
        world.cluster.put(vm_of_others("web01"))
        world.delete()
        world.look(2)
        assert world.raw is None
        assert world.workflows() == []
        assert world.cluster.peek(*_machine("web01")) is not None

    def test_deletion_gives_up_after_its_time_and_names_the_leftovers(self) -> None:
        world = begun()
        world.argo(found(), node("poweroff", "Running"))
        world.look()
        world.delete()
        steps = itertools.takewhile(lambda _: world.raw is not None, range(200))
        for _ in steps:
            world.look()
        assert world.raw is None
        (gave_up,) = [one for one in world.cluster.all(EVENT, KEY[0]) if one["reason"] == "GaveUp"]
        assert "VmwareSource default/vcenter was not released within 600 s" in gave_up["message"]
        assert (world.now.timestamp() - 600) > 0


class TestDryRun:
    def test_a_dry_run_happens_once_per_spec_and_starts_nothing(self) -> None:
        world = World(dryRun=True, storageClass="slow")
        world.script.answer = lambda *_: described(a_machine())
        world.look()
        assert world.status.import_status == "virtualMachineImportInvalid"
        world.apply(storageClass="fast")
        world.look()
        assert world.summary.reason == "Planning"
        world.look(3)
        assert (world.status.import_status, world.summary.reason) == ("", "Planned")
        assert len(world.kubelet.started) == 1
        assert check_pods(world.cluster) == []
        promised = world.status.planned
        assert promised is not None
        page = world.cluster.peek(CONFIG_MAP, promised.config_map.removeprefix("vmferry/"), "vmferry")
        assert page is not None
        assert page["data"]["hash"] == promised.hash
        assert world.workflows() == []
        world.apply(cpus=8)
        world.look(3)
        assert len(world.kubelet.started) == 2
        world.apply(dryRun=False)
        world.look()
        assert len(world.workflows()) == 1

    def test_a_dry_run_is_repeated_on_request(self) -> None:
        world = planned()
        world.annotate(retry="true")
        world.look(3)
        assert len(world.kubelet.started) == 2
        assert RETRY not in world.notes()
        assert check_pods(world.cluster) == []

    @pytest.mark.parametrize(
        ("vcpus", "wanted"), [(2, ("True", "Planned", at(15))), (4, ("False", "PlanChanged", at(25)))]
    )
    def test_an_import_that_differs_from_it_says_so(self, vcpus: int, wanted: tuple[str, str, str]) -> None:
        world = planned(vcpus)
        world.apply(dryRun=False)
        world.look()
        world.argo(found(), node("poweroff", "Running"))
        world.found()
        world.look(3)
        condition = find(world.status.import_conditions, "Planned")
        assert condition is not None
        assert (condition.status, condition.reason, condition.last_update_time) == wanted
        assert ("differs from the dry run in ConfigMap vmferry/" in condition.message) is (vcpus != 2)

    def test_a_deleted_dry_run_leaves_nothing(self) -> None:
        world = planned()
        world.delete()
        world.look(2)
        assert world.raw is None
        assert [one["metadata"]["name"] for one in world.cluster.all(CONFIG_MAP, "vmferry")] == [
            argo_names.LIMITS
        ]

    def test_an_import_that_is_deleted_during_its_dry_run_leaves_no_pod(self) -> None:
        world = World(dryRun=True)
        world.script.answer = lambda *_: None
        world.look(2)
        assert check_pods(world.cluster) != []
        world.delete()
        world.look(2)
        assert check_pods(world.cluster) == []

    def test_a_dry_run_that_is_no_longer_wanted_is_ended(self) -> None:
        world = World(dryRun=True)
        world.script.answer = lambda *_: None
        world.look(2)
        world.apply(dryRun=False)
        world.look()
        assert check_pods(world.cluster) == []
        assert len(world.workflows()) == 1

    def test_a_result_for_an_earlier_spec_is_not_used(self) -> None:
        world = World(dryRun=True)
        world.script.answer = lambda *_: None
        world.look()
        world.apply(cpus=8)
        world.script.answer = lambda *_: described(a_machine())
        world.kubelet.sync()
        world.look(4)
        assert len(world.kubelet.started) == 2
        assert world.status.planned is not None
        page = world.cluster.peek(
            CONFIG_MAP, world.status.planned.config_map.removeprefix("vmferry/"), "vmferry"
        )
        assert page is not None
        assert "8 cores" in page["data"]["plan.txt"]

    def test_refusals_are_reported_and_timeouts_are_retried(self) -> None:
        answers = [Exited(30, "the source is away"), Exited(14, "there is no VM web01")]
        world = World(dryRun=True)
        world.script.answer = lambda *_: answers.pop(0)
        world.look()
        with pytest.raises(StepError):
            world.look()
        assert world.summary.reason == "PlanningAgain"
        assert "the source is away" in world.summary.message
        world.look(2)
        condition = find(world.status.import_conditions, "Planned")
        assert condition is not None
        assert (condition.status, condition.reason) == ("False", "NotPossible")
        assert condition.message == "there is no VM web01"
        assert check_pods(world.cluster) == []

    @pytest.mark.parametrize("answer_only", [False, True])
    def test_a_kill_at_any_request_makes_no_second_dry_run(self, answer_only: bool) -> None:
        whole = planned()
        for number in range(len(whole.cluster.calls)):
            world = World(dryRun=True)
            world.script.answer = lambda *_: described(a_machine())
            world.cluster.fault = Fault(number, answer_only=answer_only)
            with contextlib.suppress(KilledError):
                world.look(4)
            world.kubelet.sync()
            world.cluster.fault = None
            world.checks = CheckPods(world.cluster, world.options)  # a new process
            world.checks.poll()
            world.look(5)
            assert world.summary.reason == "Planned", number
            assert len(world.kubelet.started) == 1, number
            assert check_pods(world.cluster) == [], number


def planned(vcpus: int = 2) -> World:
    """An import after its dry run."""
    world = World(dryRun=True)
    world.script.answer = lambda *_: described(a_machine(vcpus=vcpus))
    world.look(3)
    assert world.summary.reason == "Planned"
    return world


class TestSweep:
    def test_only_leftovers_of_a_forced_deletion_are_deleted(self) -> None:
        world = begun()
        assert sweep(world.cluster, "vmferry") == []
        run = world.workflows()[0]
        world.cluster.finish(IMPORT, KEY[1], KEY[0])
        world.cluster.drop(IMPORT, KEY[1], KEY[0])
        assert sweep(world.cluster, "vmferry") == [names.request(run)]
        assert world.workflows() == []
        assert world.cluster.peek(CONFIG_MAP, argo_names.LIMITS, "vmferry") is not None


class TestOthers:
    @pytest.mark.parametrize(
        "upstream_status", ["virtualMachineRunning", "virtualMachineImportInvalid", "VMMigrationFailed"]
    )
    def test_an_import_finished_by_another_controller_stays_unchanged(self, upstream_status: str) -> None:
        world = World()
        world.cluster.patch_status(IMPORT, KEY[1], {"importStatus": upstream_status}, KEY[0])
        before = world.cluster.writes()
        world.look(3)
        assert world.cluster.writes() == before

    def test_an_import_half_done_by_another_controller_waits_for_a_person(self) -> None:
        world = World()
        world.cluster.patch_status(IMPORT, KEY[1], {"importStatus": "sourceReady"}, KEY[0])
        world.look(3)
        assert world.workflows() == []
        assert world.status.import_status == "sourceReady"
        assert world.events() == world.warnings() == ["ForeignStatus"]
        world.annotate(retry="true")
        world.look()
        assert (world.status.import_status, world.summary.reason) == ("", "TakenOver")
        world.look()
        assert len(world.workflows()) == 1

    def test_an_import_that_is_taken_over_keeps_its_conditions(self) -> None:
        world = World()
        exported = {"type": "VMExported", "status": "True", "reason": "", "message": ""}
        left = {"importStatus": "disksExported", "importConditions": [exported]}
        world.cluster.patch_status(IMPORT, KEY[1], left, KEY[0])
        world.annotate(retry="true")
        world.look(2)
        assert find(world.status.import_conditions, "VMExported") is not None

    def test_no_import_starts_while_another_controller_runs(self) -> None:
        world = World()
        world.foreign = "harvester-vm-import-controller is at work here; scale it down"
        world.look(2)
        assert (world.workflows(), world.summary.reason) == ([], "OtherController")


def _machine(name: str):  # type: ignore[no-untyped-def]
    from steps.model.kinds import MACHINE  # noqa: PLC0415

    return MACHINE, name, "default"
