"""An import of `v2v.kubevirt.io` with the real Argo: it fills DataVolumes, and its VM runs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import (
    DATA_VOLUME,
    EVENT,
    IMPORT,
    MACHINE,
    SOURCES,
    V2V_API_VERSION,
    V2V_IMPORT,
    Object,
)
from steps.targets.cluster.vm_objects import attached_claims
from tests.real import scenario
from tests.real.argo.ground import HOST, Ground, eventually
from tests.real.argo.place import Place, bytes_of, place
from tests.real.argo.world import a_vm
from tests.real.simulator import Simulator
from workflows.api.v2v import V2vStatus
from workflows.status.reflect import PROGRESS

pytestmark = pytest.mark.argo

NAME: Final = "shop"
SECONDS: Final = 600.0


@contextlib.contextmanager
def vcenter(folder: Path, **vm: Any) -> Iterator[tuple[Simulator, list[Path]]]:
    described = a_vm(folder, NAME, disks=2, **vm)
    datacenter = {"name": "DC0", "networks": [{"name": "VM Network"}], "vms": [described]}
    inventory = {"leases": "many", "datacenters": [datacenter]}
    with Simulator.start(inventory, folder / "vcenter", listen=f"{HOST}:0") as simulator:
        yield simulator, [Path(disk["file"]) for disk in described["disks"]]


def documents(made: Place, simulator: Simulator, **spec: Any) -> list[Object]:
    """The Secret, a ResourceMapping for the network, and the import with a row for the storage."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "vcenter-login", "namespace": made.namespace},
        "stringData": {"vmware": scenario.v2v_login(simulator)},
    }
    network = {"source": {"name": "VM Network"}, "target": {"name": "pod"}, "type": "pod"}
    mapping = {
        "apiVersion": V2V_API_VERSION,
        "kind": "ResourceMapping",
        "metadata": {"name": "networks", "namespace": made.namespace},
        "spec": {"vmware": {"networkMappings": [network]}},
    }
    disks = [{"source": {"name": f"Hard disk {number}"}, "target": {"name": "disk"}} for number in (1, 2)]
    import_ = {
        "apiVersion": V2V_API_VERSION,
        "kind": "VirtualMachineImport",
        "metadata": {"name": NAME, "namespace": made.namespace},
        "spec": {
            "providerCredentialsSecret": {"name": "vcenter-login"},
            "resourceMapping": {"name": "networks"},
            "source": {"vmware": {"vm": {"name": NAME}, "mappings": {"diskMappings": disks}}},
            "startVm": True,
            **spec,
        },
    }
    return [secret, mapping, import_]


def test_an_import_of_the_other_dialect_runs_to_its_end(ground: Ground, tmp_path: Path) -> None:
    with vcenter(tmp_path) as (simulator, originals), place(ground, "it-v2v") as made:
        ground.apply(*documents(made, simulator))

        def read() -> Object:
            return ground.cluster.get(V2V_IMPORT, NAME, made.namespace) or {}

        def conditions() -> dict[str, tuple[str, str]]:
            status = V2vStatus.read(read().get("status"))
            return {one.type: (one.status, one.reason) for one in status.conditions}

        running = ("True", "VirtualMachineRunning")
        eventually(lambda: conditions().get("Succeeded") == running, lambda: str(conditions()), SECONDS)
        found = conditions()
        assert found["Valid"][0] == found["MappingRulesVerified"][0] == "True"
        assert found["Processing"] == ("True", "ProcessingCompleted")
        imported = read()
        assert imported["metadata"]["annotations"][PROGRESS] == "100"
        assert imported["status"]["targetVmName"] == NAME

        vm = ground.cluster.get(MACHINE, NAME, made.namespace)
        assert vm is not None
        claims = attached_claims(vm)
        assert sorted(one["name"] for one in imported["status"]["dataVolumes"]) == sorted(claims.values())
        for disk, original in zip(("disk-0", "disk-1"), originals, strict=True):
            length = original.stat().st_size
            expected = hashlib.sha256(original.read_bytes()).hexdigest()
            assert bytes_of(ground, made.namespace, claims[disk], length) == expected
        for data_volume in made.all(DATA_VOLUME):
            owners = [owner["uid"] for owner in data_volume["metadata"]["ownerReferences"]]
            assert owners == [vm["metadata"]["uid"]]

        assert made.all(IMPORT) == []
        assert [one for kind in SOURCES.values() for one in made.all(kind)] == []
        reasons = {one["reason"] for one in made.all(EVENT)}
        assert {"ImportScheduled", "ImportInProgress", "ImportSucceeded"} <= reasons
        assert simulator.vm(NAME)["shutdowns"] == 1
        ground.cluster.delete(V2V_IMPORT, NAME, made.namespace)
        eventually(lambda: not read(), "the deletion of the import", 120)
        assert ground.cluster.get(MACHINE, NAME, made.namespace) is not None
