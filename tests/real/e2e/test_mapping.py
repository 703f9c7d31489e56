"""An import whose mapping is in the same file: networks of a simulated vCenter become those of its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from steps.model.contract import Exit
from steps.model.kinds import API_VERSION
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

MAC: Final = "00:50:56:12:34:01"
NICS: Final = (
    {"network": "VM Network", "mac": MAC},
    {"network": "VM Network", "mac": "00:50:56:12:34:02"},
    {"network": "prod-pg", "mac": "00:50:56:12:34:03"},
    {"network": "backup", "mac": "00:50:56:12:34:04"},
)
ROWS: Final = (
    {"source": {"name": "VM Network"}, "destinationNetwork": "vlan1"},
    {"source": {"mac": MAC.upper().replace(":", "-")}, "destinationNetwork": "infra/management"},
    {"source": {"name": "prod-pg"}, "type": "pod"},
    {"source": {"name": "backup"}, "type": "ignored"},
)


def test_the_mapping_of_a_file_decides_the_networks_of_its_imports(disks: MakeDisk, tmp_path: Path) -> None:
    disk = disks("one", 5)
    networks = [{"name": "VM Network"}, {"name": "backup"}, {"name": "prod-pg", "kind": "distributed"}]
    vm = harness.machine("web", disk, nics=list(NICS))
    datacenter = {"name": "DC0", "networks": networks, "vms": [vm]}
    with harness.vcenter(tmp_path, datacenters=[datacenter]) as simulator:
        secret, source, import_ = scenario.manifests(simulator)
        mapping = {
            "apiVersion": API_VERSION,
            "kind": "ImportMapping",
            "metadata": {"name": "dc1", "namespace": "default"},
            "spec": {
                "networks": list(ROWS),
                "storage": [{"source": {"name": "datastore1"}, "storageClass": "fast"}],
            },
        }
        import_["metadata"]["name"] = "web"
        import_["spec"] |= {"virtualMachineName": "web", "folder": None, "networkMapping": []}
        import_["spec"]["importMapping"] = {"name": "dc1"}
        file = scenario.write(tmp_path / "all.yaml", [import_, mapping, source, secret])
        planned = harness.vmferry("plan", "-f", file, "-o", "json")
        assert planned.code == Exit.DONE, planned.err
        (shown,) = json.loads(planned.out)
        ended = harness.vmferry("run", "-f", file, "--into", tmp_path / "out")
        assert ended.code == Exit.DONE, ended.err
        assert harness.left(simulator) == []
    assert [row["becomes"] for row in shown["rows"][:4]] == [
        "infra/management",
        "default/vlan1",
        "pod",
        "ignored",
    ]
    made: Any = YAML(typ="safe").load(tmp_path / "out" / "virtualmachine.yaml")
    found = made["spec"]["template"]["spec"]["networks"]
    assert [one.get("multus", {}).get("networkName", "pod") for one in found] == [
        "infra/management",
        "default/vlan1",
        "pod",
    ]
    assert harness.imported(tmp_path / "out", disk)
