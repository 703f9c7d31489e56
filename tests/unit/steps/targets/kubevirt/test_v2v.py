"""Imports of `v2v.kubevirt.io` at KubeVirt: owners, modes of volumes, labels, the words about networks."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import DATA_VOLUME, IMPORT, MACHINE, NAD, V2V_API_VERSION, V2V_IMPORT
from steps.model.plan import Attachment, DiskRule, NetworkRule, StorageRule
from steps.targets.cluster.ownership import owner_references
from tests.unit.steps.targets.kubevirt.world import World

BLOCK = StorageRule(source="", source_id="ds-1", volume_mode="Block", access_mode="ReadWriteMany")


def a_world(**target: Any) -> World:
    world = World(**target)
    import_ref = world.plan.import_.model_copy(update={"api_version": V2V_API_VERSION})
    world.plan = world.plan.model_copy(update={"import_": import_ref})
    world.cluster.drop(IMPORT, "web", "default")
    metadata = {"name": "web", "namespace": "default", "uid": import_ref.uid}
    world.cluster.put({"apiVersion": V2V_IMPORT.api_version, "kind": V2V_IMPORT.kind, "metadata": metadata})
    return world


def test_an_import_of_that_api_owns_its_objects() -> None:
    world = a_world()
    (owner,) = owner_references(world.cluster, world.plan)
    assert (owner["apiVersion"], owner["kind"]) == ("v2v.kubevirt.io/v1beta1", "VirtualMachineImport")
    world.cluster.drop(V2V_IMPORT, "web", "default")
    assert owner_references(world.cluster, world.plan) == [], "an owner that does not exist"


def test_the_vm_owns_its_disks_at_the_end() -> None:
    world = a_world()
    world.publish()
    world.build()
    world.start()
    (volume,) = world.cluster.all(DATA_VOLUME)
    (vm,) = world.cluster.all(MACHINE)
    assert [owner["kind"] for owner in volume["metadata"]["ownerReferences"]] == ["VirtualMachine"]
    assert not vm["metadata"].get("ownerReferences")


def test_the_new_vm_is_from_no_template() -> None:
    world = a_world()
    world.machine = world.machine.model_copy(update={"os": "rhel8.2", "guest_id": "rhel8_64Guest"})
    world.publish()
    world.build()
    (vm,) = world.cluster.all(MACHINE)
    assert {"instancetype", "preference", "dataVolumeTemplates"} & set(vm["spec"]) == set()
    names = {*vm["metadata"]["labels"], *vm["metadata"].get("annotations", {})}
    assert [name for name in names if "template" in name] == []
    assert [call.kind.kind for call in world.cluster.calls if "Template" in call.kind.kind] == []


def test_modes_of_a_row_are_those_of_the_volume() -> None:
    world = a_world(first_match=True, storage=(BLOCK,))
    disk = world.machine.disks[0].model_copy(update={"storage_id": "ds-1"})
    world.machine = world.machine.model_copy(update={"disks": (disk,)})
    volume = world.publish()
    storage = volume["spec"]["storage"]
    assert (storage["volumeMode"], storage["accessModes"]) == ("Block", ["ReadWriteMany"])


def test_a_row_of_the_disk_comes_first() -> None:
    rule = DiskRule(disk="2000", decides_storage=True, volume_mode="Filesystem")
    world = a_world(first_match=True, storage=(BLOCK,))
    target = world.plan.target.model_copy(update={"disks": (rule,)})
    world.plan = world.plan.model_copy(update={"target": target})
    assert world.publish()["spec"]["storage"]["volumeMode"] == "Filesystem"


def test_a_missing_network_in_the_words_of_the_former_operator() -> None:
    """Its typing error is part of them: clients compare the words."""
    rule = NetworkRule(source="VM Network", destination="default/vlan1")
    world = a_world(networks=(rule,), first_match=True)
    world.cluster.drop(NAD, "vlan1", "default")
    words = "Network Attachment Defintion default/vlan1 has not been found. Error: "
    with pytest.raises(StepError, match=words) as caught:
        world.admit()
    assert caught.value.code is Exit.NOT_FOUND


def test_a_nic_on_the_pod_network_keeps_its_model_and_address() -> None:
    rule = NetworkRule(source="VM Network", attachment=Attachment.POD)
    (interface,) = a_world(networks=(), first_match=True).shape.interfaces
    assert interface.network == ""
    world = World()
    target = world.plan.target.model_copy(update={"networks": (rule,), "first_match": True})
    world.plan = world.plan.model_copy(update={"target": target})
    (interface,) = world.shape.interfaces
    assert (interface.network, str(interface.model), interface.mac) == ("", "virtio", "00:50:56:00:00:00")


def test_labels_and_annotations_that_the_import_asks_for() -> None:
    labels = {"vmimport.v2v.kubevirt.io/tracker": "vmimport-123", "migration.harvesterhci.io/run": "forged"}
    world = a_world(vm_labels=labels, vm_annotations={"a.example/b": "c"})
    world.publish()
    world.build()
    (vm,) = world.cluster.all(MACHINE)
    assert vm["metadata"]["labels"]["vmimport.v2v.kubevirt.io/tracker"] == "vmimport-123"
    assert vm["metadata"]["annotations"]["a.example/b"] == "c"
