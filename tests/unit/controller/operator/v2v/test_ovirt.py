"""Imports of `v2v.kubevirt.io` from oVirt."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from steps.model.kinds import SECRET_SOURCES, WORKFLOW
from steps.model.sources import SourceKind
from tests.unit.controller.operator.v2v.place import V2vWorld
from tests.unit.controller.operator.v2v.test_imports import plan_of
from tests.unit.workflows.status.situations import failed

LOGIN: Final = """\
apiUrl: "https://my.ovirt-engine-server/ovirt-engine/api/"
username: admin@internal
password: 123456
caCert: |
  -----BEGIN CERTIFICATE-----
  abc
  -----END CERTIFICATE-----
"""
ROW: Final = {"source": {"name": "red/profile1"}, "target": {"name": "xyz"}, "type": "multus"}
VM: Final = {"name": "myvm", "cluster": {"name": "mycluster"}}


def a_world(vm: Any = VM, **mappings: Any) -> V2vWorld:
    source = {"ovirt": {"vm": vm, "mappings": {"networkMappings": [ROW], **mappings}}}
    world = V2vWorld(source=source, providerCredentialsSecret={"name": "ovirt-login"})
    world.put_secret("ovirt-login", ovirt=LOGIN)
    return world


def test_an_import_from_ovirt_starts() -> None:
    world = a_world()
    world.begin()
    plan = plan_of(world)
    assert (plan.source.kind, plan.vm, plan.folder) == (SourceKind.OVIRT, "myvm", "mycluster")
    assert plan.source.endpoint == "https://my.ovirt-engine-server/ovirt-engine/api/"
    assert plan.target.networks[0].destination == "default/xyz"
    assert (plan.source.any_datacenter, plan.power.never_force) == (False, True)
    (workflow,) = world.cluster.all(WORKFLOW)
    assert workflow["spec"]["workflowTemplateRef"]["name"] == "vmferry-ovirt"
    assert "123456" not in json.dumps(workflow)


def test_its_secret_is_checked_as_a_source_of_ovirt() -> None:
    world = a_world()
    world.look()
    assert [key.kind for key in world.checks_of()] == [SECRET_SOURCES[SourceKind.OVIRT]]


@pytest.mark.parametrize("key", ["ca.cert", "caCert"])
def test_a_ca_under_either_name_reaches_the_steps(key: str) -> None:
    world = a_world()
    world.put_secret("ovirt-login", ovirt=LOGIN.replace("caCert", key))
    world.begin()
    copy = world.secret(f"{world.run}-source")
    assert copy is not None
    assert set(copy["data"]) == {"username", "password", key}


def test_one_secret_may_have_the_logins_of_both_providers() -> None:
    world = a_world()
    world.put_secret("ovirt-login", ovirt=LOGIN, vmware="broken")
    world.begin()
    assert world.workflows()


def test_a_nic_without_a_row_is_an_incomplete_mapping() -> None:
    """With vSphere it is a violated rule: so has their operator."""
    world = a_world()
    world.begin()
    world.argo(failed("preflight", 16, "VM has one or more unmapped networks: a/b"), phase="Failed")
    world.look()
    assert world.verdicts() == {"Valid": ("False", "IncompleteMappingRules")}


def test_a_vm_is_found_by_its_id() -> None:
    world = a_world({"id": "80554327-0569-496b-bdeb-fcbbf52b827b", **VM})
    world.begin()
    assert (plan_of(world).vm, plan_of(world).folder) == ("80554327-0569-496b-bdeb-fcbbf52b827b", None)


def test_disks_and_storages_have_rows() -> None:
    disk = {"source": {"id": "8181ecc1"}, "target": {"name": "local-storage"}, "volumeMode": "Block"}
    storage = {"source": {"name": "domain-1"}, "target": {"name": "slow"}, "accessMode": "ReadWriteMany"}
    world = a_world(diskMappings=[disk], storageMappings=[storage])
    world.begin()
    target = plan_of(world).target
    assert [(row.disk, row.storage_class, row.volume_mode) for row in target.disks] == [
        ("8181ecc1", "local-storage", "Block")
    ]
    assert [(row.source, row.storage_class, row.access_mode) for row in target.storage] == [
        ("domain-1", "slow", "ReadWriteMany")
    ]
