"""Harvester's own webhook and then KubeVirt's own validation judge every golden VirtualMachine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from tests.harvester.install import CommandError, Real, namespace, network

GOLDEN: Final = Path(__file__).parents[1] / "unit" / "golden"
FILES: Final = sorted([*GOLDEN.glob("*/virtualmachine.yaml"), *GOLDEN.glob("*/harvester-*.yaml")])
Object = dict[str, Any]


def machine(path: Path) -> Object:
    found: Object = YAML(typ="safe").load(path)
    return found


def networks_of(manifest: Object) -> set[tuple[str, str]]:
    """(namespace, name) of each network that it is joined to."""
    found = manifest["spec"]["template"]["spec"].get("networks") or []
    names = [one["multus"]["networkName"] for one in found if "multus" in one]
    return {(name.partition("/")[0], name.partition("/")[2]) for name in names}


@pytest.fixture(scope="module")
def surroundings(real: Real) -> None:
    """The namespaces and networks that the golden files name."""
    manifests = [machine(path) for path in FILES]
    joined = set().union(*(networks_of(one) for one in manifests))
    spaces = {one["metadata"]["namespace"] for one in manifests} | {where for where, _ in joined}
    real.apply(*(namespace(name) for name in sorted(spaces - {"default"})))
    real.apply(*(network(*one) for one in sorted(joined)))


def judged(real: Real, manifest: Object) -> Object:
    """The VirtualMachine as it would be stored. Raises CommandError, in the words of whoever refuses it."""
    told = real.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(manifest))
    found: Object = json.loads(told)
    return found


def test_there_are_golden_files_of_both_targets() -> None:
    assert len([path for path in FILES if path.name == "virtualmachine.yaml"]) >= 20
    assert len([path for path in FILES if path.name.startswith("harvester-")]) >= 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.usefixtures("surroundings")
def test_a_golden_vm_is_accepted(real: Real, path: Path) -> None:
    stored = judged(real, machine(path))
    cpu = stored["spec"]["template"]["spec"]["domain"]["cpu"]
    assert cpu["maxSockets"] == 1, "Harvester's webhook did not work on it"


@pytest.mark.usefixtures("surroundings")
def test_several_sockets_are_what_kubevirt_refuses_behind_harvester(real: Real) -> None:
    """Why a VM has one socket in Harvester: its webhook sets maxSockets to 1 (v1.6.1-v1.8.2, issue 10265)."""
    manifest = machine(GOLDEN / "vmware-bios" / "harvester-backingimage.yaml")
    cpu = manifest["spec"]["template"]["spec"]["domain"]["cpu"]
    count = cpu["sockets"] * cpu["cores"]
    assert count > 1
    cpu |= {"sockets": count, "cores": 1}
    with pytest.raises(CommandError, match="sockets in CPU topology is greater than the maximum sockets"):
        judged(real, manifest)
    cpu |= {"sockets": 1, "cores": count}
    assert judged(real, manifest)["spec"]["template"]["spec"]["domain"]["cpu"]["cores"] == count
