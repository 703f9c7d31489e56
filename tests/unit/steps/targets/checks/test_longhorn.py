"""Whether Longhorn has room: the rules of its scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from steps.targets.checks.facts import ClaimNeed, LonghornDisk, LonghornPool
from steps.targets.checks.longhorn import Placement, place

GIB = 1 << 30


def a_disk(node: str = "a", **more: Any) -> LonghornDisk:
    given = {"maximum": 100 * GIB, "available": 100 * GIB, "scheduled": 0, "reserved": 0}
    return LonghornDisk(node=node, **{**given, **more})


def a_claim(size: int) -> ClaimNeed:
    return ClaimNeed(title="disk-0", storage_class="lh", size=size)


def placed(disks: list[LonghornDisk], *sizes: int, **parameters: str) -> Placement:
    pool = LonghornPool(tuple(disks))
    return place(pool, parameters, [a_claim(size) for size in sizes])


def test_each_replica_is_on_another_node() -> None:
    two_disks_of_a_node = [a_disk("a"), a_disk("a"), a_disk("b")]
    assert placed(two_disks_of_a_node, GIB).least == 2
    assert placed([*two_disks_of_a_node, a_disk("c")], GIB).least == 3


def test_a_class_may_ask_for_other_replicas() -> None:
    assert placed([a_disk()], GIB, numberOfReplicas="1").wanted == 1
    assert placed([a_disk()], GIB, numberOfReplicas="many").wanted == 3


@pytest.mark.parametrize(("size", "fits"), [(40 * GIB, True), (40 * GIB + 1, False)])
def test_the_sizes_of_all_replicas_stay_within_what_may_be_provisioned(size: int, *, fits: bool) -> None:
    disk = a_disk(scheduled=50 * GIB, reserved=10 * GIB)
    assert (placed([disk], size, numberOfReplicas="1").homeless == ()) is fits
    assert placed([disk], size).largest == 40 * GIB


def test_a_disk_below_its_minimum_gets_no_replica() -> None:
    assert placed([a_disk(available=25 * GIB)], GIB).largest == 0
    assert placed([a_disk(available=25 * GIB + 1)], GIB).least == 1


def test_the_settings_of_longhorn_count() -> None:
    pool = LonghornPool((a_disk(available=10 * GIB),), {"v1": 200}, {"v1": 5})
    assert place(pool, {"numberOfReplicas": "1"}, [a_claim(200 * GIB)]).homeless == ()
    assert place(pool, {"numberOfReplicas": "1"}, [a_claim(200 * GIB + 1)]).homeless != ()


def test_what_a_volume_already_needs_counts_for_the_next_one() -> None:
    assert placed([a_disk()], 60 * GIB, numberOfReplicas="1").homeless == ()
    (homeless,) = placed([a_disk()], 60 * GIB, 50 * GIB, numberOfReplicas="1").homeless
    assert homeless.size == 50 * GIB


def test_the_disk_with_the_most_free_bytes_is_known() -> None:
    assert placed([a_disk(available=30 * GIB), a_disk("b", available=40 * GIB)], GIB).free == 40 * GIB


def test_only_disks_with_the_tags_of_the_class_count() -> None:
    fast = a_disk("a", tags=frozenset({"ssd", "fast"}))
    assert placed([fast], GIB, diskSelector="ssd, fast").least == 1
    assert placed([a_disk("b")], GIB, diskSelector="ssd").least == 0
    near = a_disk("c", node_tags=frozenset({"near"}))
    assert placed([near], GIB, nodeSelector="near").least == 1
    assert placed([fast], GIB, nodeSelector="near").least == 0


def test_each_data_engine_has_its_own_disks() -> None:
    block = a_disk(is_block=True)
    assert placed([block], GIB, dataEngine="v2").least == 1
    assert placed([block], GIB).least == 0


def test_without_disks_nothing_has_a_place() -> None:
    found = placed([], GIB)
    assert (found.least, found.largest, len(found.homeless)) == (0, 0, 1)
