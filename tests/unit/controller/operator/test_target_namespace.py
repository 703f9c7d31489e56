"""An import whose VM goes to another namespace: it waits for the grant, and leaves nothing there."""

from __future__ import annotations

from typing import Any, Final

import pytest

from steps.model import names
from steps.model.grants import ALLOWED
from steps.model.kinds import CONFIG_MAP, IMPORT, LEASE, MACHINE, NAD, Object
from steps.runtime.program import PLAN
from tests.unit.controller.operator.test_mapping import plan_of, started
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import found, node
from workflows.api.annotations import RETRY

THERE: Final = "team-b"
ASKED: Final = {"namespace": THERE}


def grant(world: World, allowed: str | None = "default", namespace: str = THERE) -> None:
    world.cluster.namespaces.add(namespace)
    notes = {} if allowed is None else {"annotations": {ALLOWED: allowed}}
    world.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, **notes}})


def owner(world: World, run: str = "", uid: str = "") -> Object:
    """The owner that a step makes there."""
    plan = plan_of(world)
    labels = names.run_labels(plan) | ({names.LABEL_UID: uid} if uid else {})
    metadata = {"name": names.owner(run or plan.run), "namespace": THERE, "labels": labels}
    return world.cluster.put({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata})


REFUSAL: Final = (
    "namespace team-b does not allow VMs of imports in default; its owner allows them with: kubectl annotate "
    "namespace team-b migration.harvesterhci.io/allowed-namespaces=default"
)


@pytest.mark.parametrize("allowed", [None, "", "shop", "default-2"])
def test_an_import_waits_for_the_grant_and_starts_with_it(allowed: str | None) -> None:
    world = World(virtualMachine=ASKED)
    grant(world, allowed)
    assert not started(world)
    assert (world.summary.status, world.summary.reason) == ("Unknown", "TargetNamespaceNotPermitted")
    assert world.status.message == REFUSAL
    assert not [call for call in world.cluster.calls if call.namespace == THERE]
    grant(world)
    assert started(world)
    target = plan_of(world).target
    assert (target.namespace, target.needs_grant) == (THERE, True)


def test_a_namespace_that_does_not_exist_gets_the_same_answer() -> None:
    world = World(virtualMachine=ASKED)
    assert not started(world)
    assert world.status.message == REFUSAL


def test_the_own_namespace_needs_no_grant_and_changes_no_request() -> None:
    plain, named = World(), World(virtualMachine={"namespace": "default"})
    assert started(plain)
    assert started(named)
    texts = [
        world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")["data"][PLAN]  # type: ignore[index]
        for world in (plain, named)
    ]
    assert texts[0] == texts[1]
    assert "needsGrant" not in texts[0]


def test_no_setting_allows_every_namespace() -> None:
    world = World(virtualMachine=ASKED)
    world.options = world.options.model_copy(update={"cross_namespace_references": "allow"})
    assert not started(world)
    assert world.summary.reason == "TargetNamespaceNotPermitted"


def test_the_namespace_of_vmferry_is_no_target() -> None:
    world = World(virtualMachine={"namespace": "vmferry"})
    grant(world, "*", "vmferry")
    assert not started(world)
    assert world.status.message.startswith("vmferry is the namespace of vmferry itself")


def test_a_namespace_outside_of_the_installation_is_no_target() -> None:
    world = World(virtualMachine=ASKED)
    world.options = world.options.model_copy(update={"namespaces": ("default",)})
    grant(world)
    assert not started(world)
    assert "outside the namespaces of this installation (default)" in world.status.message


@pytest.mark.parametrize("name", ["Team B", "a/../b", "x" * 64])
def test_a_name_that_no_namespace_can_have_is_refused_without_a_request(name: str) -> None:
    world = World(virtualMachine={"namespace": name})
    assert not started(world)
    assert "spec.virtualMachine.namespace" in world.status.message
    assert not [call for call in world.cluster.calls if call.name == name]


def test_the_names_and_networks_of_the_namespace_count() -> None:
    rows = [{"sourceNetwork": "VM Network", "destinationNetwork": "vlan9"}]
    world = World(virtualMachine=ASKED, networkMapping=rows)
    grant(world)
    assert not started(world)
    assert "destination network team-b/vlan9 does not exist" in world.status.message
    world.cluster.put(
        {"apiVersion": NAD.api_version, "kind": NAD.kind, "metadata": {"name": "vlan9", "namespace": THERE}}
    )
    vm = {"apiVersion": MACHINE.api_version, "kind": MACHINE.kind, "spec": {}}
    world.cluster.put({**vm, "metadata": {"name": "web01", "namespace": "default"}})
    world.cluster.put({**vm, "metadata": {"name": "web01", "namespace": THERE}})
    world.look()
    assert "VirtualMachine team-b/web01 already exists" in world.status.message
    world.cluster.drop(MACHINE, "web01", THERE)
    assert started(world)


# --- other imports


def another(world: World, name: str, namespace: str, **more: Any) -> None:
    spec = {"virtualMachineName": "other", "targetVirtualMachineName": "web01", **more}
    metadata = {"name": name, "namespace": namespace, "uid": f"{name}-uid", "generation": 1}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"  # older than ours
    world.cluster.put(
        {"apiVersion": IMPORT.api_version, "kind": IMPORT.kind, "metadata": metadata, "spec": spec}
    )


def test_an_older_import_of_the_target_namespace_has_its_name_once_it_has_begun() -> None:
    world = World(virtualMachine=ASKED)
    grant(world)
    another(world, "theirs", THERE)
    there = world.cluster.peek(IMPORT, "theirs", THERE)
    assert there is not None
    there["status"] = {"importStatus": "sourceReady", "workflow": {"name": "vmi-theirs-0a1b2c3d-g1"}}
    assert not started(world)
    assert world.status.message.startswith(
        "an import in another namespace is creating VirtualMachine team-b/web01, and this import needs the "
    )


def test_an_import_without_a_grant_cannot_hold_up_those_of_the_target_namespace() -> None:
    """A tenant of `shop` names the VMs of `default`: no import of `default` waits for that."""
    world = World()
    another(world, "hostile", "shop", virtualMachine={"namespace": "default"})
    assert started(world)


def test_imports_into_two_namespaces_may_have_one_name() -> None:
    world = World()
    another(world, "theirs", "default", virtualMachine=ASKED)
    assert started(world)


# --- the end


def running(world: World) -> World:
    grant(world)
    assert started(world)
    world.found()
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    return world


def failed(world: World) -> World:
    running(world)
    world.argo(found(), node("poweroff", "Failed"), phase="Failed")
    world.look(2)
    return world


def gone(world: World) -> bool:
    world.delete()
    for _ in range(6):
        world.look()
        for name in world.workflows():
            world.argo(found(), node("poweroff", "Failed"), phase="Failed", name=name)
    return world.cluster.peek(IMPORT, "web", "default") is None


def test_a_deleted_import_deletes_the_owner_of_what_it_has_made_there() -> None:
    world = failed(World(virtualMachine=ASKED))
    left = owner(world)["metadata"]["name"]
    assert gone(world)
    assert world.cluster.peek(LEASE, left, THERE) is None


def test_a_grant_that_was_taken_back_does_not_keep_it() -> None:
    world = failed(World(virtualMachine=ASKED))
    left = owner(world)["metadata"]["name"]
    grant(world, None)
    assert gone(world)
    assert world.cluster.peek(LEASE, left, THERE) is None


def test_a_lease_of_others_with_that_name_stays() -> None:
    world = failed(World(virtualMachine=ASKED))
    left = owner(world, uid="somebody")["metadata"]["name"]
    assert gone(world)
    assert world.cluster.peek(LEASE, left, THERE) is not None


def test_a_retry_without_the_grant_waits() -> None:
    world = failed(World(virtualMachine=ASKED))
    grant(world, None)
    before = world.workflows()
    world.annotate(**{RETRY.partition("/")[2]: "true"})
    world.look(2)
    assert world.workflows() == before
    assert REFUSAL in world.status.message
    grant(world)
    world.look(2)
    assert world.workflows() != before


def test_another_namespace_is_another_run_and_the_old_one_is_cleaned() -> None:
    world = failed(World(virtualMachine=ASKED))
    first, left = world.run, owner(world)["metadata"]["name"]
    world.apply(virtualMachine={"namespace": "default"})
    world.look(2)
    assert world.run != first
    assert world.cluster.peek(LEASE, left, THERE) is None
    assert plan_of(world).target.namespace == "default"
