"""An import of `v2v.kubevirt.io` from oVirt, by the real Argo: the disks land, and the guest boots."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from steps.model.kinds import CLAIM, IMPORT, MACHINE, SOURCES, V2V_API_VERSION, V2V_IMPORT, Object
from steps.targets.cluster.vm_objects import attached_claims
from tests.real import scenario
from tests.real.argo.ground import Ground
from tests.real.cluster.lab import Lab
from tests.real.guest import datadisk
from tests.real.ovirt import guest
from tests.real.ovirt.inventory import Nic
from tests.real.ovirt.lab import Lab as Engine
from tests.real.standins.process import eventually
from tests.real.virt import guests
from workflows.api.v2v import V2vStatus

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("cdi")]

NAME: Final = "from-v2v"
IMPORT_SECONDS: Final = 2400.0
DAEMON_PORT: Final = 54322
PROXY_PORT: Final = 54323
"""Those of oVirt: the Secret of this API cannot name others."""


def documents(engine: Engine, namespace: str, storage_class: str) -> list[Object]:
    metadata = {"name": "engine", "namespace": namespace}
    network = {"source": {"name": guest.NETWORKS[0]}, "target": {"name": "pod"}, "type": "pod"}
    storage = {"source": {"name": guest.DOMAIN}, "target": {"name": storage_class}, "volumeMode": "Block"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "stringData": {"ovirt": scenario.v2v_login(engine)},
        },
        {
            "apiVersion": V2V_API_VERSION,
            "kind": "ResourceMapping",
            "metadata": metadata,
            "spec": {"ovirt": {"networkMappings": [network], "storageMappings": [storage]}},
        },
        {
            "apiVersion": V2V_API_VERSION,
            "kind": "VirtualMachineImport",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {
                "providerCredentialsSecret": {"name": "engine"},
                "resourceMapping": {"name": "engine"},
                "source": {"ovirt": {"vm": {"name": scenario.VM, "cluster": {"name": guest.CLUSTER}}}},
                "targetVmName": NAME,
                "startVm": True,
            },
        },
    ]


def test_a_vm_of_ovirt_boots_after_an_import_of_the_other_dialect(
    lab: Lab, ground: Ground, csi_class: str, namespace: str, tmp_path: Path
) -> None:
    data = datadisk.make(tmp_path / "data.img", stay=True)
    inventory = guest.inventory(data.path, nics=[Nic(network=guest.NETWORKS[0], mac=scenario.MACS[0])])
    ground.install()  # the default values: disks of oVirt land
    with Engine.start(
        inventory,
        tmp_path / "engine",
        listen=f"{lab.host}:0",
        daemon_port=DAEMON_PORT,
        proxy_port=PROXY_PORT,
    ) as engine:
        ground.apply(*documents(engine, namespace, csi_class))

        def conditions() -> dict[str, tuple[str, str]]:
            found = lab.get(V2V_IMPORT, NAME, namespace) or {}
            status = V2vStatus.read(found.get("status"))
            return {one.type: (one.status, one.reason) for one in status.conditions}

        running = ("True", "VirtualMachineRunning")
        eventually(lambda: conditions().get("Succeeded") == running, "the import", IMPORT_SECONDS)
        assert engine.transfers(live=True) == []
        assert [disk["alias"] for disk in engine.disks() if disk["status"] != "ok"] == []
        vm = engine.vm(scenario.VM)
        assert (vm["status"], vm["shutdowns"]) == ("down", 1)
    report = scenario.proven(guests.Guest(lab, namespace, NAME).reported(), data)
    assert report.firmware == "uefi"
    assert [nic.mac for nic in report.nics] == [scenario.MACS[0]]
    made = lab.get(MACHINE, NAME, namespace)
    assert made is not None
    for claim in attached_claims(made).values():
        landed = lab.get(CLAIM, claim, namespace)
        assert landed is not None
        assert [owner["uid"] for owner in landed["metadata"]["ownerReferences"]] == [made["metadata"]["uid"]]
    assert lab.find(IMPORT, namespace) == []
    assert [one for kind in SOURCES.values() for one in lab.find(kind, namespace)] == []
    lab.kubectl("--namespace", namespace, "delete", "virtualmachineimports.v2v.kubevirt.io", NAME)
