"""Work and size that a tenant could make grow: scratch, keys of limits, requests for each look (F14, F21)."""

from __future__ import annotations

import json
from typing import Final

import pytest

from controller.operator.limits import MOST_COPIES, follow
from controller.operator.observe.facts import SCRATCH_LIMIT
from steps.model import names
from steps.model.kinds import CLAIM, CONFIG_MAP, SOURCES, STORAGE_CLASS, WORKFLOW, Object
from steps.model.plan import ImportLimits
from steps.model.sources import SourceKind
from steps.model.workflow_nodes import UNPACKED_LIMIT, nodes_of
from tests.unit.controller.operator.world import KEY, World
from tests.unit.workflows.status.situations import failed
from workflows import argo_names
from workflows.status.packed import pack

LIMIT: Final = 10 << 30


def limited(**spec: object) -> World:
    world = World(**spec)
    limits = ImportLimits(max_scratch_per_namespace=LIMIT)
    settings = world.options.settings.model_copy(update={"limits": limits})
    world.options = world.options.model_copy(update={"settings": settings})
    return world


def add_scratch(world: World, name: str, storage: str, namespace: str = KEY[0]) -> None:
    """The scratch of another import."""
    metadata = {
        "name": name,
        "namespace": "vmferry",
        "labels": {names.LABEL_NAMESPACE: namespace, names.LABEL_UID: f"uid-of-{name}"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "r", "uid": name}],
    }
    world.cluster.put(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-r", "uid": name}, "data": {}}
    )
    spec = {"resources": {"requests": {"storage": storage}}}
    world.cluster.put(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    )


# --- scratch


def test_an_import_waits_while_its_namespace_has_used_up_the_scratch() -> None:
    world = limited()
    add_scratch(world, "a", "6Gi")
    add_scratch(world, "b", "4Gi")
    assert world.look() == 15.0
    assert world.workflows() == []
    assert (world.summary.status, world.summary.reason) == ("Unknown", SCRATCH_LIMIT)
    assert "use 10Gi of scratch, and the limit is 10Gi" in world.summary.message
    assert "limits.maxScratchPerNamespace" in world.summary.message
    world.cluster.drop(CLAIM, "a", "vmferry")
    world.look()
    assert len(world.workflows()) == 1


def test_scratch_of_another_namespace_delays_nobody() -> None:
    world = limited()
    add_scratch(world, "a", "900Gi", "tenant")
    world.look()
    assert len(world.workflows()) == 1


def test_a_retry_that_has_scratch_does_not_wait() -> None:
    world = limited()
    world.look()
    world.argo(failed("export", 18, "bad", "disk-0"), phase="Failed")
    world.look()
    add_scratch(world, "a", "10Gi")
    world.annotate(retry="true")
    world.look(2)
    assert world.workflows()[-1].endswith("-r1")


def test_limits_of_the_installation_are_part_of_the_request() -> None:
    world = limited()
    world.look()
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert request is not None
    assert json.loads(request["data"]["plan.json"])["limits"]["maxScratchPerNamespace"] == LIMIT


def test_an_older_role_without_the_right_to_list_claims_stops_nothing() -> None:
    world = limited()
    world.cluster.denied.add(("list", CLAIM))
    world.look()
    assert len(world.workflows()) == 1


# --- requests for each look


def test_rows_of_a_mapping_cost_one_request() -> None:
    rows = [{"sourceDisk": f"disk-{number}", "storageClass": f"no-{number}"} for number in range(256)]
    world = World(diskMapping=rows)
    world.look()
    asked = [call for call in world.cluster.calls if call.kind == STORAGE_CLASS]
    assert len(asked) <= 2
    assert "and 236 more" in world.summary.message


# --- keys of limits


def limits_of(world: World) -> dict[str, str]:
    stored = world.cluster.peek(CONFIG_MAP, argo_names.LIMITS, "vmferry")
    assert stored is not None
    data: dict[str, str] = stored["data"]
    return data


def use_vcenter(world: World, number: int) -> None:
    """The source of the import becomes another vCenter, and a new VM is imported from it."""
    metadata = {"name": "vcenter", "namespace": "default", "generation": 1}
    spec = {
        "endpoint": f"https://vcenter-{number}/sdk",
        "dc": f"DC{number}",
        "credentials": {"name": "credentials"},
    }
    state = {"status": "clusterReady", "observedGeneration": 1}
    kind = SOURCES[SourceKind.VMWARE]
    world.cluster.put(
        {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": metadata,
            "spec": spec,
            "status": state,
        }
    )


def test_keys_of_accounts_that_no_workflow_uses_are_removed() -> None:
    world = World()
    for number in range(20):
        use_vcenter(world, number)
        world.apply(virtualMachineName=f"web-{number}")
        world.look()
        world.argo(failed("preflight", 14, "no such VM"), phase="Failed")
        world.look()
    assert len(limits_of(world)) > 30
    follow(world.cluster, world.options)
    (live,) = {one["metadata"]["labels"][names.LABEL_LIMITS] for one in world.cluster.all(WORKFLOW)}
    assert set(limits_of(world)) == {
        *("default.machines", "default.streams"),
        *(f"{live}.machines", f"{live}.streams"),
    }


def test_beyond_the_most_keys_accounts_share_the_default() -> None:
    world = World()
    stored = world.cluster.peek(CONFIG_MAP, argo_names.LIMITS, "vmferry")
    assert stored is not None
    copies = {f"vmware.h-{number}.0a1b2c3d.machines": "2" for number in range(MOST_COPIES)}
    stored["data"] |= copies
    stored["metadata"]["annotations"] = {"migration.harvesterhci.io/copied-defaults": json.dumps(copies)}
    world.look()
    (parameter,) = [
        one["value"] for one in world.workflow()["spec"]["arguments"]["parameters"] if one["name"] == "source"
    ]
    assert parameter == "default"
    assert len(json.dumps(stored)) < 500_000


# --- packed nodes


def packed(size: int) -> Object:
    node = {"name": "a.b", "type": "Pod", "phase": "Succeeded", "children": ["c"] * 20}
    nodes = {f"node-{number}": node for number in range(size // 200)}
    return {"compressedNodes": pack(nodes)}


def test_a_look_keeps_only_the_fields_that_it_uses() -> None:
    nodes = nodes_of(packed(1 << 20))
    assert nodes["node-0"] == {"name": "a.b", "type": "Pod", "phase": "Succeeded"}


@pytest.mark.parametrize(("size", "known"), [(UNPACKED_LIMIT // 2, True), (4 * UNPACKED_LIMIT, False)])
def test_nodes_beyond_the_limit_are_not_read(size: int, known: bool) -> None:
    assert bool(nodes_of(packed(size))) is known
