"""The scratch of all imports of a namespace: counted in the release namespace, before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, Object
from steps.model.plan import ImportLimits, ScratchPlan
from steps.targets.cluster.run_objects import RunObjects, scratch_size
from steps.targets.cluster.scratch_limit import requested_bytes
from tests.unit.builders import a_disk
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import GIB, World

ONE = scratch_size(GIB, ScratchPlan())
"""Bytes of the scratch of one disk of the tests."""


def a_world(uid: str = "6f1d", cluster: FakeCluster | None = None, *, most: int, disks: int = 2) -> World:
    made = World(disks=disks, uid=uid, cluster=cluster)
    made.plan = made.plan.model_copy(update={"limits": ImportLimits(max_scratch_per_namespace=most)})
    made.cluster.put(a_request(made.plan, uid=f"request-{uid}"))
    return made


def prepare(world: World) -> None:
    run = RunObjects(world.plan, world.cluster, "vmferry")
    run.prepare(world.machine, world.shape)


def claims(world: World) -> list[Object]:
    return world.cluster.all(CLAIM, "vmferry")


def test_an_import_within_the_limit_gets_its_scratch() -> None:
    world = a_world(most=2 * ONE)
    prepare(world)
    assert len(claims(world)) == 2


def test_an_import_beyond_the_limit_is_refused_before_anything_is_made() -> None:
    world = a_world(most=2 * ONE - 1)
    with pytest.raises(StepError) as caught:
        prepare(world)
    assert caught.value.code is Exit.NO_SPACE
    assert "limits.maxScratchPerNamespace" in str(caught.value)
    assert "retry when" not in str(caught.value), "waiting does not help"
    assert world.cluster.writes() == []


def test_other_imports_of_the_namespace_count() -> None:
    first = a_world(most=3 * ONE)
    prepare(first)
    second = a_world("7e2c", first.cluster, most=3 * ONE)
    with pytest.raises(StepError, match=r"its other imports use 2\.\d+Gi, and the limit is") as caught:
        prepare(second)
    assert caught.value.code is Exit.NO_SPACE
    assert "retry when they are done" in str(caught.value)
    assert len(claims(first)) == 2


def test_imports_of_other_namespaces_do_not_count() -> None:
    first = a_world(most=2 * ONE)
    prepare(first)
    for claim in claims(first):
        claim["metadata"]["labels"][names.LABEL_NAMESPACE] = "tenant"
    prepare(a_world("7e2c", first.cluster, most=2 * ONE))
    assert len(claims(first)) == 4


def test_volumes_of_vms_are_no_scratch() -> None:
    """In an installation with one namespace they have the same labels."""
    world = a_world(most=2 * ONE)
    labels = {names.LABEL_NAMESPACE: "default", names.LABEL_UID: "another"}
    spec = {"resources": {"requests": {"storage": "900Ti"}}}
    metadata = {"name": "web-disk-0", "namespace": "vmferry", "labels": labels}
    world.cluster.put(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    )
    prepare(world)
    assert len(claims(world)) == 3


def test_scratch_of_an_earlier_attempt_is_never_refused() -> None:
    """The VM may be off, and the scratch may hold its disks."""
    world = a_world(most=2 * ONE)
    prepare(world)
    limits = ImportLimits(max_scratch_per_namespace=1)
    world.plan = world.plan.model_copy(update={"limits": limits})
    prepare(world)
    assert len(claims(world)) == 2


def test_two_imports_at_the_same_moment_do_not_both_pass() -> None:
    first = a_world(most=3 * ONE)
    second = a_world("7e2c", first.cluster, most=3 * ONE)
    in_between: list[Any] = [lambda: prepare(second)]

    def interleave(verb: str, thing: Object) -> None:
        if verb == "create" and thing["kind"] == CLAIM.kind and in_between:
            in_between.pop()()

    first.cluster.admission.append(interleave)
    with pytest.raises(StepError) as caught:
        prepare(first)
    assert caught.value.code is Exit.BUSY
    assert {one["metadata"]["labels"][names.LABEL_UID] for one in claims(first)} == {"7e2c"}


def test_a_disk_without_content_needs_scratch_for_its_tables_only() -> None:
    world = a_world(most=4 * ONE, disks=1)
    disks = (a_disk(0, capacity=64 << 40, blank=True), a_disk(1))
    world.machine = world.machine.model_copy(update={"disks": disks})
    prepare(world)
    blank, other = claims(world)
    assert requested_bytes(blank) == scratch_size(0, ScratchPlan()) < 300 << 20
    assert requested_bytes(other) == ONE
