"""The check is killed at every single request, before or after it: the end is the same."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import pytest

from steps.model.booting import BootResult
from steps.model.kinds import DATA_VOLUME, MACHINE
from tests.unit.steps.targets.boot.guests import BOOTS, IN_SHELL, WITH_AGENT, Behaviour
from tests.unit.steps.targets.boot.place import VM, Place
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.steps.targets.harvester.test_kill import plain

CASES: Final[dict[str, Mapping[str, Behaviour]]] = {
    "boots": {"virtio": WITH_AGENT},
    "falls back": {"virtio": IN_SHELL, "sata": BOOTS},
    "does not boot": {"virtio": IN_SHELL, "sata": IN_SHELL},
}
End = dict[str, Any]


def place_of(case: str) -> Place:
    place = Place(CASES[case])
    place.start()
    return place


def carry_out(place: Place) -> tuple[BootResult, int]:
    died = 0
    for _ in range(4):
        try:
            return place.check(), died
        except KilledError:
            died += 1
            place.cluster.fault = None
    raise AssertionError("the check did not end in four attempts")


def the_end(place: Place, result: BootResult) -> End:
    objects = [place.vm, *place.cluster.all(DATA_VOLUME, "default")]
    return {
        "verdict": (result.verdict, result.fell_back),
        "objects": {f"{one['kind']} {one['metadata']['name']}": plain(one) for one in objects},
    }


@functools.cache
def undisturbed(case: str) -> tuple[End, int, int]:
    """The end, and the numbers of the first and of the last request of the check."""
    place = place_of(case)
    first = len(place.cluster.calls)
    result, died = carry_out(place)
    assert died == 0
    return the_end(place, result), first, len(place.cluster.calls)


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("case", CASES)
def test_a_kill_at_every_request_has_the_same_end(case: str, *, answer_only: bool) -> None:
    end, first, last = undisturbed(case)
    assert last - first > 10
    for at in range(first, last):
        place = place_of(case)
        place.cluster.fault = Fault(at, answer_only=answer_only)
        result, died = carry_out(place)
        where = f"killed at request {at - first}: {place.cluster.calls[at]}"
        assert died == 1, where
        assert the_end(place, result) == end, where
        assert not [call for call in place.cluster.calls if call.verb == "delete"], where
        starts = place.guests.starts
        assert starts[0] == (VM, "virtio")
        assert set(starts[1:]) <= {(VM, "sata")}, f"{where}: SATA once, never back"
        assert place.cluster.peek(MACHINE, VM, "default")
