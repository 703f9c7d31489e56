"""Every check of the target: where it refuses, where it passes, and where it says that it was not made.

The whole of `admit` runs, with the cluster in memory, for Harvester and for KubeVirt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from steps.model.admission import Admission, Verdict
from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    CLAIM,
    CSI_CAPACITY,
    LONGHORN_NODE,
    LONGHORN_SETTING,
    MACHINE,
    NAD,
    NODE,
    STORAGE_CLASS,
    STORAGE_PROFILE,
    Kind,
)
from steps.model.plan import DiskRule, MacPolicy, NetworkRule
from steps.targets.harvester.admission_check import AdmissionCheck
from tests.unit.builders import a_disk
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.harvester.world import World as HarvesterWorld
from tests.unit.steps.targets.kubevirt.world import World as KubeVirtWorld
from tests.unit.steps.targets.kubevirt.world import a_profile
from tests.unit.steps.targets.surroundings import (
    a_capacity,
    a_longhorn_node,
    a_longhorn_setting,
    a_node,
    another_vm,
)

GIB = 1 << 30
MAC = "00:50:56:00:00:00"
VLAN = NetworkRule(source="VM Network", destination="default/vlan1")
World = HarvesterWorld | KubeVirtWorld
Make = Callable[..., World]


def admitted(world: World) -> Admission:
    if isinstance(world, KubeVirtWorld):
        return world.admit()
    return AdmissionCheck(world.plan, world.machine, world.cluster, world.volumes()).run(world.shape)


def refused(world: World) -> StepError:
    with pytest.raises(StepError) as caught:
        admitted(world)
    return caught.value


def verdicts(world: World, check: str) -> list[Verdict]:
    return [one.verdict for one in admitted(world).findings if one.check == check]


def messages(world: World, check: str, verdict: Verdict) -> list[str]:
    return [one.message for one in admitted(world).those(verdict) if one.check == check]


@pytest.fixture(params=[HarvesterWorld, KubeVirtWorld], ids=["harvester", "kubevirt"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def class_of(world: World) -> str:
    return "ceph" if isinstance(world, KubeVirtWorld) else "harvester-longhorn"


def the_only_node(world: World, **more: Any) -> None:
    for number in range(3):
        world.cluster.drop(NODE, f"node-{number}")
    world.cluster.put(a_node(**more))


def only_longhorn_nodes(world: World, *nodes: Any) -> None:
    for number in range(3):
        world.cluster.drop(LONGHORN_NODE, f"node-{number}", "longhorn-system")
    for node in nodes:
        world.cluster.put(node)


class TestName:
    def test_the_name_after_the_naming_rules_must_be_free(self, make: Make) -> None:
        world = make()
        world.machine = world.machine.model_copy(update={"name": "Web 01"})
        assert verdicts(world, "name") == [Verdict.PASSED]
        world.cluster.put(another_vm("default", "web-01", "02:00:00:00:00:01"))
        error = refused(world)
        assert error.code is Exit.CONFLICT
        assert "VirtualMachine default/web-01 already exists" in str(error)
        assert "targetVirtualMachineName" in str(error)


class TestMacAddresses:
    def test_a_mac_address_that_a_vm_in_the_same_network_has_is_refused(self, make: Make) -> None:
        world = make(networks=(VLAN,))
        assert verdicts(world, "MAC addresses") == [Verdict.PASSED]
        world.cluster.put(another_vm("default", "old-web", MAC.upper(), "vlan1"))
        error = refused(world)
        assert error.code is Exit.CONFLICT
        text = str(error)
        assert f"the MAC address {MAC} of nic-0 is in use on network default/vlan1" in text
        assert "VirtualMachine default/old-web has it" in text
        assert "mac: new" in text
        assert text.count("MAC address") <= 3, "the webhook of Harvester reports the same only once"

    def test_a_vm_of_another_namespace_is_not_named(self, make: Make) -> None:
        world = make(networks=(VLAN,))
        world.cluster.put(another_vm("finance", "payroll", MAC, "default/vlan1"))
        text = str(refused(world))
        assert "a VM of another namespace" in text
        assert "payroll" not in text
        assert "finance" not in text

    def test_a_new_mac_address_avoids_the_conflict(self, make: Make) -> None:
        world = make(networks=(VLAN.model_copy(update={"mac": MacPolicy.NEW}),))
        world.cluster.put(another_vm("finance", "payroll", MAC, "default/vlan1"))
        admitted(world)

    def test_the_vm_of_the_import_itself_is_no_conflict(self, make: Make) -> None:
        world = make(networks=(VLAN,))
        world.publish_all()
        world.build()
        assert verdicts(world, "MAC addresses") == [Verdict.PASSED]

    def test_in_another_network_it_is_a_warning(self) -> None:
        world = KubeVirtWorld(networks=(VLAN,))
        world.cluster.put(another_vm("finance", "payroll", MAC, "finance/vlan7"))
        (message,) = messages(world, "MAC addresses", Verdict.WARNED)
        assert "in another network" in message
        assert "finance" not in message

    def test_on_the_pod_network_the_address_is_not_visible(self) -> None:
        world = KubeVirtWorld()
        world.cluster.put(another_vm("finance", "payroll", MAC))
        assert verdicts(world, "MAC addresses") == [Verdict.PASSED]

    def test_without_the_right_to_list_all_vms_only_those_of_the_namespace_are_compared(self) -> None:
        world = KubeVirtWorld(networks=(VLAN,))
        cluster = world.cluster
        page = cluster.page

        def own_namespace_only(kind: Kind, namespace: str = "", **more: Any) -> Any:
            if kind is MACHINE and not namespace:
                raise StepError(Exit.DENIED, "cannot list VirtualMachine")
            return page(kind, namespace, **more)

        cluster.page = own_namespace_only  # type: ignore[method-assign]
        (why,) = messages(world, "MAC addresses", Verdict.NOT_CHECKED)
        assert "only VMs of namespace default" in why
        cluster.put(another_vm("default", "old-web", MAC, "vlan1"))
        assert "old-web" in str(refused(world))

    def test_without_any_right_to_list_vms_it_is_not_checked(self, make: Make) -> None:
        world = make(networks=(VLAN,))
        world.cluster.denied.add(("list", MACHINE))
        assert verdicts(world, "MAC addresses") == [Verdict.NOT_CHECKED]


class TestNetworks:
    def test_a_network_that_does_not_exist_is_refused_once(self, make: Make) -> None:
        world = make(networks=(VLAN,))
        assert verdicts(world, "network default/vlan1") == [Verdict.PASSED]
        world.cluster.drop(NAD, "vlan1", "default")
        error = refused(world)
        assert error.code is Exit.NOT_FOUND
        assert "destination network default/vlan1 does not exist" in str(error)
        assert str(error).count("vlan1") == 1

    @pytest.mark.parametrize("config", ["{", "[]"])
    def test_a_network_without_a_valid_configuration_is_refused(self, make: Make, config: str) -> None:
        world = make(networks=(VLAN,))
        world.cluster.peek(NAD, "vlan1", "default")["spec"]["config"] = config  # type: ignore[index]
        error = refused(world)
        assert error.code is Exit.INVALID
        assert "spec.config" in error.why

    def test_a_network_that_is_being_deleted_is_refused(self, make: Make) -> None:
        world = make(networks=(VLAN,))
        found = world.cluster.peek(NAD, "vlan1", "default")
        assert found is not None
        found["metadata"] |= {"finalizers": ["example.com/x"], "deletionTimestamp": "now"}
        assert "being deleted" in str(refused(world))

    def test_a_network_that_harvester_does_not_call_ready_is_a_warning(self) -> None:
        world = HarvesterWorld(networks=(VLAN,))
        found = world.cluster.peek(NAD, "vlan1", "default")
        assert found is not None
        found["metadata"]["labels"]["network.harvesterhci.io/ready"] = "false"
        assert verdicts(world, "network default/vlan1") == [Verdict.WARNED]

    def test_whether_multus_isolates_namespaces_is_not_known(self) -> None:
        world = KubeVirtWorld(networks=(VLAN.model_copy(update={"destination": "lan/vlan1"}),))
        (why,) = messages(world, "network lan/vlan1", Verdict.NOT_CHECKED)
        assert "namespaceIsolation" in why

    def test_a_network_that_may_not_be_read_is_not_checked(self, make: Make) -> None:
        world = make(networks=(VLAN,))
        world.cluster.denied.add(("get", NAD))
        assert verdicts(world, "network default/vlan1") == [Verdict.NOT_CHECKED]


class TestStorageClasses:
    def test_a_class_that_does_not_exist_is_refused(self, make: Make) -> None:
        world = make()
        assert verdicts(world, f"storage class {class_of(world)}") == [Verdict.PASSED]
        world = make(storage_class="gone")
        error = refused(world)
        assert error.code is Exit.NOT_FOUND
        assert "there is no storage class gone" in str(error)

    def test_a_mode_that_the_class_does_not_provide_is_refused(self) -> None:
        rule = DiskRule(disk="disk-0", storage_class="ceph", access_mode="ReadWriteMany", volume_mode="Block")
        world = KubeVirtWorld()
        world.planned(disks=(rule,))
        assert verdicts(world, "storage class ceph") == [Verdict.PASSED]
        world.cluster.put(a_profile("ceph", "ReadWriteOnce", "Filesystem"))
        error = refused(world)
        assert error.code is Exit.INVALID
        text = str(error)
        assert "storage class ceph does not provide volumes with ReadWriteMany and volume mode Block" in text
        assert "lists ReadWriteOnce Filesystem" in text
        assert "StorageProfile ceph" in text

    def test_without_a_profile_requested_modes_are_not_checked(self) -> None:
        rule = DiskRule(disk="disk-0", storage_class="ceph", access_mode="ReadWriteMany")
        world = KubeVirtWorld()
        world.planned(disks=(rule,))
        world.cluster.denied.add(("get", STORAGE_PROFILE))
        assert Verdict.NOT_CHECKED in verdicts(world, "storage class ceph")

    @pytest.mark.parametrize("expandable", [True, False])
    def test_a_class_whose_volumes_cannot_be_enlarged_is_named(self, make: Make, *, expandable: bool) -> None:
        world = make()
        found = world.cluster.peek(STORAGE_CLASS, class_of(world))
        assert found is not None
        found["allowVolumeExpansion"] = expandable
        (message,) = messages(world, f"storage class {class_of(world)}", Verdict.PASSED)
        assert ("cannot be enlarged" in message) is not expandable


class TestCapacity:
    def test_a_class_without_room_for_a_disk_is_refused(self) -> None:
        world = KubeVirtWorld(disks=2)
        assert verdicts(world, "capacity of ceph") == [Verdict.PASSED]
        world.cluster.put(a_capacity("ceph", "512Mi"))
        error = refused(world)
        assert error.code is Exit.NO_SPACE
        text = str(error)
        assert "storage class ceph has no room" in text
        assert "1Gi for disk-0, 1Gi for disk-1" in text
        assert "512Mi" in text

    def test_the_largest_volume_counts_too(self) -> None:
        world = KubeVirtWorld()
        world.cluster.put(a_capacity("ceph", "1Ti", largest="100Mi"))
        assert "100Mi" in str(refused(world))

    def test_any_part_of_the_cluster_may_have_the_room(self) -> None:
        world = KubeVirtWorld()
        world.cluster.put(a_capacity("ceph", "0"))
        world.cluster.put(a_capacity("ceph", "10Gi", segment="1"))
        assert verdicts(world, "capacity of ceph") == [Verdict.PASSED]

    def test_disks_that_fit_only_one_by_one_are_a_warning(self) -> None:
        world = KubeVirtWorld(disks=2)
        world.cluster.put(a_capacity("ceph", "2Gi"))
        (message,) = messages(world, "capacity of ceph", Verdict.WARNED)
        assert "2Gi are free" in message

    def test_scratch_of_cdi_counts(self) -> None:
        world = KubeVirtWorld()
        world.cluster.put(a_capacity("ceph", "1Gi"))
        assert "CDI's scratch of disk-0" in str(refused(world))

    def test_a_driver_that_reports_no_capacity_is_named(self) -> None:
        world = KubeVirtWorld()
        world.cluster.drop(CSI_CAPACITY, "csisc-ceph-0", "kube-system")
        (why,) = messages(world, "capacity of ceph", Verdict.NOT_CHECKED)
        assert "rbd.csi.ceph.com reports no CSIStorageCapacity" in why

    def test_without_the_right_to_read_capacities_it_is_not_checked(self) -> None:
        world = KubeVirtWorld()
        world.cluster.denied.add(("list", CSI_CAPACITY))
        assert verdicts(world, "capacity of ceph") == [Verdict.NOT_CHECKED]

    def test_the_room_of_existing_volumes_is_not_needed_again(self) -> None:
        world = KubeVirtWorld()
        world.publish_all()
        world.cluster.put(a_capacity("ceph", "0"))
        admitted(world)
        assert world.cluster.all(CLAIM, "default")


class TestLonghorn:
    check = "capacity of harvester-longhorn"

    def test_longhorn_without_room_is_refused(self) -> None:
        world = HarvesterWorld()
        assert verdicts(world, self.check) == [Verdict.PASSED]
        only_longhorn_nodes(world, a_longhorn_node("full", maximum=GIB, available=GIB, scheduled=GIB // 2))
        error = refused(world)
        assert error.code is Exit.NO_SPACE
        assert "storage class harvester-longhorn has no room" in str(error)
        assert "512Mi" in str(error)

    def test_fewer_replicas_than_requested_are_a_warning(self) -> None:
        world = HarvesterWorld()
        only_longhorn_nodes(world, a_longhorn_node("one"))
        (message,) = messages(world, self.check, Verdict.WARNED)
        assert "room for 1 of the 3 replicas" in message

    def test_more_content_than_a_disk_has_free_is_a_warning(self) -> None:
        world = HarvesterWorld()
        world.machine = world.machine.model_copy(update={"disks": (a_disk(allocated=GIB),)})
        small = [a_longhorn_node(f"n{number}", maximum=2 * GIB, available=GIB - 1) for number in range(3)]
        only_longhorn_nodes(world, *small)
        (message,) = messages(world, self.check, Verdict.WARNED)
        assert "the source uses 1Gi for disk-0" in message

    def test_without_nodes_of_longhorn_it_is_not_checked(self) -> None:
        world = HarvesterWorld()
        only_longhorn_nodes(world)
        (why,) = messages(world, self.check, Verdict.NOT_CHECKED)
        assert why == "there is no node of Longhorn in namespace longhorn-system"

    def test_a_node_that_takes_no_replicas_does_not_count(self) -> None:
        world = HarvesterWorld()
        only_longhorn_nodes(world, a_longhorn_node("off", allowScheduling=False))
        assert refused(world).code is Exit.NO_SPACE

    @pytest.mark.parametrize("value", ["400", '{"v1":"400","v2":"100"}'])
    def test_its_settings_count_in_both_forms(self, value: str) -> None:
        world = HarvesterWorld()
        only_longhorn_nodes(world, a_longhorn_node("small", maximum=GIB // 2, available=GIB // 2))
        assert refused(world).code is Exit.NO_SPACE
        world.cluster.put(a_longhorn_setting("storage-over-provisioning-percentage", value))
        assert verdicts(world, self.check) == [Verdict.WARNED]

    def test_a_setting_that_cannot_be_read_leaves_it_unchecked(self) -> None:
        world = HarvesterWorld()
        world.cluster.put(a_longhorn_setting("storage-minimal-available-percentage", "a lot"))
        (why,) = messages(world, self.check, Verdict.NOT_CHECKED)
        assert "a lot" in why

    @pytest.mark.parametrize(("verb", "kind"), [("list", LONGHORN_NODE), ("get", LONGHORN_SETTING)])
    def test_without_the_right_it_is_not_checked(self, verb: str, kind: Kind) -> None:
        world = HarvesterWorld()
        world.cluster.denied.add((verb, kind))
        assert verdicts(world, self.check) == [Verdict.NOT_CHECKED]

    def test_another_driver_is_asked_by_its_reported_capacity(self) -> None:
        world = HarvesterWorld(storage_class="other")
        world.cluster.put(a_class("other", provisioner="example.com/disk"))
        world.cluster.put(a_capacity("other", "1Mi"))
        assert "storage class other has no room" in str(refused(world))


class TestNode:
    def test_a_vm_that_fits_no_node_is_refused(self, make: Make) -> None:
        world = make()
        assert verdicts(world, "node") == [Verdict.PASSED]
        the_only_node(world, memory="1Gi")
        error = refused(world)
        assert error.code is Exit.NO_SPACE
        assert "no node can run the VM" in str(error)
        assert "spec.memory" in str(error)

    def test_a_vm_that_is_left_off_is_a_warning(self, make: Make) -> None:
        world = make(start=False)
        the_only_node(world, memory="1Gi")
        assert verdicts(world, "node") == [Verdict.WARNED]

    def test_more_vcpus_than_a_node_has_are_a_warning(self, make: Make) -> None:
        world = make()
        the_only_node(world, cpu="1")
        (message,) = messages(world, "node", Verdict.WARNED)
        assert "2 vCPUs" in message
        assert "1 CPU" in message

    @pytest.mark.parametrize(
        "spec",
        [
            {"unschedulable": True},
            {"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]},
            {"labels": {"kubevirt.io/schedulable": "false"}},
        ],
    )
    def test_a_node_that_takes_no_vms_does_not_count(self, make: Make, spec: dict[str, Any]) -> None:
        world = make()
        the_only_node(world, **spec)
        assert "no node accepts its pods" in str(refused(world))

    def test_where_kubevirt_labels_nodes_only_those_count(self, make: Make) -> None:
        world = make()
        the_only_node(world)
        world.cluster.put(a_node("small", memory="1Gi", labels={"kubevirt.io/schedulable": "true"}))
        assert refused(world).code is Exit.NO_SPACE

    def test_a_taint_that_only_prefers_other_nodes_does_not_matter(self, make: Make) -> None:
        world = make()
        the_only_node(world, taints=[{"key": "slow", "effect": "PreferNoSchedule"}])
        assert verdicts(world, "node") == [Verdict.PASSED]

    def test_without_the_right_to_list_nodes_it_is_not_checked(self, make: Make) -> None:
        world = make()
        world.cluster.denied.add(("list", NODE))
        assert verdicts(world, "node") == [Verdict.NOT_CHECKED]


def test_with_skipped_checks_room_and_nodes_only_warn(make: Make) -> None:
    world = make()
    world.cluster.put(a_capacity("ceph", "1Mi"))
    only_longhorn_nodes(world, a_longhorn_node("full", available=0))
    the_only_node(world, memory="1Mi")
    assert refused(world).code is Exit.NO_SPACE
    world.plan = world.plan.model_copy(update={"skip_preflight_checks": True})
    for check in (f"capacity of {class_of(world)}", "node"):
        assert verdicts(world, check) == [Verdict.WARNED]
    world.cluster.put(another_vm("default", "web01", MAC))
    assert refused(world).code is Exit.CONFLICT


def test_all_faults_are_reported_at_once(make: Make) -> None:
    world = make(networks=(VLAN,), storage_class="gone")
    world.cluster.drop(NAD, "vlan1", "default")
    world.cluster.put(another_vm("default", "web01", MAC, "vlan1"))
    the_only_node(world, memory="1Gi")
    text = str(refused(world))
    expected = ["web01 already exists", "no storage class gone", "default/vlan1 does not exist"]
    assert [words for words in expected if words not in text] == []


def test_an_api_server_that_does_not_answer_is_no_finding(make: Make) -> None:
    world = make()
    page = world.cluster.page

    def away(kind: Kind, namespace: str = "", **more: Any) -> Any:
        if kind is NODE:
            raise StepError(Exit.UNREACHABLE, "cannot list Node", "no answer")
        return page(kind, namespace, **more)

    world.cluster.page = away  # type: ignore[method-assign]
    assert refused(world).code is Exit.UNREACHABLE
