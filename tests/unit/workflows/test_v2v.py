"""The dialect `v2v.kubevirt.io`: how an import is translated, and what is wrong with one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from steps.model.plan import Attachment, ClusterTarget, OnFailure
from steps.model.sources import SourceKind
from workflows.api.resources import Metadata
from workflows.api.v2v import ResourceMappingSpec, V2vImportSpec
from workflows.mappings import DiskRow, NetworkRow, StorageRow
from workflows.plan import plan
from workflows.settings import Settings
from workflows.v2v import (
    PROPAGATED,
    TRACKER,
    completed,
    mapping_refusals,
    propagated,
    refusals,
    rows_of,
    source_from,
    translate,
)
from workflows.v2v_secret import Login

NOW: Final = datetime(2026, 11, 29, tzinfo=UTC)
METADATA: Final = {"name": "web", "namespace": "shop", "uid": "6f1d"}


def a_spec(kind: str = "vmware", *, mappings: Any = None, **more: Any) -> V2vImportSpec:
    vm = more.pop("vm", {"name": "web01"})
    source = {kind: {"vm": vm, **({"mappings": mappings} if mappings else {})}}
    given = {"providerCredentialsSecret": {"name": "login"}, "source": source, **more}
    return V2vImportSpec.model_validate(given, by_alias=True, by_name=False)


def translated(spec: V2vImportSpec) -> Any:
    return translate(METADATA, spec, OnFailure.RESTORE_POWER).spec


@pytest.mark.parametrize(
    ("vm", "wanted"),
    [
        ({"name": "web01"}, "web01"),
        ({"id": "4205-uuid", "name": "web01"}, "4205-uuid"),
        ({"name": "DC0/vm/shop/web01"}, "/DC0/vm/shop/web01"),
        ({"name": "/DC0/vm/shop/web01"}, "/DC0/vm/shop/web01"),
    ],
)
def test_a_vm_of_vsphere(vm: dict[str, str], wanted: str) -> None:
    spec = translated(a_spec(vm=vm))
    assert (spec.virtual_machine_name, spec.source_cluster.kind) == (wanted, "VmwareSource")


@pytest.mark.parametrize(
    ("vm", "name", "cluster"),
    [
        ({"name": "myvm"}, "myvm", None),
        ({"name": "myvm", "cluster": {"name": "mycluster"}}, "myvm", "mycluster"),
        ({"name": "myvm", "cluster": {"name": "mycluster", "id": "CC11"}}, "myvm", "CC11"),
        ({"id": "8055", "name": "myvm", "cluster": {"name": "mycluster"}}, "8055", None),
    ],
)
def test_a_vm_of_ovirt(vm: dict[str, Any], name: str, cluster: str | None) -> None:
    spec = translated(a_spec("ovirt", vm=vm))
    assert (spec.virtual_machine_name, spec.folder) == (name, cluster)


def test_what_an_absent_field_means() -> None:
    spec = translated(a_spec())
    assert spec.start_virtual_machine is False
    assert spec.target is ClusterTarget.KUBEVIRT
    assert (spec.source_cluster.namespace, spec.source_cluster.name) == ("shop", "login")


NET: Final = "networkMappings"


def rows(own: Any, shared: Any = None, kind: str = "vmware") -> Any:
    mapping = ResourceMappingSpec.model_validate({kind: shared}) if shared else None
    return rows_of(a_spec(kind, mappings=own), mapping, "shop")


def test_a_target_is_an_object_or_a_plain_name() -> None:
    given = [
        {"source": {"name": "a"}, "target": "xyz", "type": "multus"},
        {"source": {"name": "b"}, "target": {"name": "xyz", "namespace": "nets"}, "type": "multus"},
        {"source": {"id": "network-7"}, "target": {"name": "pod"}, "type": "pod"},
        {"source": {"name": "c"}},
    ]
    network, pod = Attachment.NETWORK, Attachment.POD
    assert rows({NET: given}).networks == (
        NetworkRow(name="a", attachment=network, network="shop/xyz"),
        NetworkRow(name="b", attachment=network, network="nets/xyz"),
        NetworkRow(id="network-7", attachment=pod),
        NetworkRow(name="c", attachment=pod),
    )


def net(target: str, **source: str) -> dict[str, Any]:
    return {"source": source, "target": target, "type": "multus"}


def test_rows_of_the_import_have_precedence() -> None:
    own = {NET: [net("own", name="a"), net("own", id="1")]}
    shared = {
        NET: [net("x", name="a"), net("x", id="1", name="b"), net("x", id="2", name="a"), net("x", name="c")]
    }
    found = rows(own, shared).networks
    assert [(row.id, row.name, row.network) for row in found] == [
        ("", "a", "shop/own"),
        ("1", "", "shop/own"),
        ("2", "a", "shop/x"),
        ("", "c", "shop/x"),
    ]


def test_rows_for_disks_of_a_shared_mapping_do_not_count() -> None:
    disk = {"source": {"name": "Hard disk 1"}, "target": {"name": "fast"}}
    found = rows({"storageMappings": [disk]}, {"diskMappings": [disk], "storageMappings": [disk]})
    assert found.disks == ()
    assert found.storages == (StorageRow(name="Hard disk 1", storage_class="fast"),)


def test_the_object_id_of_a_disk_of_vsphere_contains_its_key() -> None:
    disk = {"source": {"id": "64-2000"}, "target": {"name": ""}, "volumeMode": "Block"}
    assert rows({"diskMappings": [disk]}).disks == (DiskRow(id="2000", volume_mode="Block"),)


def messages(spec: V2vImportSpec, shared: Any = None) -> list[str]:
    mapping = ResourceMappingSpec.model_validate(shared) if shared else None
    return [one.message for one in (*refusals(spec, NOW), *mapping_refusals(spec, mapping))]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"target": {"name": "x"}, "type": "sriov"}, "type 'sriov' is not one of pod, multus"),
        ({"target": {"name": "x", "namespace": "y"}}, "the namespace must be omitted as well"),
        ({"type": "multus"}, "target names no NetworkAttachmentDefinition"),
        ({"target": {"name": "A b"}, "type": "multus"}, "'A b' is not the name of"),
        ({"target": {"name": "a", "namespace": "A"}, "type": "multus"}, "'A' is not a namespace"),
    ],
)
def test_a_wrong_row_for_a_network(row: dict[str, Any], words: str) -> None:
    (found,) = messages(a_spec(mappings={NET: [{"source": {"name": "net"}, **row}]}))
    assert words in found


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"target": "A b"}, "'A b' is not the name of a storage class"),
        ({"volumeMode": "block"}, "volumeMode 'block' is not one of"),
        ({"accessMode": "RWX"}, "accessMode 'RWX' is not one of"),
    ],
)
@pytest.mark.parametrize("list_", ["storageMappings", "diskMappings"])
def test_a_wrong_row_for_a_storage(row: dict[str, Any], words: str, list_: str) -> None:
    (found,) = messages(a_spec(mappings={list_: [{"source": {"name": "ds"}, **row}]}))
    assert words in found


def test_a_network_of_ovirt_has_a_profile() -> None:
    (found,) = messages(a_spec("ovirt", mappings={NET: [net("x", name="red"), net("x", name="red/a")]}))
    assert found == (
        "Network mapping name format is invalid: ['red']. Expected format is 'network-name/vnic-profile-name'"
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"source": {}}, "Invalid source type. Only Ovirt and Vmware type is supported"),
        ({"vm": {}}, "both ID and name of the VM are missing"),
        ({"providerCredentialsSecret": {"name": ""}}, "spec.providerCredentialsSecret.name is empty"),
        ({"providerCredentialsSecret": {"name": "A"}}, "is not a valid name"),
        ({"resourceMapping": {"name": ""}}, "spec.resourceMapping.name is empty"),
        ({"resourceMapping": {"name": "a", "namespace": "B"}}, "is not a valid namespace"),
        ({"warm": True}, "spec.warm"),
        ({"warm": True, "finalizeDate": "2030-01-01T00:00:00Z"}, "spec.warm"),
        ({"warm": True, "finalizeDate": "soon"}, "spec.warm"),
    ],
)
def test_a_wrong_import(spec: dict[str, Any], words: str) -> None:
    (found,) = messages(a_spec(**spec))
    assert words in found


def test_a_valid_import_has_no_messages() -> None:
    assert messages(a_spec(warm=True, finalizeDate="2020-01-01T00:00:00Z", targetVmName="web")) == []


def test_many_rows_are_refused() -> None:
    (found,) = messages(a_spec(mappings={NET: [net("x", name=str(number)) for number in range(65)]}))
    assert found == "networkMappings has 65 rows; write at most 64"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ('{"a.example/b": "c", "d": "e"}', {"a.example/b": "c", "d": "e"}),
        ('{"migration.harvesterhci.io/handed-over": "started"}', {}),
        ('{"a b": "c", "x": 1, "a/b/c": "d", "/x": "y"}', {}),
        ("[" * 1000, {}),
        ("[1]", {}),
        ('{"a": "' + "x" * 3000 + '"}', {}),
    ],
    ids=range(7),
)
def test_annotations_for_the_vm(text: str, wanted: dict[str, str]) -> None:
    assert propagated({"annotations": {PROPAGATED: text}}) == wanted


def test_the_tracker_reaches_the_vm() -> None:
    metadata = {**METADATA, "labels": {TRACKER: "vmimport-123"}}
    spec = a_spec()
    secret = Metadata(name="login", namespace="shop")
    source = source_from(SourceKind.VMWARE, secret, Login("https://vcenter/sdk", {}))
    made = plan(translate(metadata, spec, OnFailure.KEEP_OFF), source, Settings())
    made = completed(made, rows_of(spec, None, "shop"), metadata)
    assert made.target.vm_labels == {TRACKER: "vmimport-123"}
    assert made.source.title == "source of Secret shop/login"
