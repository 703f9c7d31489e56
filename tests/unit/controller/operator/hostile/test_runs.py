"""A status that names the run of another import changes nothing of that run (finding F5)."""

from __future__ import annotations

import copy
from typing import Final

import pytest

from controller.operator.observe.facts import run_of
from controller.operator.reconcile import reconcile
from steps.model import names
from steps.model.kinds import CONFIG_MAP, IMPORT, SECRET, SOURCES, WORKFLOW, Kind, Object
from steps.model.sources import SourceKind
from tests.unit.controller.operator.world import World
from workflows.api.status import ImportStatus, WorkflowReference
from workflows.plan import run_name

THIEF: Final = ("tenant", "thief")
UID: Final = "0bad0000-0000-4000-8000-000000000009"


def raided(status: Object) -> World:
    """`default/web` runs; `tenant/thief` has a status that names its run, and is reconciled."""
    world = World()
    world.look()
    world.cluster.namespaces |= {"tenant"}
    for kind, name in ((SECRET, "credentials"),):
        found = copy.deepcopy(world.cluster.peek(kind, name, "default"))
        assert found is not None
        found["metadata"] |= {"namespace": "tenant", "uid": "uid-of-tenants-secret"}
        found["data"] |= {"password": "c3RvbGVu"}
        world.cluster.put(found)
    source = copy.deepcopy(world.cluster.all(_kind(), "default")[0])
    source["metadata"] |= {"namespace": "tenant", "uid": "uid-of-tenants-source"}
    source["spec"] |= {"endpoint": "https://tenant.example/sdk", "credentials": {"name": "credentials"}}
    world.cluster.put(source)
    thief = copy.deepcopy(world.raw)
    assert thief is not None
    thief["metadata"] = {"name": THIEF[1], "namespace": THIEF[0], "uid": UID, "generation": 1}
    thief["metadata"]["annotations"] = {"migration.harvesterhci.io/retry": "true"}
    thief["spec"]["sourceCluster"]["namespace"] = "tenant"
    run = world.status.workflow
    assert run is not None
    thief["status"] = status | {"workflow": {"name": run.name, "namespace": run.namespace, "generation": 1}}
    world.cluster.put(thief)
    return world


def _kind() -> Kind:

    return SOURCES[SourceKind.VMWARE]


def taken(world: World) -> dict[str, object]:
    """Everything of the victim's run."""
    run = world.run
    return {
        name: copy.deepcopy(world.cluster.peek(kind, name, "vmferry"))
        for kind, name in (
            (CONFIG_MAP, names.request(run)),
            (SECRET, names.credentials(run)),
            (SECRET, names.address(run)),
            (WORKFLOW, run),
        )
    }


@pytest.mark.parametrize("phase", ["", "VMMigrationFailed", "virtualMachineImportInvalid", "sourceReady"])
def test_a_run_of_another_import_is_not_touched(phase: str) -> None:
    world = raided({"importStatus": phase})
    before = taken(world)
    for _ in range(4):
        reconcile(world.cluster, world.options, THIEF, world.ledger, lambda: world.now)
    assert taken(world) == before
    own = [one for one in world.cluster.all(WORKFLOW, "vmferry") if one["metadata"]["name"] != world.run]
    assert all(run_name("thief", UID, 1) in one["metadata"]["name"] for one in own)


def test_an_object_of_another_import_is_not_overwritten() -> None:
    """Also when the names are the same: the owner is compared before anything is written."""
    world = World()
    run = run_name("web", "6f1d0000-0000-4000-8000-000000000001", 1)
    foreign = {names.LABEL_UID: "somebody-else", names.LABEL_RUN: run}
    metadata = {"name": names.request(run), "namespace": "vmferry", "labels": foreign}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"plan.json": "{}"}}
    world.cluster.put(made)
    with pytest.raises(Exception, match="does not belong to this import"):
        world.look()
    found = world.cluster.peek(CONFIG_MAP, names.request(run), "vmferry")
    assert found is not None
    assert found["data"] == {"plan.json": "{}"}
    assert world.workflows() == []
    assert world.cluster.all(SECRET, "vmferry") == []


def test_a_secret_of_another_import_is_not_overwritten() -> None:
    world = World()
    run = run_name("web", "6f1d0000-0000-4000-8000-000000000001", 1)
    metadata = {"name": names.credentials(run), "namespace": "vmferry", "labels": {names.LABEL_UID: "other"}}
    world.cluster.put(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"password": "eA=="}}
    )
    with pytest.raises(Exception, match="does not belong to this import"):
        world.look()
    found = world.cluster.peek(SECRET, names.credentials(run), "vmferry")
    assert found is not None
    assert found["data"] == {"password": "eA=="}


OWN: Final = run_name("web", UID, 3)


@pytest.mark.parametrize(
    ("workflow", "run"),
    [
        (OWN, OWN),
        (f"{OWN}-r2", OWN),
        (f"{OWN}-x7k2p", OWN),
        (run_name("web", UID, 4), run_name("web", UID, 4)),
        (run_name("web", "another", 3), ""),
        (run_name("other", UID, 3), ""),
        (f"../{OWN}", ""),
        (f"{OWN}\n", ""),
        (f"{OWN}x", ""),
        ("", ""),
        ("web", ""),
        ("-00000000-g1", ""),
    ],
)
def test_the_run_of_an_import(workflow: str, run: str) -> None:
    raw: Object = {"metadata": {"name": "web", "namespace": "default", "uid": UID}}
    status = ImportStatus(workflow=WorkflowReference(name=workflow, namespace="vmferry", generation=1))
    assert run_of(raw, status) == run


def test_a_key_that_the_secret_no_longer_has_leaves_the_copy() -> None:
    world = World()
    found = world.cluster.peek(SECRET, "credentials", "default")
    assert found is not None
    found["data"]["thumbprint"] = "YWE="
    world.look(2)
    copied = world.secret(names.credentials(world.run))
    assert copied is not None
    assert "thumbprint" in copied["data"]
    del found["data"]["thumbprint"]
    world.look(2)
    copied = world.secret(names.credentials(world.run))
    assert copied is not None
    assert set(copied["data"]) == {"username", "password"}


def test_the_import_itself_keeps_its_run() -> None:
    world = World()
    world.look(3)
    assert len(world.workflows()) == 1
    assert world.cluster.peek(IMPORT, "web", "default") is not None
