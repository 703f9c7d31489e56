"""Imports of `v2v.kubevirt.io` in the same engine: what they show, and what is made for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from controller.operator import v2v_state
from controller.operator.decide.leftovers import where
from controller.operator.observe.facts import FINALIZER
from controller.operator.observe.orphan import gather_orphan
from controller.operator.options import InitFailure, V2vOptions
from controller.operator.sweep import sweep
from steps.model import names
from steps.model.kinds import (
    CONFIG_MAP,
    IMPORT,
    MACHINE,
    RESOURCE_MAPPING,
    SECRET,
    V2V_IMPORT,
    WORKFLOW,
    Object,
)
from steps.model.plan import ClusterTarget, OnFailure, Plan
from steps.runtime.program import PLAN
from tests.unit.controller.operator.kubelet import Exited
from tests.unit.controller.operator.v2v.place import KEY, LOGIN, POD_ROW, V2vWorld
from tests.unit.controller.operator.world import UID, World, vm_of_others
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.workflows.status.situations import failed, found, node, upto
from workflows.api.status import ImportPhase

PREFIX: Final = "vmimport.v2v.kubevirt.io"
ALLOWED: Final = "migration.harvesterhci.io/allowed-namespaces"


def begun(**spec: Any) -> V2vWorld:
    world = V2vWorld(**spec)
    world.begin()
    return world


def plan_of(world: World) -> Plan:
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), world.options.namespace)
    assert request is not None
    return Plan.model_validate_json(request["data"][PLAN])


class TestBegin:
    def test_an_import_starts_after_the_check_of_its_secret(self) -> None:
        world = V2vWorld()
        world.look()
        assert (world.workflows(), world.shown.conditions) == ([], ())
        world.check_secrets()
        world.look()
        assert world.workflows() == [world.run]
        assert world.raw is not None
        assert world.raw["metadata"]["finalizers"] == [FINALIZER]
        assert world.event_texts() == [
            "ImportScheduled: Import of Virtual Machine default/web01 started",
        ]

    def test_its_plan_says_what_our_own_api_cannot_say(self) -> None:
        plan = plan_of(begun())
        assert (plan.import_.api_version, plan.import_.name) == ("v2v.kubevirt.io/v1beta1", "web")
        assert (plan.source.endpoint, plan.source.any_datacenter) == ("https://vcenter.example.com/sdk", True)
        assert (plan.power.never_force, plan.power.grace_seconds) == (True, 300)
        assert plan.on_failure is OnFailure.RESTORE_POWER
        assert (str(plan.target.kind), str(plan.target.unmapped)) == ("kubevirt", "block")

    def test_the_same_vm_through_both_dialects_gives_the_same_workflow_apart_from_names(self) -> None:
        ours = World(target=str(ClusterTarget.KUBEVIRT), onFailure="restorePower")
        ours.look()
        theirs = begun()
        assert without_names(theirs.workflow()) == without_names(ours.workflow())

    def test_no_object_of_the_other_api_group_is_made(self) -> None:
        world = begun()
        world.preflight_done()
        made = {call.kind for call in world.cluster.calls if call.verb == "create"}
        assert IMPORT not in made
        assert world.cluster.all(IMPORT) == []
        assert world.made() == ["Event"]

    def test_the_password_is_only_in_secrets(self) -> None:
        world = begun()
        for kind in (CONFIG_MAP, WORKFLOW, V2V_IMPORT):
            assert "0123456" not in json.dumps(world.cluster.all(kind))
        assert world.secret(names.credentials(world.run)) is not None

    def test_a_second_reconcile_writes_nothing(self) -> None:
        world = begun()
        world.preflight_done()
        world.look(2)
        before = world.cluster.writes()
        world.look(3)
        assert world.cluster.writes() == before

    @pytest.mark.parametrize("answer_only", [False, True])
    def test_a_kill_at_any_request_has_the_same_result(self, answer_only: bool) -> None:
        whole = ready()
        first = len(whole.cluster.calls)
        whole.look()
        calls = len(whole.cluster.calls) - first
        for number in range(calls):
            world = ready()
            world.cluster.fault = Fault(len(world.cluster.calls) + number, answer_only=answer_only)
            with pytest.raises(KilledError):
                world.look()
            world.cluster.fault = None
            world.look(2)
            whole.look(2)
            assert world.workflows() == whole.workflows(), number
            assert world.notes().keys() == whole.notes().keys(), number


def ready() -> V2vWorld:
    """An import whose Secret was checked."""
    world = V2vWorld()
    world.look()
    world.check_secrets()
    return world


def without_names(workflow: Object) -> Any:
    """A Workflow without the names of import and source, and the account."""
    spec = json.loads(json.dumps(workflow["spec"]))
    for parameter in spec["arguments"]["parameters"]:
        if parameter["name"] in ("run", "source"):
            parameter["value"] = ""
    spec.pop("title", None)
    keys = set(workflow["metadata"]["labels"]) - {names.LABEL_API}
    notes = set(workflow["metadata"].get("annotations", {}))
    return spec, sorted(keys), sorted(notes)


class TestWaiting:
    """The conditions before anything was done."""

    def shows(self, world: V2vWorld, reason: str, message: str) -> None:
        world.look()
        world.check_secrets()
        world.look()
        valid = world.condition("Valid")
        assert (valid.status, valid.reason) == ("False", reason)
        assert valid.message.startswith(message), valid.message
        assert list(world.verdicts()) == ["Valid"]
        assert world.workflows() == []
        blocked = f"ImportBlocked: Virtual Machine default/web01 import blocked: {valid.message}"
        assert blocked in world.event_texts()

    def test_a_missing_secret(self) -> None:
        world = V2vWorld(providerCredentialsSecret={"name": "none"})
        self.shows(world, "SecretNotFound", "Secret not found: Secret default/none does not exist")
        world.put_secret("none", vmware=LOGIN)
        world.begin()
        assert world.workflows()

    @pytest.mark.parametrize("name", ["apiUrl", "username", "password"])
    def test_a_secret_without_an_attribute(self, name: str) -> None:
        world = V2vWorld()
        world.put_secret("vcenter-login", vmware=LOGIN.replace(name, "other"))
        prefix = "Source provider initialization failed: "
        message = f"{prefix}vmware secret must contain {name} attribute"
        self.shows(world, "UninitializedProvider", message)

    def test_a_secret_without_the_key_of_the_provider(self) -> None:
        world = V2vWorld()
        world.put_secret("vcenter-login", ovirt=LOGIN)
        message = "Source provider initialization failed: vmware secret must contain apiUrl attribute"
        self.shows(world, "UninitializedProvider", message)

    def test_a_source_that_refuses_the_login(self) -> None:
        world = V2vWorld()
        world.answer = Exited(11, "the password is wrong")
        message = "Failed to connect to source provider: the password is wrong"
        self.shows(world, "UnreachableProvider", message)

    def test_a_wrong_password_heals_when_the_secret_changes(self) -> None:
        world = V2vWorld()
        world.answer = Exited(11, "the password is wrong")
        world.look()
        world.check_secrets()
        world.look()
        world.answer = Exited(0)
        world.put_secret("vcenter-login", vmware=LOGIN.replace("0123456", "right"))
        world.sources_due.update(world.checks_of())  # after some seconds: Secrets are not watched
        world.look()
        world.check_secrets()
        world.look()
        assert world.workflows()

    def test_refused_credentials_are_tried_twice_for_all_imports(self) -> None:
        world = V2vWorld()
        world.answer = Exited(11, "the password is wrong")
        for _ in range(8):
            world.sources_due.update(world.checks_of())
            world.look(200)
            world.check_secrets()
        world.look()
        words = "so that the account is not locked. To try now, change the Secret, such as a label of it"
        assert words in world.condition("Valid").message
        started = [call for call in world.cluster.calls if str(call).startswith("create pods")]
        assert len(started) == 2

    def test_a_missing_mapping_that_is_made_then(self) -> None:
        world = V2vWorld(resourceMapping={"name": "map"})
        self.shows(world, "ResourceMappingNotFound", "Resource mapping not found")
        world.put_mapping("map", {"vmware": {"networkMappings": [POD_ROW]}})
        world.look()
        assert world.workflows()

    def test_two_sources(self) -> None:
        source = {"vmware": {"vm": {"name": "web01"}}, "ovirt": {"vm": {"name": "web01"}}}
        world = V2vWorld(source=source)
        world.look()
        assert world.condition("Valid").reason == "ValidationFailed"
        assert "Must only include one source type" in world.condition("Valid").message

    def test_a_name_that_is_no_label(self) -> None:
        message = "`targetVmName` is not a valid k8s name"
        world = V2vWorld(targetVmName="Web_01")
        self.shows(world, "InvalidTargetVMName", message)

    def test_a_name_that_is_taken_and_free_then(self) -> None:
        world = V2vWorld()
        world.cluster.put(vm_of_others("web01"))
        self.shows(world, "DuplicateTargetVMName", "VirtualMachine default/web01 already exists")
        world.cluster.drop(MACHINE, "web01", "default")
        world.look()
        assert world.workflows()

    def test_a_warm_import_is_refused(self) -> None:
        self.shows(V2vWorld(warm=True), "ValidationFailed", "spec.warm: vmferry has no warm import")

    def test_a_warm_import_whose_end_is_past_is_an_ordinary_one(self) -> None:
        assert begun(warm=True, finalizeDate="2020-01-01T00:00:00Z").workflows()

    def test_the_former_operator(self) -> None:
        world = V2vWorld()
        world.ledger._find[V2V_IMPORT] = lambda: "vm-import-operator is active"
        world.look()
        assert world.condition("Valid").reason == "OtherController"

    def test_the_first_failure_is_the_end_if_the_installation_says_so(self) -> None:
        world = V2vWorld(providerCredentialsSecret={"name": "none"})
        world.options = world.options.model_copy(update={"v2v": V2vOptions(init_failure=InitFailure.FINAL)})
        world.look()
        assert world.verdicts() == {
            "Valid": ("False", "SecretNotFound"),
            "Succeeded": ("False", "ValidationFailed"),
        }
        assert world.condition("Succeeded").message.startswith(
            "Failed to initialize the source provider (Secret not found: "
        )
        world.put_secret("none", vmware=LOGIN)
        world.begin()
        assert world.workflows() == []
        world.annotate(retry="true")
        world.begin()
        assert world.workflows()


class TestOtherNamespaces:
    """The example of the design document names a Secret and a ResourceMapping of other namespaces."""

    def world(self) -> V2vWorld:
        world = V2vWorld(
            providerCredentialsSecret={"name": "login", "namespace": "vault"},
            resourceMapping={"name": "map", "namespace": "maps"},
            source={"vmware": {"vm": {"name": "web01"}}},
        )
        world.cluster.namespaces |= {"vault", "maps"}
        world.put_secret("login", "vault", vmware=LOGIN)
        world.put_mapping("map", {"vmware": {"networkMappings": [POD_ROW]}}, "maps")
        return world

    def test_it_works_after_the_two_grants_that_the_refusal_prints(self) -> None:
        world = self.world()
        world.look()
        message = world.condition("Valid").message
        grants = [part.partition("kubectl annotate ")[2] for part in message.split("; ")]
        assert [grant.split() for grant in grants] == [
            ["secrets", "-n", "vault", "login", f"{ALLOWED}=default"],
            ["resourcemappings", "-n", "maps", "map", f"{ALLOWED}=default"],
        ]
        for grant in grants:
            plural, _, namespace, name, note = grant.split()
            kind = SECRET if plural == "secrets" else RESOURCE_MAPPING
            annotations = dict([note.split("=")])
            world.cluster.patch(kind, name, {"metadata": {"annotations": annotations}}, namespace)
        world.begin()
        assert world.workflows()
        assert plan_of(world).target.networks[0].source == "VM Network"

    def test_a_refusal_does_not_reveal_whether_the_secret_exists(self) -> None:
        world = self.world()
        world.look()
        with_secret = world.condition("Valid").message
        world.cluster.drop(SECRET, "login", "vault")
        world.look()
        assert world.condition("Valid").message == with_secret
        assert world.sources_due == set(), "nothing logs in with a Secret that may not be used"

    def test_a_secret_of_the_release_namespace_needs_our_label(self) -> None:
        world = V2vWorld(providerCredentialsSecret={"name": "login", "namespace": "vmferry"})
        world.put_secret("login", "vmferry", vmware=LOGIN)
        secret = world.cluster.peek(SECRET, "login", "vmferry")
        assert secret is not None
        secret["metadata"]["annotations"] = {ALLOWED: "default"}
        world.look()
        assert "does not have the label" in world.condition("Valid").message


class TestChecks:
    """What preflight and admit say."""

    def refused(self, stage: str, code: int, words: str, **spec: Any) -> V2vWorld:
        world = begun(**spec)
        before = [] if stage == "preflight" else [found()]
        world.argo(*before, failed(stage, code, words), phase="Failed")
        world.look()
        return world

    @pytest.mark.parametrize(
        ("stage", "code", "words", "condition", "reason", "message"),
        [
            ("preflight", 14, "there is no VM 'web01'", "Valid", "SourceVMNotFound", "Failed to load source"),
            ("preflight", 15, "'web01' fits 2", "Valid", "SourceVMNotFound", "Failed to load source VM: "),
            (
                "preflight",
                11,
                "wrong password",
                "Valid",
                "UnreachableProvider",
                "Failed to connect to source",
            ),
            (
                "preflight",
                17,
                "VMware Tools do not run",
                "Valid",
                "ValidationFailed",
                "VM must be powered off",
            ),
            (
                "preflight",
                16,
                "VM has one or more unmapped networks: x",
                "MappingRulesVerified",
                "",
                "VM has",
            ),
            ("admit", 14, "Network Attachment Defintion a/b", "Valid", "IncompleteMappingRules", "Network A"),
            ("admit", 19, "VM web01 exists", "Valid", "DuplicateTargetVMName", "VM web01 exists"),
        ],
    )
    def test_a_refusal(
        self, stage: str, code: int, words: str, condition: str, reason: str, message: str
    ) -> None:
        world = self.refused(stage, code, words)
        shown = world.condition(condition)
        assert (shown.status, shown.reason) == ("False", reason or "MappingRulesVerificationFailed")
        assert shown.message.startswith(message)
        assert list(world.verdicts()) == [condition]
        assert world.progress() == ""

    def test_it_is_checked_again_after_growing_pauses(self) -> None:
        world = self.refused("preflight", 14, "there is no VM 'web01'")
        world.look(3)
        assert len(world.workflows()) == 1
        world.look(12)  # a minute
        assert world.workflows() == [f"{world.run}-r1"]
        world.argo(failed("preflight", 14, "there is no VM 'web01'"), phase="Failed")
        world.look(14)
        assert world.workflows() == [f"{world.run}-r1"]
        world.look(12)
        assert world.workflows() == [f"{world.run}-r2"]

    def test_a_corrected_mapping_is_used_at_once(self) -> None:
        world = V2vWorld(resourceMapping={"name": "map"}, source={"vmware": {"vm": {"name": "web01"}}})
        world.put_mapping("map", {"vmware": {"networkMappings": []}})
        world.begin()
        world.argo(failed("preflight", 16, "VM has one or more unmapped networks: x"), phase="Failed")
        world.look(2)
        world.put_mapping("map", {"vmware": {"networkMappings": [POD_ROW]}})
        world.look()
        assert world.workflows() == [f"{world.run}-r1"]

    def test_the_mapping_of_a_failed_import_starts_nothing(self) -> None:
        """Others edit it: it must not shut down VMs of imports that have failed long ago."""
        world = V2vWorld(resourceMapping={"name": "map"})
        world.put_mapping("map", {"vmware": {"networkMappings": []}})
        world.begin()
        world.found()
        world.argo(*upto("export"), failed("export", 11, "x", "disk-0"), phase="Failed")
        world.look(2)
        world.put_mapping("map", {"vmware": {"networkMappings": [POD_ROW]}})
        world.look(100)
        assert world.workflows() == [world.run]


class TestProgress:
    """Conditions, progress and Events, stage by stage."""

    def test_power_off(self) -> None:
        world = begun()
        world.preflight_done()
        assert world.verdicts() == {
            "Valid": ("True", "ValidationCompleted"),
            "MappingRulesVerified": ("True", "MappingRulesVerificationCompleted"),
            "Processing": ("True", "Pending"),
        }
        assert world.progress() == ""
        assert world.notes()[f"{PREFIX}/source-vm-initial-state"] == "down"

    def test_the_disks(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("export"), node("export", "Running", "disk-0", progress="50/100"))
        world.look()
        assert world.verdicts()["Processing"] == ("True", "CopyingDisks")
        assert world.condition("Processing").message == "Copying virtual machine disks"
        assert 10 < int(world.progress()) < 75
        assert any("ImportInProgress" in text for text in world.event_texts())

    def test_the_names_of_the_data_volumes(self) -> None:
        world = begun()
        world.found()
        chosen = json.dumps({"vm": "web01", "names": {"disk-0": "web01-disk-0"}})
        outputs = {"exitCode": "0", "parameters": [{"name": "volumes", "value": chosen}]}
        world.argo(
            found(), node("admit", outputs=outputs), node("poweroff"), node("export", "Running", "disk-0")
        )
        world.look()
        assert [one.name for one in world.shown.data_volumes] == ["web01-disk-0"]

    def test_the_vm(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("build"), node("build", "Running"))
        world.look()
        assert world.verdicts()["Processing"] == ("True", "CreatingTargetVM")
        assert world.progress() == "75"

    def test_its_start(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("end"), node("start", "Running"))
        world.look()
        assert world.verdicts()["Processing"] == ("True", "ProcessingCompleted")
        assert world.verdicts()["Succeeded"] == ("True", "VirtualMachineReady")
        assert world.progress() == "90"

    def succeeded(self, **spec: Any) -> V2vWorld:
        world = begun(**spec)
        world.found()
        start = [node("start")] if world.raw and world.raw["spec"]["startVm"] else []
        world.argo(*upto("end"), *start, phase="Succeeded")
        world.look(3)
        return world

    def test_the_end(self) -> None:
        world = self.succeeded()
        assert world.verdicts()["Succeeded"] == ("True", "VirtualMachineRunning")
        assert world.progress() == "100"
        assert "ImportSucceeded: Virtual Machine default/web01 imported and started" in world.event_texts()
        assert world.raw is not None
        assert not world.raw["metadata"].get("finalizers")
        assert world.shown.target_vm_name == "web01"

    def test_the_end_without_a_start(self) -> None:
        world = self.succeeded(startVm=False)
        assert world.verdicts()["Succeeded"] == ("True", "VirtualMachineReady")
        assert "ImportSucceeded: Virtual Machine default/web01 import successful" in world.event_texts()

    def test_a_vm_that_does_not_start(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("end"), failed("start", 10, "no node has room"), phase="Failed")
        world.look()
        assert world.verdicts()["Succeeded"] == ("True", "VirtualMachineReady")
        assert any(text.startswith("VMStartFailed: ") for text in world.event_texts())
        assert world.warnings().count("VMStartFailed") == 1

    def test_a_disk_that_fails(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("image"), failed("image", 13, "no space", "disk-0"), phase="Failed")
        world.look()
        assert world.verdicts()["Processing"] == ("False", "ProcessingFailed")
        assert world.verdicts()["Succeeded"] == ("False", "DataVolumeCreationFailed")
        assert world.condition("Succeeded").message == "Error while importing disk image: disk-0. no space"
        assert world.progress() == "100"
        assert "EventPVCImportFailed" in world.warnings()

    def test_a_vm_that_cannot_be_created(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("build"), failed("build", 19, "MAC is taken"), phase="Failed")
        world.look()
        message = "Error while creating virtual machine default/web01: MAC is taken"
        assert world.condition("Succeeded").message == message
        assert world.verdicts()["Succeeded"] == ("False", "VMCreationFailed")

    def test_a_retry_takes_the_failure_back(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("image"), failed("image", 13, "no space", "disk-0"), phase="Failed")
        world.look()
        world.annotate(retry="true")
        world.begin()
        world.argo(*upto("image"), node("image", "Running", "disk-0"))
        world.look()
        assert "Succeeded" not in world.verdicts()
        assert world.progress() == "100", "progress never falls"


class TestEnd:
    def test_a_deleted_import_leaves_nothing(self) -> None:
        world = begun()
        world.preflight_done()
        world.delete()
        world.look()
        world.argo(found(), phase="Failed")
        world.look(3)
        assert world.raw is None
        assert world.look() is None
        world.check_secrets()
        assert config_maps(world) == ["vmferry-limits"]

    @pytest.mark.parametrize("answer_only", [False, True])
    def test_a_kill_at_any_request_of_the_last_reconcile_loses_no_result(self, answer_only: bool) -> None:
        def ended() -> V2vWorld:
            world = begun()
            world.found()
            world.argo(*upto("end"), node("start"), phase="Succeeded")
            return world

        whole = ended()
        first = len(whole.cluster.calls)
        whole.look()
        for number in range(len(whole.cluster.calls) - first):
            world = ended()
            world.cluster.fault = Fault(len(world.cluster.calls) + number, answer_only=answer_only)
            with pytest.raises(KilledError):
                world.look()
            world.cluster.fault = None
            world.look(3)
            assert world.verdicts()["Succeeded"] == ("True", "VirtualMachineRunning"), number
            assert world.progress() == "100", number
            assert world.raw is not None
            assert not world.raw["metadata"].get("finalizers"), number

    def test_the_finalizers_of_the_former_operator_are_removed_with_ours(self) -> None:
        world = V2vWorld()
        assert world.raw is not None
        world.raw["metadata"]["finalizers"] = [f"{PREFIX}/restore-state", "example.com/other"]
        world.begin()
        world.found()
        world.argo(*upto("end"), node("start"), phase="Succeeded")
        world.look(3)
        assert world.raw["metadata"]["finalizers"] == ["example.com/other"]

    def test_a_state_of_a_deleted_import_is_swept(self) -> None:
        world = begun()
        world.cluster.drop(WORKFLOW, world.run, "vmferry")
        assert world.raw is not None
        world.raw["metadata"]["finalizers"] = []
        world.delete()
        assert v2v_state.import_state_name(UID) in sweep(world.cluster, "vmferry")

    def test_an_import_of_our_own_api_with_the_same_name_keeps_its_run(self) -> None:
        """The sweep must not take the one for the other."""
        world = begun()
        metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": "other"}
        world.cluster.put({"apiVersion": IMPORT.api_version, "kind": IMPORT.kind, "metadata": metadata})
        assert sweep(world.cluster, "vmferry") == []

    def test_the_run_of_a_deleted_import_is_cleaned_up_with_its_own_copy(self) -> None:
        """The Secret may be gone, and a source of our own API may have its name."""
        world = begun()
        request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
        assert request is not None
        facts = gather_orphan(world.cluster, world.options, request)
        assert facts is not None
        assert (facts.kind, facts.import_.spec.virtual_machine_name) == (V2V_IMPORT, "web01")
        assert facts.resolved.source is None
        copy = world.secret(names.credentials(world.run))
        assert copy is not None
        assert facts.credentials_of_run == copy["data"]
        assert where(facts) == "source of Secret default/vcenter-login"

    def test_without_the_api_nothing_is_swept_and_others_are(self) -> None:
        """The chart can leave the API out later."""
        world = begun()
        world.cluster.denied |= {("get", V2V_IMPORT), ("list", V2V_IMPORT)}
        labels = names.import_labels(IMPORT.api_version, "a", "b", "c")
        orphan = {"name": "old", "namespace": "vmferry", "labels": labels}
        world.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": orphan, "data": {}})
        assert sweep(world.cluster, "vmferry") == ["old"]

    def test_an_edit_of_a_failed_import_retries_it(self) -> None:
        world = begun()
        world.found()
        world.argo(*upto("image"), failed("image", 13, "no space", "disk-0"), phase="Failed")
        world.look(2)
        world.check_secrets()
        assert world.checks_of() == [], "nothing needs the Secret"
        world.apply(targetVmName="web02")
        world.begin()
        assert world.workflows() == [f"{world.run}-r1"]

    @pytest.mark.parametrize(
        ("conditions", "phase"),
        [
            ([{"type": "Succeeded", "status": "True", "reason": "VirtualMachineReady"}], ImportPhase.RUNNING),
            ([{"type": "Succeeded", "status": "False", "reason": "VMNotFound"}], ImportPhase.FAILED),
            ([{"type": "Processing", "status": "True", "reason": "CopyingDisks"}], ImportPhase.SOURCE_READY),
        ],
    )
    def test_what_the_former_operator_began_is_not_begun_again(
        self, conditions: list[Mapping[str, str]], phase: ImportPhase
    ) -> None:
        world = V2vWorld()
        assert world.raw is not None
        world.raw["status"] = {"conditions": conditions}
        world.begin()
        assert world.workflows() == []
        assert world.raw["status"] == {"conditions": conditions}
        assert ("ForeignStatus" in world.warnings()) == (phase is ImportPhase.SOURCE_READY)


def config_maps(world: World) -> list[str]:
    """Those of the release namespace, without the one that stands for the result of preflight."""
    found_names = (one["metadata"]["name"] for one in world.cluster.all(CONFIG_MAP, "vmferry"))
    return [name for name in found_names if not name.endswith("-machine")]


class TestRivals:
    def test_an_import_of_the_other_dialect_goes_first(self) -> None:
        """Both are imports of one VM of one vCenter."""
        world = V2vWorld()
        world.put_secret("vcenter-login", vmware=LOGIN.replace("vcenter.example.com", "vcenter"))
        ours = World()
        raw = ours.raw
        assert raw is not None
        raw["metadata"] = {**raw["metadata"], "name": "ours", "uid": "other", "creationTimestamp": "2020"}
        raw["spec"]["targetVirtualMachineName"] = "another"
        world.cluster.put(raw)
        world.set_source("clusterReady")
        world.begin()
        assert world.workflows() == []
        assert world.verdicts() == {"Processing": ("True", "Pending")}
        assert "the VM of this import" in world.condition("Processing").message
