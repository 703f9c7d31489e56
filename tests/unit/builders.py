"""Documents for the unit tests with valid defaults; each test sets only the fields it tests."""

from __future__ import annotations

from typing import Any, Final

import pytest

from steps.model.kinds import API_VERSION
from steps.model.machine import Disk, Machine, Nic, NicModel
from steps.model.plan import ImportRef, Plan, SourcePlan, TargetKind, TargetPlan
from steps.model.sources import SourceKind
from workflows.api.resources import Secret, VirtualMachineImport
from workflows.api.sources import OpenstackSource, OvaSource, VmwareSource

GIB: Final = 1 << 30


def a_disk(number: int = 0, **more: Any) -> Disk:
    return Disk(**{"id": f"disk-{number}", "key": str(2000 + number), "capacity": GIB, **more})


def a_nic(number: int = 0, **more: Any) -> Nic:
    mac = f"00:50:56:00:00:{number:02x}"
    return Nic(
        **{"id": f"nic-{number}", "mac": mac, "model": NicModel.VMXNET3, "network": "VM Network", **more}
    )


def a_machine(**more: Any) -> Machine:
    given = {"name": "web01", "source_id": "vm-42", "vcpus": 2, "memory_mib": 2048, "disks": (a_disk(),)}
    return Machine(**{**given, **more})


def a_target(**more: Any) -> TargetPlan:
    return TargetPlan(**{"kind": TargetKind.DIRECTORY, **more})


def a_plan(*, vm: str = "web01", name: str = "web", namespace: str = "default", **target: Any) -> Plan:
    return Plan(
        run=f"vmi-{name}-0a1b2c3d-g1",
        import_=ImportRef(name=name, namespace=namespace, uid="6f1d"),
        source=SourcePlan(kind=SourceKind.VMWARE, name="vc", endpoint="https://vcenter.example/sdk"),
        vm=vm,
        target=a_target(namespace=namespace, **target),
    )


def an_import(name: str = "web", namespace: str = "default", **spec: Any) -> VirtualMachineImport:
    """An import as the API stores it; `spec` has the API's own names."""
    source = {"apiVersion": API_VERSION, "kind": "VmwareSource", "name": "vc", "namespace": "default"}
    return VirtualMachineImport.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "VirtualMachineImport",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"virtualMachineName": "web01", "sourceCluster": source, **spec},
        }
    )


def a_source(name: str = "vc", **spec: Any) -> VmwareSource:
    given = {"endpoint": "https://vcenter.example/sdk", "dc": "DC0", "credentials": {"name": "vc-login"}}
    return VmwareSource.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "VmwareSource",
            "metadata": {"name": name},
            "spec": {**given, **spec},
        }
    )


def a_cloud(name: str = "os", **spec: Any) -> OpenstackSource:
    given = {"endpoint": "https://cloud.example:5000/v3", "credentials": {"name": "os-login"}}
    return OpenstackSource.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "OpenstackSource",
            "metadata": {"name": name},
            "spec": {**given, **spec},
        }
    )


def an_archive(name: str = "ova", **spec: Any) -> OvaSource:
    return OvaSource.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "OvaSource",
            "metadata": {"name": name},
            "spec": {"url": "https://files.example/web.ova", **spec},
        }
    )


def a_secret(name: str = "vc-login", **values: str) -> Secret:
    return Secret.model_validate(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": values or {"username": "u", "password": "p"},
        }
    )


def without_provider(patch: pytest.MonkeyPatch, kind: SourceKind) -> None:
    """As in an installation without the library of that kind's provider."""
    patch.setattr(kind, "library", "no_such_library")
