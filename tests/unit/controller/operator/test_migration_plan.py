"""A MigrationPlan: selection, waves, failures, retries, windows, limits, and a controller that is killed."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from controller.operator.routing import PLAN_SECONDS, EventRouter, ImportKey, SourceKey
from controller.operator.workqueue import Queue
from steps.model.contract import Exit
from steps.model.grants import ALLOWED
from steps.model.kinds import (
    IMPORT,
    IMPORT_MAPPING,
    MIGRATION_PLAN,
    POD,
    SECRET,
    SOURCES,
    WORKFLOW,
    Object,
)
from steps.model.log_text import to_lines
from steps.model.selecting import Found, FoundVm, pack
from steps.model.sources import SourceKind
from tests.unit.builders import a_disk
from tests.unit.controller.operator.kubelet import Exited, check_pods
from tests.unit.controller.operator.plan_world import (
    FAILED,
    NAME,
    PREFIX,
    RUNNING,
    UID,
    PlanWorld,
    some_vms,
)
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from workflows.api.conditions import find

TWO: Final[dict[str, Any]] = {"waves": {"size": 2}}


def names(*numbers: int) -> list[str]:
    return [f"{NAME}-web-{number}" for number in numbers]


class TestSelection:
    def test_the_vms_are_selected_by_a_pod_and_the_first_wave_starts(self) -> None:
        world = PlanWorld(**TWO)
        world.look()
        assert (world.state.phase, world.imports()) == ("Selecting", [])
        assert len(check_pods(world.cluster)) == 2
        world.look(2)
        assert world.imports() == names(1, 2)
        assert check_pods(world.cluster) == []
        status = world.state
        assert (status.phase, status.progress, status.wave, status.waves) == ("Running", "1/2", 1, 2)
        assert status.counts.total == 4
        condition = find(status.conditions, "Selected")
        assert condition is not None
        assert (condition.status, condition.message) == ("True", "4 VMs are selected")

    def test_the_pod_gets_the_rows_and_nothing_else_of_the_plan(self) -> None:
        world = PlanWorld(vms=[{"name": "web-1"}, {"folder": "prod", "tags": []}], exclude=["web-3"])
        world.look()
        (secret,) = [one for one in world.cluster.all(SECRET, "vmferry") if "plan.json" in one["data"]]
        assert set(secret["data"]) == {"plan.json", "username", "password"}
        world.look(2)
        assert world.imports() == names(1, 2, 4)
        assert [vm.row for vm in world.state.vms] == [0, 1, 1]

    def test_rows_that_fit_nothing_are_named(self) -> None:
        world = PlanWorld(vms=[{"name": "web-1"}, {"name": "db-*"}]).begin()
        condition = find(world.state.conditions, "Selected")
        assert condition is not None
        assert condition.message == "1 VM is selected; no VM fits name db-*"

    def test_a_plan_that_selects_nothing_says_so(self) -> None:
        world = PlanWorld(vms=[{"name": "db-*"}]).begin()
        assert (world.state.phase, world.imports()) == ("Failed", [])
        assert world.state.message.startswith("spec.vms selects no VM")

    def test_a_suspended_plan_shows_its_selection_and_starts_nothing(self) -> None:
        world = PlanWorld(suspend=True, **TWO).begin()
        assert (world.state.phase, world.imports()) == ("Suspended", [])
        assert [(vm.import_, vm.wave) for vm in world.state.vms] == list(
            zip(names(1, 2, 3, 4), (1, 1, 2, 2), strict=True)
        )
        world.apply(suspend=False)
        world.look()
        assert world.imports() == names(1, 2)

    def test_nothing_is_selected_again_by_itself(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.vms = some_vms(5)
        world.look(20)
        assert len(world.state.vms) == 4
        pods = len(world.kubelet.started)
        world.apply(waves={"size": 3})
        world.look(3)
        assert len(world.kubelet.started) == pods

    def test_a_person_asks_for_another_selection(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.vms = [*some_vms(2)[:1], *some_vms(5)[3:]]  # 2 has started, 3 has not
        world.annotate_plan(select="true")
        world.look(4)
        assert f"{PREFIX}select" not in world.plan["metadata"]["annotations"]
        assert [(vm.id, vm.wave) for vm in world.state.vms] == [
            ("vm-2", 1),
            ("vm-1", 1),
            ("vm-4", 2),
            ("vm-5", 2),
        ]
        assert {"VmsRemoved", "VmsSelected"} <= set(world.plan_events())
        assert world.imports() == names(1, 2)

    def test_changed_rows_are_selected_before_anything_else_starts(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.end(1, 2)
        world.apply(vms=[{"name": "web-[124]"}])
        world.look()
        assert (world.state.phase, world.imports()) == ("Selecting", names(1, 2))
        world.look(2)
        assert world.imports() == names(1, 2, 4)

    def test_a_selection_that_fails_is_repeated_after_growing_pauses(self) -> None:
        world = PlanWorld()
        world.answer = Exited(int(Exit.UNREACHABLE), message="vcenter does not answer")
        world.look(2)
        assert world.state.message == "The VMs cannot be selected: vcenter does not answer"
        assert world.state.selection.failures == 1
        started = len(world.kubelet.started)
        world.look()
        assert len(world.kubelet.started) == started
        world.now += timedelta(seconds=20)
        world.answer = None
        world.look(3)
        assert len(world.imports()) == 4
        assert world.state.selection.failures == 0

    def test_a_corrected_spec_is_tried_at_once(self) -> None:
        world = PlanWorld()
        world.answer = Exited(int(Exit.UNSUPPORTED), message="cannot select VMs by tag")
        world.look(2)
        world.answer = None
        world.apply(vms=[{"name": "web-1"}])
        world.look(3)
        assert world.imports() == names(1)

    def test_a_source_that_is_not_ready_is_waited_for(self) -> None:
        world = PlanWorld()
        world.set_source("clusterNotReady", "the password is wrong")
        world.look(2)
        assert world.state.phase == "Selecting"
        assert "the password is wrong" in world.state.message
        assert world.kubelet.started == []
        world.set_source("clusterReady")
        world.look(3)
        assert len(world.imports()) == 4


class TestImports:
    def test_an_import_is_an_ordinary_one_that_the_plan_owns(self) -> None:
        template = {"storageClass": "fast", "networkMapping": []}
        rows = [{"name": "web-1", "overrides": {"cpus": 4}}, {"name": "*"}]
        world = PlanWorld(template=template, vms=rows).begin()
        made = world.import_of(1)
        assert made["spec"] == {
            "storageClass": "fast",
            "networkMapping": [],
            "cpus": 4,
            "virtualMachineName": "/DC0/vm/prod/web-1",
            "sourceCluster": {
                "apiVersion": "migration.harvesterhci.io/v1beta1",
                "kind": "VmwareSource",
                "name": "vcenter",
                "namespace": "default",
            },
        }
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("MigrationPlan", UID)
        assert "cpus" not in world.import_of(2)["spec"]

    def test_the_spec_of_the_plan_is_never_written(self) -> None:
        world = PlanWorld(**TWO).begin()
        before = dict(world.plan["spec"])
        world.end(1, state=FAILED)
        world.end(2)
        world.annotate_plan(retry="true", approve="2")
        world.look(4)
        assert world.plan["spec"] == before
        assert not any(
            call.verb == "patch" and call.kind == MIGRATION_PLAN and call.name == "default"
            for call in world.cluster.calls
        )

    def test_a_second_reconcile_writes_nothing(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.end(1, 2, state=RUNNING)
        world.look(2)
        before = world.cluster.writes()
        world.look(5)
        assert world.cluster.writes() == before

    def test_a_deleted_import_is_not_created_again_until_a_retry(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.look()
        world.cluster.drop(IMPORT, names(1)[0], "default")
        world.look(3)
        assert (world.vm(1).phase, world.imports()) == ("Deleted", names(2))
        world.annotate_plan(retry="true")
        world.look(2)
        assert world.imports() == names(1, 2)

    def test_a_deleted_import_that_had_succeeded_stays_succeeded(self) -> None:
        world = PlanWorld().begin()
        world.end(1, 2, 3, 4)
        world.look()
        assert world.state.phase == "Succeeded"
        world.cluster.drop(IMPORT, names(1)[0], "default")
        world.annotate_plan(retry="true")
        world.look(3)
        assert (world.state.phase, world.vm(1).phase) == ("Succeeded", "Succeeded")

    def test_an_import_without_its_label_still_counts(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.look()
        world.end(1, 2)
        world.import_of(1)["metadata"]["labels"] = {}
        world.look()
        assert world.imports() == names(1, 2, 3, 4)

    def test_a_deleted_plan_takes_its_imports_with_it(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.cluster.drop(MIGRATION_PLAN, NAME, "default")
        assert world.look() is None
        assert world.imports() == []

    def test_a_plan_that_is_being_deleted_creates_nothing(self) -> None:
        world = PlanWorld()
        world.look(2)
        world.plan["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
        world.look(3)
        assert world.imports() == []
        assert check_pods(world.cluster) == []

    def test_the_plan_of_an_earlier_plan_of_that_name_is_waited_for(self) -> None:
        world = PlanWorld(**TWO)
        owner = MIGRATION_PLAN.owner_reference(NAME, "uid of the earlier plan")
        world.put(MIGRATION_PLAN, {"name": "old", "namespace": "other", "uid": owner["uid"]}, spec={})
        metadata = {"name": names(1)[0], "namespace": "default", "ownerReferences": [owner]}
        world.put(IMPORT, metadata, spec={})
        world.look(4)
        assert world.vm(1).phase == "Pending"
        world.cluster.drop(MIGRATION_PLAN, "old", "other")
        world.look(2)
        assert world.import_of(1)["metadata"]["ownerReferences"][0]["uid"] == UID


class TestWaves:
    def test_wave_after_wave_until_all_are_imported(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.end(1)
        world.look()
        assert world.imports() == names(1, 2)
        world.end(2)
        world.look()
        assert world.imports() == names(1, 2, 3, 4)
        world.end(3, 4)
        world.look()
        status = world.state
        assert (status.phase, status.progress, status.counts.succeeded) == ("Succeeded", "2/2", 4)
        assert status.message == "All 4 VMs are imported"
        condition = find(status.conditions, "Succeeded")
        assert condition is not None
        assert condition.status == "True"

    def test_a_failure_stops_the_next_wave_and_ends_nothing_that_runs(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.end(1, state=FAILED)
        world.end(2, state=RUNNING)
        world.look(2)
        assert world.state.phase == "Running"
        world.end(2)
        world.look(2)
        assert (world.state.phase, world.imports()) == ("Stopped", names(1, 2))
        assert "cancel" not in world.import_of(1)["spec"]
        assert world.vm(1).message == "why 1"
        assert "PlanStopped" in world.plan_events()

    def test_an_approval_continues_in_spite_of_it(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.end(1, state=FAILED)
        world.end(2)
        world.look()
        world.annotate_plan(approve="2")
        world.look(2)
        assert world.imports() == names(1, 2, 3, 4)
        assert f"{PREFIX}approve" not in world.plan["metadata"]["annotations"]
        assert world.state.approved_wave == 2

    def test_only_what_failed_is_retried(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.end(1, state=FAILED)
        world.end(2)
        world.look()
        world.annotate_plan(retry="true")
        world.look()
        marks = [world.import_of(n)["metadata"]["annotations"].get(f"{PREFIX}retry") for n in (1, 2)]
        assert marks == ["true", None]
        assert f"{PREFIX}retry" not in world.plan["metadata"]["annotations"]
        assert (world.vm(1).phase, world.vm(1).reason) == ("Waiting", "RetryRequested")
        del world.import_of(1)["metadata"]["annotations"][f"{PREFIX}retry"]
        world.end(1)
        world.look()
        assert world.imports() == names(1, 2, 3, 4)

    def test_a_retry_that_fails_at_once_is_not_repeated(self) -> None:
        world = PlanWorld(**TWO).begin()
        world.end(1, state=FAILED)
        world.end(2)
        world.look()
        world.annotate_plan(retry="true")
        world.look()
        del world.import_of(1)["metadata"]["annotations"][f"{PREFIX}retry"]
        world.look(3)
        assert f"{PREFIX}retry" not in world.import_of(1)["metadata"]["annotations"]
        assert world.state.phase == "Stopped"

    def test_a_retry_gives_the_import_the_corrected_template(self) -> None:
        world = PlanWorld(template={"storageClass": "slow", "cpus": 2}).begin()
        world.end(1, state=("virtualMachineImportInvalid", "False", "Invalid"))
        world.end(2, 3, 4)
        world.apply(template={"storageClass": "fast"})
        world.annotate_plan(retry="true")
        world.look(4)
        assert world.import_of(1)["spec"]["storageClass"] == "fast"
        assert "cpus" not in world.import_of(1)["spec"]
        assert world.import_of(2)["spec"]["storageClass"] == "slow"

    def test_a_wave_waits_for_its_approval(self) -> None:
        world = PlanWorld(waves={"size": 2, "approval": True}).begin()
        world.end(1, 2)
        world.look(3)
        assert (world.state.phase, world.imports()) == ("WaitingForApproval", names(1, 2))
        for wrong in ("yes", "9", "-1", "2.0"):
            world.annotate_plan(approve=wrong)
            world.look()
            assert f"{PREFIX}approve" not in world.plan["metadata"]["annotations"]
        assert "ApprovalIgnored" in world.plan_events()
        assert world.imports() == names(1, 2)
        world.annotate_plan(approve="2")
        world.look()
        assert world.imports() == names(1, 2, 3, 4)

    def test_the_pause_survives_a_restart(self) -> None:
        world = PlanWorld(waves={"size": 2, "pauseMinutes": 10}).begin()
        world.end(1, 2)
        again = world.look()
        assert world.state.phase == "Paused"
        assert again is not None
        assert again <= 600
        world.restart()
        world.now += timedelta(minutes=9)
        world.look()
        assert world.imports() == names(1, 2)
        world.now += timedelta(minutes=1)
        world.look()
        assert world.imports() == names(1, 2, 3, 4)


class TestGates:
    def test_nothing_starts_while_the_window_is_shut(self) -> None:
        window = {"start": "22:00", "end": "06:00", "timeZone": "Europe/Berlin"}
        world = PlanWorld(windows=[window]).begin()  # 12:00 UTC
        assert (world.state.phase, world.imports()) == ("WaitingForWindow", [])
        assert world.state.message.startswith("The next window opens at 2026-11-21T21:00:00Z")
        world.now = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
        world.look()
        assert len(world.imports()) == 4

    def test_limits_for_each_host_and_storage_class(self) -> None:
        vms = [
            *some_vms(2, host="host-1"),
            *some_vms(4, host="host-2", disks=(a_disk(storage="ssd"),))[2:],
        ]
        mapping = {"storage": [{"source": {"name": "ssd"}, "storageClass": "fast"}]}
        world = PlanWorld(
            *vms,
            template={"importMapping": {"name": "dc1"}},
            limits={"perHost": 1, "perStorageClass": 1},
        )
        world.put(IMPORT_MAPPING, {"name": "dc1", "namespace": "default", "generation": 1}, spec=mapping)
        world.begin()
        assert world.imports() == names(1, 3)
        assert world.vm(3).storage_classes == ("fast",)
        world.end(1)
        world.look()
        assert world.imports() == names(1, 2, 3)

    def test_a_mapping_that_does_not_exist_is_waited_for(self) -> None:
        world = PlanWorld(template={"importMapping": {"name": "dc1"}}).begin()
        assert world.state.phase == "Selecting"
        assert world.state.message.startswith("ImportMapping default/dc1 does not exist")

    def test_places_that_another_plan_uses_are_taken(self) -> None:
        world = PlanWorld(*some_vms(2, host="host-1"), limits={"perHost": 1})
        busy = {"id": "vm-9", "import": "other-x", "phase": "Running", "host": "host-1", "uid": "u"}
        self._other(world, vms=[busy])
        world.begin()
        assert (world.state.phase, world.imports()) == ("WaitingForLimits", [])
        self._other(world, vms=[{**busy, "phase": "Succeeded"}])
        world.look()
        assert world.imports() == names(1)

    def test_an_import_takes_its_place_as_soon_as_it_exists(self) -> None:
        """Another plan may be reconciled next."""
        world = PlanWorld(*some_vms(2, host="host-1"), limits={"perHost": 1})
        while not world.imports():
            world.look()
        assert (world.vm(1).phase, world.vm(2).phase) == ("Waiting", "Pending")
        assert world.vm(1).uid == world.import_of(1)["metadata"]["uid"]
        assert (world.state.counts.waiting, world.state.counts.pending) == (1, 1)

    def test_a_plan_with_a_higher_priority_goes_first(self) -> None:
        world = PlanWorld(priority=1)
        self._other(world, priority=2)
        world.begin()
        assert (world.state.phase, world.imports()) == ("WaitingForPriority", [])
        assert world.state.message.startswith("MigrationPlan other has a higher priority")
        self._other(world, priority=2, phase="Succeeded")
        world.look()
        assert len(world.imports()) == 4

    @pytest.mark.parametrize("namespace", ["default", "tenant-b"])
    def test_plans_of_other_namespaces_and_equal_priority_hold_nothing_up(self, namespace: str) -> None:
        world = PlanWorld(priority=2)
        self._other(world, namespace=namespace, priority=2 if namespace == "default" else 1000)
        assert len(world.begin().imports()) == 4

    def _other(
        self,
        world: PlanWorld,
        *,
        namespace: str = "default",
        priority: int = 0,
        phase: str = "Running",
        vms: list[Object] | None = None,
    ) -> None:
        world.cluster.namespaces.add(namespace)
        spec = {
            "sourceCluster": {"kind": "VmwareSource", "name": "vcenter", "namespace": "default"},
            "vms": [{"name": "*"}],
            "priority": priority,
        }
        status = {"phase": phase, "vms": vms or []}
        world.put(MIGRATION_PLAN, {"name": "other", "namespace": namespace}, spec=spec, status=status)

    def test_nothing_starts_while_vm_import_controller_is_active(self) -> None:
        world = PlanWorld()
        world.foreign = "vm-import-controller is active"
        world.begin()
        assert (world.state.phase, world.imports()) == ("Suspended", [])
        assert "vm-import-controller" in world.state.message


class TestWrong:
    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ({"vms": []}, "spec.vms is empty"),
            ({"template": {"sourceCluster": {"name": "x"}}}, "the plan has it in spec.sourceCluster"),
            ({"template": {"cpus": 0}}, "spec.template: spec.cpus is 0"),
            ({"windows": [{"start": "1", "end": "2", "timeZone": "No/Zone"}]}, "there is no time zone"),
            ({"sourceCluster": {"kind": "VmwareSource", "name": "../x"}}, "spec.sourceCluster.name"),
            ({"vms": "all"}, "spec.vms"),
        ],
    )
    def test_a_wrong_spec_is_refused_and_a_corrected_one_goes_on(
        self, spec: dict[str, Any], words: str
    ) -> None:
        world = PlanWorld(**spec).begin()
        assert world.state.phase == "Invalid"
        assert words in world.state.message
        assert (world.imports(), world.kubelet.started) == ([], [])
        good = {
            "vms": [{"name": "web-1"}],
            "template": {},
            "windows": [],
            "sourceCluster": {"kind": "VmwareSource", "name": "vcenter"},
        }
        world.apply(**good)
        world.look(3)
        assert world.imports() == names(1)


class TestHostile:
    def test_whether_a_foreign_source_exists_is_not_revealed(self) -> None:
        messages = [
            PlanWorld(
                namespace="tenant-b",
                sourceCluster={"kind": "VmwareSource", "name": name, "namespace": "default"},
            )
            .begin()
            .state.message.replace(name, "NAME")
            for name in ("vcenter", "nothing")
        ]
        assert messages[0] == messages[1]

    def test_the_credentials_are_only_in_secrets(self) -> None:
        world = PlanWorld(**TWO)
        world.look()
        for kind in (POD, MIGRATION_PLAN, IMPORT):
            assert "c2VjcmV0" not in str(world.cluster.all(kind))


def test_a_plan_reaches_no_source_that_an_import_there_could_not_reach() -> None:
    reference = {"kind": "VmwareSource", "name": "vcenter", "namespace": "default"}
    world = PlanWorld(namespace="tenant-b", sourceCluster=reference)
    world.begin()
    assert world.imports() == []
    assert world.kubelet.started == []
    assert world.state.message.startswith(
        "VmwareSource default/vcenter is in another namespace and does not allow imports of tenant-b"
    )
    source = world.cluster.peek(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    assert source is not None
    source["metadata"]["annotations"] = {ALLOWED: "tenant-b"}
    world.look(3)
    assert len(world.imports()) == 4
    assert {one["metadata"]["namespace"] for one in world.cluster.all(IMPORT)} == {"tenant-b"}


def test_a_foreign_mapping_needs_a_grant() -> None:
    template = {"importMapping": {"name": "dc1", "namespace": "infra"}}
    world = PlanWorld(template=template)
    world.put(IMPORT_MAPPING, {"name": "dc1", "namespace": "infra"}, spec={})
    world.begin()
    assert world.imports() == []
    assert "does not allow imports of default" in world.state.message


def test_an_import_of_a_person_with_that_name_is_left_alone() -> None:
    world = PlanWorld(**TWO)
    own = {"virtualMachineName": "mine"}
    world.put(IMPORT, {"name": names(1)[0], "namespace": "default"}, spec=own)
    world.look(4)
    assert world.import_of(1)["spec"] == own
    assert (world.vm(1).phase, world.vm(1).reason) == ("Failed", "ImportExists")
    assert "ImportExists" in world.plan_events()
    world.cluster.drop(IMPORT, names(1)[0], "default")
    world.annotate_plan(retry="true")
    world.look(3)
    assert world.import_of(1)["metadata"]["ownerReferences"][0]["uid"] == UID
    assert world.vm(1).phase == "Waiting"


def test_an_import_of_another_plan_with_that_name_is_reported() -> None:
    """The plans `prod` with the VM `web-1` and `prod-web` with the VM `1` choose the same name."""
    world = PlanWorld(**TWO)
    owner = MIGRATION_PLAN.owner_reference("prod-web", "uid of the other plan")
    world.put(MIGRATION_PLAN, {"name": "prod-web", "namespace": "default", "uid": owner["uid"]}, spec={})
    metadata = {"name": names(1)[0], "namespace": "default", "ownerReferences": [owner]}
    world.put(IMPORT, metadata, spec={})
    world.look(4)
    assert world.import_of(1)["metadata"]["ownerReferences"] == [owner]
    assert (world.vm(1).phase, world.vm(1).reason) == ("Failed", "ImportExists")


def test_a_status_that_somebody_wrote_creates_no_import_elsewhere() -> None:
    world = PlanWorld(**TWO).begin()
    row = {"id": "vm-1", "import": "../../secrets", "phase": "Pending", "wave": 1, "vm": "x"}
    world.plan["status"]["vms"] = [row]
    with contextlib.suppress(Exception):
        world.look()
    assert {one["metadata"]["namespace"] for one in world.cluster.all(IMPORT)} == {"default"}
    assert world.cluster.all(WORKFLOW) == []


@pytest.mark.parametrize("log", ["", "vmferry-document 1/1 AAAA", "x" * 100])
def test_a_hostile_answer_is_a_failed_selection(log: str) -> None:
    world = PlanWorld()
    world.answer = Exited(0, log=log)
    world.look(2)
    assert world.state.message.startswith("The VMs cannot be selected: ")
    assert world.imports() == []


def test_a_list_that_no_status_can_hold_is_refused() -> None:
    vms = tuple(
        FoundVm(row=0, id=f"{n}" + "\x01" * 150, vm=f"{n}" + "\x01" * 150, name=f"{n}") for n in range(900)
    )
    world = PlanWorld()
    world.answer = Exited(0, log="\n".join(to_lines(pack(Found(vms=vms)))))
    world.look(2)
    assert "the list of VMs is too large for one plan" in world.state.message


@pytest.mark.parametrize("answer_only", [False, True])
def test_a_kill_at_any_request_creates_nothing_twice_and_loses_nothing(answer_only: bool) -> None:
    def story(world: PlanWorld, fault: Fault | None = None) -> None:
        """Select, import a wave, fail, retry, import the next wave: the controller is killed once."""
        world.cluster.fault = fault
        world.kills = 0  # type: ignore[attr-defined]

        def look(times: int) -> None:
            for _ in range(times):
                try:
                    world.look()
                except KilledError:
                    world.kills += 1  # type: ignore[attr-defined]
                    world.cluster.fault = None
                    world.restart()

        look(5)
        world.end(1, state=FAILED)
        world.end(2)
        look(3)
        patient = world.cluster.fault
        world.cluster.fault = None
        world.annotate_plan(retry="true")
        world.cluster.fault = patient
        look(3)
        world.import_of(1)["metadata"]["annotations"].pop(f"{PREFIX}retry", None)
        world.end(1)
        look(4)

    whole = PlanWorld(**TWO)
    story(whole)
    assert whole.imports() == names(1, 2, 3, 4)
    for number in range(len(whole.cluster.calls)):
        world = PlanWorld(**TWO)
        story(world, Fault(number, answer_only=answer_only))
        assert world.imports() == names(1, 2, 3, 4), number
        assert check_pods(world.cluster) == [], number
        created = [call.name for call in world.cluster.calls if (call.verb, call.kind) == ("create", IMPORT)]
        uids = {one["metadata"]["ownerReferences"][0]["uid"] for one in world.cluster.all(IMPORT)}
        assert uids == {UID}
        assert len(created) <= 4 + 2 * world.kills, number  # type: ignore[attr-defined]
        assert world.vm(1).phase == "Succeeded", number


class TestEvents:
    @staticmethod
    def routed() -> tuple[EventRouter, Queue[ImportKey], list[float]]:
        now = [0.0]
        queue: Queue[ImportKey] = Queue(clock=lambda: now[0])
        return EventRouter(queue, Queue[SourceKey]()), queue, now

    def test_an_event_of_an_import_makes_its_plan_due_a_little_later(self) -> None:
        router, queue, now = self.routed()
        owner = MIGRATION_PLAN.owner_reference(NAME, UID)
        metadata = {"name": "a", "namespace": "team", "uid": "1", "ownerReferences": [owner]}
        router.route(IMPORT, {"metadata": metadata, "spec": {}}, is_deleted=False)
        import_key, plan_key = ImportKey("team", "a"), ImportKey("team", NAME, MIGRATION_PLAN)
        assert queue.take() == import_key
        assert len(queue) == 0
        now[0] = PLAN_SECONDS
        assert queue.take() == plan_key
        queue.done(import_key, 1000)
        queue.done(plan_key, 1000)
        router.route(IMPORT, {"metadata": {"name": "a", "namespace": "team", "uid": "1"}}, is_deleted=True)
        now[0] += PLAN_SECONDS
        assert {queue.take(), queue.take()} == {import_key, plan_key}

    def test_a_source_and_a_mapping_make_their_plans_due(self) -> None:
        router, queue, _ = self.routed()
        key = ImportKey("team", NAME, MIGRATION_PLAN)
        spec = {
            "sourceCluster": {"kind": "VmwareSource", "name": "vc"},
            "template": {"importMapping": {"name": "dc1"}},
        }
        plan = {"metadata": {"name": NAME, "namespace": "team", "uid": UID}, "spec": spec}
        router.route(MIGRATION_PLAN, plan, is_deleted=False)
        assert queue.take() == key
        queue.done(key, 1000)
        router.route(IMPORT_MAPPING, {"metadata": {"name": "dc1", "namespace": "team"}}, is_deleted=False)
        assert queue.take() == key
        queue.done(key, 1000)
        source = {"metadata": {"name": "vc", "namespace": "team", "uid": "2"}}
        router.route(SOURCES[SourceKind.VMWARE], source, is_deleted=False)
        assert queue.take() == key
