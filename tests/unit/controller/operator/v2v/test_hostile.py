"""A tenant attacks with imports of `v2v.kubevirt.io`."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from controller.operator.options import References
from steps.model.kinds import RESOURCE_MAPPING, V2V_IMPORT
from tests.unit.controller.operator.v2v.place import LOGIN, POD_ROW, V2vWorld
from tests.unit.controller.operator.world import UID, World
from tests.unit.workflows.status.situations import found, node
from workflows.argo_names import workflow_name
from workflows.plan import run_name

FORGED: Final[dict[str, Any]] = {
    "targetVmName": "victim",
    "conditions": [{"type": "Succeeded", "status": "True", "reason": "VirtualMachineReady"}],
}


def forge(world: V2vWorld) -> None:
    """What everybody can write who may edit an import, and a status that only the controller can write."""
    raw = world.raw
    assert raw is not None
    raw["metadata"].setdefault("annotations", {}).update(
        {
            "migration.harvesterhci.io/workflow": "vmi-victim-00000000-g1",
            "migration.harvesterhci.io/step": "start",
            "migration.harvesterhci.io/message": "x",
            "vmimport.v2v.kubevirt.io/progress": "9" * 400,
        }
    )
    raw["status"] = json.loads(json.dumps(FORGED))


def test_forged_annotations_and_a_forged_status_change_nothing() -> None:
    world = V2vWorld()
    world.begin()
    world.argo(found(), node("poweroff", "Running"))
    world.found()
    world.look()
    before = world.status, world.workflows()
    forge(world)
    world.look()
    assert (world.status, world.workflows()) == before
    assert world.shown.condition("Succeeded") is None
    assert world.notes()["migration.harvesterhci.io/workflow"] == world.run
    assert world.progress() == ""


def test_a_forged_import_does_not_hold_up_another_namespace() -> None:
    """It names the VM of somebody else, and claims that its Workflow runs."""
    attacker = V2vWorld()
    attacker.put_secret("vcenter-login", vmware=LOGIN.replace("vcenter.example.com", "vcenter"))
    forge(attacker)
    raw = attacker.raw
    assert raw is not None
    raw["metadata"] |= {"namespace": "attacker", "uid": "forged", "creationTimestamp": "2020-01-01T00:00:00Z"}
    raw["status"] = {}
    victim = World()
    victim.cluster.namespaces.add("attacker")
    victim.cluster.put(raw)
    run = workflow_name(run_name("web", "forged", 1), 0)
    raw["metadata"]["annotations"]["migration.harvesterhci.io/workflow"] = run
    victim.look()
    assert victim.workflows() == [victim.run]


def test_no_setting_allows_the_secrets_of_everybody() -> None:
    world = V2vWorld(
        providerCredentialsSecret={"name": "login", "namespace": "vault"},
        resourceMapping={"name": "map", "namespace": "vault"},
    )
    world.options = world.options.model_copy(update={"cross_namespace_references": References.ALLOW})
    world.cluster.namespaces.add("vault")
    world.put_secret("login", "vault", vmware=LOGIN)
    world.put_mapping("map", {"vmware": {"networkMappings": [POD_ROW]}}, "vault")
    world.look()
    message = world.condition("Valid").message
    assert "kubectl annotate secrets -n vault login" in message
    assert RESOURCE_MAPPING.plural not in message
    assert world.sources_due == set()


@pytest.mark.parametrize("progress", ["-5", "1e9", "abc", "50\n", "0x10", "9" * 400, "٣"])
def test_a_strange_progress_counts_as_none(progress: str) -> None:
    world = V2vWorld()
    world.begin()
    raw = world.raw
    assert raw is not None
    raw["metadata"]["annotations"]["vmimport.v2v.kubevirt.io/progress"] = progress
    world.found()
    world.argo(found(), node("poweroff"), node("export", "Running", "disk-0"))
    world.look()
    assert world.progress() == "10"


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        "x",
        {"source": None},
        {"source": {"vmware": None}},
        {"source": {"vmware": {"vm": None, "mappings": None}}},
        {"source": {"vmware": {"vm": {"name": "a"}, "mappings": {"networkMappings": None}}}},
        {"source": {"vmware": {"vm": {"name": "a"}, "mappings": {"networkMappings": [{"target": 5}]}}}},
        {"source": {"vmware": {"vm": {"name": ["a"]}}}},
        {"startVm": "yes"},
        {"providerCredentialsSecret": None},
        {"unknown": 1},
    ],
    ids=range(12),
)
def test_a_spec_of_any_shape_gets_a_status(spec: Any) -> None:
    world = V2vWorld()
    assert world.raw is not None
    world.raw["spec"] = spec
    world.begin()
    assert world.condition("Valid").status == "False"
    assert world.workflows() == []


def test_a_status_of_any_shape_is_replaced() -> None:
    strange: list[Any] = [None, [], "x", {"conditions": "x"}, {"conditions": [5]}, {"dataVolumes": {}}]
    for status in strange:
        world = V2vWorld(providerCredentialsSecret={"name": "none"})
        assert world.raw is not None
        world.raw["status"] = status
        world.look()
        assert world.verdicts() == {"Valid": ("False", "SecretNotFound")}


def test_an_import_without_metadata_of_its_own_does_not_stop_others() -> None:
    """Rivals are compared with every import, whatever its spec is."""
    world = World()
    for number, spec in enumerate((None, "x", {"source": 5}, {"source": {"vmware": {"vm": {"name": 5}}}})):
        metadata = {"name": f"odd-{number}", "namespace": "default", "uid": f"odd-{number}"}
        odd = {"apiVersion": V2V_IMPORT.api_version, "kind": V2V_IMPORT.kind, "metadata": metadata}
        world.cluster.put({**odd, "spec": spec})
    world.look()
    assert world.workflows() == [world.run]
    assert world.raw is not None
    assert world.raw["metadata"]["uid"] == UID
