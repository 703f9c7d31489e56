"""The target's check of an import before the source is changed, with the cluster in memory."""

from __future__ import annotations

import pytest

from steps.model.admission import Admission, Verdict
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE, NAD, RESOURCE_QUOTA, Object
from steps.model.names import LABEL_UID
from steps.model.plan import NetworkRule
from steps.targets.harvester.admission_check import AdmissionCheck
from tests.unit.builders import a_nic
from tests.unit.steps.targets.harvester.fake_cluster import READ
from tests.unit.steps.targets.harvester.harvester_rules import MEMORY_TAKEN
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.harvester.world import World

GIB = 1 << 30
MAC = "00:50:56:aa:bb:cc"


def admit(world: World) -> Admission:
    return AdmissionCheck(world.plan, world.machine, world.cluster, world.volumes()).run(world.shape)


def refusal(world: World) -> StepError:
    with pytest.raises(StepError) as caught:
        admit(world)
    return caught.value


def verdicts(admission: Admission, check: str) -> list[Verdict]:
    return [one.verdict for one in admission.findings if one.check == check]


def a_quota(**hard: str) -> Object:
    names = {name.replace("__", "/").replace("_", "."): amount for name, amount in hard.items()}
    return {
        "apiVersion": RESOURCE_QUOTA.api_version,
        "kind": RESOURCE_QUOTA.kind,
        "metadata": {"name": "team", "namespace": "default"},
        "spec": {"hard": names},
    }


def test_the_check_changes_nothing_in_the_cluster() -> None:
    world = World(disks=2)
    before = {kind: world.cluster.all(kind) for kind in (IMAGE, CLAIM, MACHINE)}
    found = admit(world)
    assert {one.verdict for one in found.findings} == {Verdict.PASSED}
    assert {kind: world.cluster.all(kind) for kind in (IMAGE, CLAIM, MACHINE)} == before
    assert {call.verb for call in world.cluster.calls} <= {*READ, "create"}


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_an_import_is_accepted_again_after_any_earlier_step(steps: int) -> None:
    world = World(disks=2)
    for step in world.steps()[:steps]:
        step()
    assert verdicts(admit(world), "quota") in ([Verdict.PASSED], [])


@pytest.mark.parametrize("storage_class", ["", "slow"], ids=["backing image", "cdi"])
def test_a_second_import_of_a_vm_is_accepted(storage_class: str) -> None:
    """Its images exist and have the display names, which Harvester allows only once."""
    world = World(disks=2, storage_class=storage_class)
    world.cluster.put(a_class("slow", provisioner="example.com/disk"))
    for step in world.steps():
        step()
    world.cluster.drop(MACHINE, "web01", "default")
    world.planned("second")
    assert {one.verdict for one in admit(world).findings} == {Verdict.PASSED}


def test_all_reasons_are_reported_at_once() -> None:
    world = World(disks=2, storage_class="gone")
    error = refusal(world)
    assert error.code is Exit.NOT_FOUND
    assert "there is no storage class gone" in str(error)
    assert len(error.why.split(" | ")) <= 2


def test_a_missing_namespace_is_refused() -> None:
    world = World()
    world.plan = world.planned(namespace="nowhere")
    assert refusal(world).code is Exit.NOT_FOUND


class TestHarvestersRules:
    """harvester_rules.py follows Harvester's webhook."""

    def test_a_duplicate_mac_is_refused(self) -> None:
        world = World()
        world.machine = world.machine.model_copy(update={"nics": (a_nic(mac=MAC),)})
        world.rules.another_vm("elsewhere", "payroll", mac=MAC)
        error = refusal(world)
        assert error.code is Exit.CONFLICT
        assert f"nic-0 has {MAC} on the pod network" in str(error)
        assert "mac: new" in str(error)
        assert "payroll" not in str(error)

    def test_a_vm_may_keep_its_own_mac(self) -> None:
        world = World()
        world.machine = world.machine.model_copy(update={"nics": (a_nic(mac=MAC),)})
        world.publish_all()
        world.build()
        assert verdicts(admit(world), "vm") == [Verdict.PASSED]

    def test_a_missing_network_is_refused(self) -> None:
        rule = NetworkRule(source="VM Network", destination="default/vlan9")
        world = World(networks=(rule,))
        world.cluster.drop(NAD, "vlan9", "default")
        error = refusal(world)
        assert error.code is Exit.NOT_FOUND
        assert "vlan9" in str(error)

    def test_memory_lost_to_overhead_is_named(self) -> None:
        world = World()
        world.rules.overhead_ratio = ""
        (found,) = admit(world).those(Verdict.WARNED)
        assert f"{MEMORY_TAKEN >> 20} MiB" in found.message
        assert "additional-guest-memory-overhead-ratio" in found.message


class TestQuota:
    def test_the_sum_of_all_disks_counts(self) -> None:
        world = World(disks=2)
        (size,) = {disk.capacity for disk in world.machine.disks}
        world.cluster.put(a_quota(requests_storage=str(2 * size - 1)))
        error = refusal(world)
        assert error.code is Exit.NO_SPACE
        assert "requests.storage of ResourceQuota team" in str(error)
        world.cluster.put(a_quota(requests_storage=str(2 * size)))
        assert verdicts(admit(world), "quota") == [Verdict.PASSED]

    def test_existing_objects_are_not_counted_twice(self) -> None:
        world = World(disks=1)
        world.publish_all()
        world.build()
        used = a_quota(persistentvolumeclaims="1", count__virtualmachines_kubevirt_io="1")
        used["status"] = {"used": dict(used["spec"]["hard"])}
        world.cluster.put(used)
        assert verdicts(admit(world), "quota") == [Verdict.PASSED]

    @pytest.mark.parametrize(
        ("hard", "words"),
        [
            ({"limits_cpu": "1"}, "limits.cpu"),
            ({"limits_memory": "1Gi"}, "limits.memory"),
            ({"persistentvolumeclaims": "0"}, "persistentvolumeclaims"),
        ],
    )
    def test_limits_that_apply_at_the_start_are_checked_before(
        self, hard: dict[str, str], words: str
    ) -> None:
        world = World()
        world.cluster.put(a_quota(**hard))
        error = refusal(world)
        assert error.code is Exit.NO_SPACE
        assert words in str(error)

    def test_a_vm_that_is_left_off_needs_no_cpu_and_memory(self) -> None:
        world = World(start=False)
        world.cluster.put(a_quota(limits_cpu="1"))
        assert verdicts(admit(world), "quota") == [Verdict.PASSED]

    def test_a_quota_of_a_storage_class_counts(self) -> None:
        world = World(disks=2, storage_class="slow")
        world.cluster.put(a_class("slow", provisioner="example.com/disk"))
        world.cluster.put(a_quota(slow_storageclass_storage_k8s_io__persistentvolumeclaims="1"))
        assert refusal(world).code is Exit.NO_SPACE

    def test_a_quota_with_scopes_is_not_checked(self) -> None:
        world = World()
        scoped = a_quota(limits_cpu="0")
        scoped["spec"]["scopes"] = ["BestEffort"]
        world.cluster.put(scoped)
        assert Verdict.NOT_CHECKED in verdicts(admit(world), "quota")

    def test_an_unreadable_quota_is_reported_as_not_checked(self) -> None:
        world = World()
        world.cluster.denied.add(("list", RESOURCE_QUOTA))
        assert verdicts(admit(world), "quota") == [Verdict.NOT_CHECKED]


def test_a_webhook_without_dry_run_is_reported_as_not_checked() -> None:
    world = World()

    def side_effects(_verb: str, thing: Object) -> None:
        if world.cluster.dry_run and thing["kind"] == MACHINE.kind:
            words = 'admission webhook "x.example" does not support dry run'
            raise StepError(Exit.INVALID, "cannot create VirtualMachine", words)

    world.cluster.admission.append(side_effects)
    assert verdicts(admit(world), "vm") == [Verdict.NOT_CHECKED]


def test_a_vm_of_others_with_that_name_is_refused() -> None:
    world = World()
    world.publish_all()
    world.build()
    world.vm()["metadata"]["labels"][LABEL_UID] = "another"
    error = refusal(world)
    assert error.code is Exit.CONFLICT
    assert "targetVirtualMachineName" in str(error)


def test_an_unreachable_api_server_is_not_a_refusal() -> None:
    world = World()

    def away(*_: object) -> None:
        raise StepError(Exit.UNREACHABLE, "cannot create", "the API server answers 503")

    world.cluster.admission.append(away)
    assert refusal(world).code is Exit.UNREACHABLE
