"""An import with an ImportMapping: it waits for it, takes its rows at the start, and keeps them."""

from __future__ import annotations

from typing import Any, Final

import pytest

from controller.operator.decide.status import MAPPING_RESOLVED
from controller.operator.options import References
from controller.operator.routing import EventRouter, ImportKey, SourceKey
from controller.operator.workqueue import Queue
from steps.model import names
from steps.model.grants import ALLOWED
from steps.model.kinds import CONFIG_MAP, IMPORT, IMPORT_MAPPING, Object
from steps.model.plan import Attachment, Plan, UsedMapping
from steps.runtime.program import PLAN
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import found, node
from workflows.api.conditions import find

ROW: Final = {"source": {"name": "VM Network"}, "destinationNetwork": "vlan1"}
REFERENCE: Final = {"name": "dc1"}


def put_mapping(
    world: World, *networks: Object, namespace: str = "default", allow: str = "", **more: Any
) -> None:
    there = world.cluster.peek(IMPORT_MAPPING, "dc1", namespace)
    generation = there["metadata"]["generation"] + 1 if there else 1
    metadata: Object = {"name": "dc1", "namespace": namespace, "generation": generation}
    if allow:
        metadata["annotations"] = {ALLOWED: allow}
    world.cluster.put(
        {
            "apiVersion": IMPORT_MAPPING.api_version,
            "kind": IMPORT_MAPPING.kind,
            "metadata": metadata,
            "spec": {"networks": list(networks or (ROW,)), **more},
        }
    )


def plan_of(world: World) -> Plan:
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), world.options.namespace)
    assert request is not None
    return Plan.model_validate_json(request["data"][PLAN])


def started(world: World) -> bool:
    world.look()
    return bool(world.workflows())


def test_an_import_waits_for_its_mapping_and_starts_when_it_is_created() -> None:
    world = World(importMapping=REFERENCE)
    assert not started(world)
    assert (world.summary.status, world.summary.reason) == ("Unknown", "MappingNotFound")
    assert world.status.message == (
        "ImportMapping default/dc1 does not exist; create it, then the import continues, or remove "
        "spec.importMapping"
    )
    put_mapping(world)
    assert started(world)
    target = plan_of(world).target
    assert target.mapping == UsedMapping(namespace="default", name="dc1", generation=1)
    assert [(rule.source, rule.destination, rule.shared) for rule in target.networks] == [
        ("VM Network", "default/vlan1", True)
    ]


def test_a_cluster_with_the_crds_of_an_older_version_makes_it_wait() -> None:
    world = World(importMapping=REFERENCE)
    world.cluster.kinds = {kind for kind in world.cluster.kinds if kind != IMPORT_MAPPING}
    assert not started(world)
    assert world.summary.reason == "MappingNotFound"


def test_the_rows_of_the_import_come_first() -> None:
    own = [{"sourceNetwork": "VM Network", "type": "ignored"}]
    world = World(importMapping=REFERENCE, networkMapping=own)
    put_mapping(world)
    assert started(world)
    first, second = plan_of(world).target.networks
    assert (first.attachment, first.shared) == (Attachment.IGNORED, False)
    assert second.shared


def test_a_mapping_that_is_wrong_refuses_the_import_until_it_is_corrected() -> None:
    world = World(importMapping=REFERENCE)
    put_mapping(world, ROW, {**ROW, "destinationNetwork": "vlan2"})
    assert not started(world)
    assert world.status.import_status == "virtualMachineImportInvalid"
    assert world.status.message == (
        "ImportMapping default/dc1: spec.networks has 2 rows for name 'VM Network', so it is not clear which "
        "one counts; keep one of them"
    )
    put_mapping(world)
    assert started(world)


def test_a_mapping_of_another_shape_refuses_the_import() -> None:
    world = World(importMapping=REFERENCE)
    put_mapping(world, storage="fast")
    assert not started(world)
    assert world.status.message.startswith("ImportMapping default/dc1: spec.storage: ")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"name": ""}, "spec.importMapping.name is empty"),
        ({"name": "A/../b"}, "spec.importMapping.name 'A/../b' is not a valid name"),
        ({"name": "dc1", "namespace": "No"}, "spec.importMapping.namespace 'No' is not a valid namespace"),
    ],
)
def test_a_reference_that_no_object_can_have_is_refused_without_a_request(
    reference: Object, words: str
) -> None:
    world = World(importMapping=reference)
    assert not started(world)
    assert words in world.status.message
    assert not [call for call in world.cluster.calls if call.kind == IMPORT_MAPPING]


# --- a run keeps its rows


def running(world: World) -> World:
    assert started(world)
    world.found()
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    return world


def test_a_changed_mapping_does_not_reach_a_run() -> None:
    world = World(importMapping=REFERENCE)
    put_mapping(world)
    before = plan_of(running(world))
    put_mapping(world, {"source": {"name": "VM Network"}, "type": "ignored"})
    world.look(3)
    assert plan_of(world) == before
    assert len(world.workflows()) == 1


def test_a_deleted_mapping_does_not_break_a_run() -> None:
    world = World(importMapping=REFERENCE)
    put_mapping(world)
    running(world)
    world.cluster.drop(IMPORT_MAPPING, "dc1", "default")
    world.look(3)
    assert world.summary.reason == "Running"
    assert world.secret(names.credentials(world.run)) is not None


def test_a_retry_reads_the_mapping_again() -> None:
    world = World(importMapping=REFERENCE)
    put_mapping(world)
    running(world)
    world.argo(found(), node("poweroff", "Failed"), phase="Failed")
    world.look()
    world.cluster.drop(IMPORT_MAPPING, "dc1", "default")
    world.annotate(retry="true")
    world.look()
    assert "a retry waits: ImportMapping default/dc1 does not exist" in world.status.message
    put_mapping(world, {"source": {"name": "VM Network"}, "type": "pod"})
    world.look()
    assert [rule.attachment for rule in plan_of(world).target.networks] == [Attachment.POD]


def test_a_changed_mapping_alone_retries_nothing() -> None:
    world = World(importMapping=REFERENCE)
    put_mapping(world)
    running(world)
    world.argo(found(), node("poweroff", "Failed"), phase="Failed")
    world.look()
    put_mapping(world, {"source": {"name": "VM Network"}, "type": "pod"})
    world.look(3)
    assert [rule.attachment for rule in plan_of(world).target.networks] == [Attachment.NETWORK]
    assert len(world.workflows()) == 1


# --- what is seen


def test_the_status_says_which_row_of_which_document_counts() -> None:
    world = World(importMapping=REFERENCE)
    storage = [{"source": {"name": "ds1"}, "storageClass": "fast"}]
    disks = [{"source": {"id": "2000"}, "storageClass": "default"}]
    put_mapping(world, storage=storage, disks=disks)
    running(world)
    condition = find(world.status.import_conditions, MAPPING_RESOLVED)
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "RowsFound")
    assert condition.message == (
        "ImportMapping default/dc1 (generation 1): disk-0: storage class default, by the row for disk '2000' "
        "of ImportMapping default/dc1"
    )


def test_an_import_without_a_mapping_has_no_such_condition() -> None:
    world = running(World())
    assert find(world.status.import_conditions, MAPPING_RESOLVED) is None
    assert "mapping" not in plan_of(world).to_json()
    assert "shared" not in plan_of(world).to_json()


def test_networks_and_classes_of_other_vms_are_not_looked_for() -> None:
    """`admit` checks those that the VM needs, before it is powered off."""
    world = World(importMapping=REFERENCE)
    rows = [{"source": {"name": "elsewhere"}, "destinationNetwork": "infra/none"}]
    put_mapping(world, *rows, storage=[{"source": {"name": "ds9"}, "storageClass": "none"}])
    assert started(world)
    assert world.warnings() == []


# --- another namespace


def test_a_mapping_of_another_namespace_needs_a_grant() -> None:
    world = World(importMapping={"name": "dc1", "namespace": "infra"})
    world.cluster.namespaces.add("infra")
    assert not started(world)
    hidden = world.status.message
    assert world.summary.reason == "MappingNotPermitted"
    assert f"kubectl annotate importmappings -n infra dc1 {ALLOWED}=default" in hidden
    put_mapping(world, namespace="infra")
    assert not started(world)
    assert world.status.message == hidden, "it does not reveal whether the mapping exists"
    put_mapping(world, namespace="infra", allow="default")
    assert started(world)
    (rule,) = plan_of(world).target.networks
    assert rule.destination == "default/vlan1", "a name alone is one of the namespace of the import"


def test_the_setting_that_allows_references_allows_mappings() -> None:
    world = World(importMapping={"name": "dc1", "namespace": "infra"})
    world.cluster.namespaces.add("infra")
    world.options = world.options.model_copy(update={"cross_namespace_references": References.ALLOW})
    put_mapping(world, namespace="infra")
    assert started(world)


def test_a_namespace_outside_of_the_installation_is_not_read() -> None:
    world = World(importMapping={"name": "dc1", "namespace": "infra"})
    world.options = world.options.model_copy(update={"namespaces": ("default",)})
    assert not started(world)
    assert "is outside the namespaces of this installation (default)" in world.status.message


# --- events


def an_import(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": spec}


def test_an_event_of_a_mapping_reconciles_the_imports_that_use_it() -> None:
    imports: Queue[ImportKey] = Queue()
    sources: Queue[SourceKey] = Queue()
    router = EventRouter(imports, sources)
    uses, other = an_import("a", importMapping={"name": "dc1"}), an_import("b")
    for raw in (uses, other):
        router.route(IMPORT, raw, False)
    drain(imports)
    event = {"metadata": {"name": "dc1", "namespace": "default", "uid": "m"}}
    router.route(IMPORT_MAPPING, event, False)
    assert drain(imports) == [ImportKey("default", "a")]
    router.route(IMPORT, uses, True)
    drain(imports)
    router.route(IMPORT_MAPPING, event, True)
    assert drain(imports) == []


def drain(queue: Queue[ImportKey]) -> list[ImportKey]:
    """The keys that are due now. Each is due again much later."""
    found_keys: list[ImportKey] = []
    while len(queue):
        key = queue.take()
        assert key is not None
        found_keys.append(key)
        queue.done(key, 3600)
    return found_keys
