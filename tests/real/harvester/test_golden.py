"""Harvester's own webhook and then KubeVirt's own validation check every golden VirtualMachine."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import pytest

from steps.model.kinds import MACHINE
from steps.model.plan import TargetKind
from tests.real.golden import golden
from tests.real.harvester.install import CommandError, Real, namespace, network

pytestmark = pytest.mark.smoke
Object = dict[str, Any]
MACHINES: Final = golden(MACHINE, TargetKind.HARVESTER)


def networks_of(manifest: Object) -> set[tuple[str, str]]:
    """(namespace, name) of each network of its NICs."""
    found = manifest["spec"]["template"]["spec"].get("networks") or []
    names = [one["multus"]["networkName"] for one in found if "multus" in one]
    return {(name.partition("/")[0], name.partition("/")[2]) for name in names}


@pytest.fixture(scope="module")
def surroundings(real: Real) -> None:
    """The namespaces and networks that the golden files name."""
    joined = set().union(*map(networks_of, MACHINES.values()))
    spaces = {one["metadata"]["namespace"] for one in MACHINES.values()} | {where for where, _ in joined}
    real.apply(*(namespace(name) for name in sorted(spaces - {"default"})))
    real.apply(*(network(*one) for one in sorted(joined)))


def judged(real: Real, manifest: Object) -> Object:
    """The VirtualMachine as it would be stored. Raises CommandError with the text of the refusal."""
    output = real.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(manifest))
    found: Object = json.loads(output)
    return found


def test_golden_vms_exist_for_both_targets() -> None:
    assert len(MACHINES) >= 40
    assert len([name for name in MACHINES if "harvester-" in name]) >= 20


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.usefixtures("surroundings")
def test_a_golden_vm_is_accepted(real: Real, name: str) -> None:
    stored = judged(real, MACHINES[name])
    cpu = stored["spec"]["template"]["spec"]["domain"]["cpu"]
    assert cpu["maxSockets"] == 1, "Harvester's webhook did not work on it"


@pytest.mark.usefixtures("surroundings")
def test_kubevirt_refuses_several_sockets_after_harvesters_webhook(real: Real) -> None:
    """Harvester's webhook sets maxSockets to 1 (v1.6.1-v1.8.2, issue 10265): so a VM gets one socket."""
    manifest = copy.deepcopy(MACHINES["vmware-bios-harvester-backingimage"])
    cpu = manifest["spec"]["template"]["spec"]["domain"]["cpu"]
    count = cpu["sockets"] * cpu["cores"]
    assert count > 1
    cpu |= {"sockets": count, "cores": 1}
    with pytest.raises(CommandError, match="sockets in CPU topology is greater than the maximum sockets"):
        judged(real, manifest)
    cpu |= {"sockets": 1, "cores": count}
    assert judged(real, manifest)["spec"]["template"]["spec"]["domain"]["cpu"]["cores"] == count
