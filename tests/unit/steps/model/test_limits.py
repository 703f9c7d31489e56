"""Limits of the installation on one import, and the quantities in which they are written."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from steps.model.concerns import LONGEST_TEXT, MOST_CONCERNS, block, bounded, log, warn, with_short_notes
from steps.model.contract import Exit, StepError
from steps.model.limits import exceeded
from steps.model.machine import MOST_DEVICES, Severity
from steps.model.plan import ImportLimits
from steps.model.quantity import shown, to_bytes
from steps.preflight import examine, refuse
from tests.unit.builders import GIB, a_disk, a_machine, a_plan
from tests.unit.providers import FakeProvider

TIB = 1 << 40


def limited(**limits: Any) -> ImportLimits:
    return ImportLimits.model_validate(limits)


def codes(machine: Any, limits: ImportLimits) -> list[str]:
    return [concern.code for concern in exceeded(machine, limits)]


@pytest.mark.parametrize(("count", "found"), [(64, []), (65, ["disks-limit"])])
def test_the_number_of_disks(count: int, found: list[str]) -> None:
    machine = a_machine(disks=tuple(map(a_disk, range(count))))
    assert codes(machine, limited(maxDisks=64)) == found
    assert codes(machine, ImportLimits()) == []


def test_more_disks_than_kubevirt_allows_are_reported_once() -> None:
    machine = a_machine(disks=tuple(map(a_disk, range(MOST_DEVICES + 1))))
    assert codes(machine, limited(maxDisks=64)) == []
    assert [one.code for one in examine(FakeProvider(machine), a_plan()).concerns].count(
        "too-many-devices"
    ) == 1


@pytest.mark.parametrize(("capacity", "found"), [(64 * TIB, []), (64 * TIB + 1, ["capacity-limit"])])
def test_the_size_of_a_disk(capacity: int, found: list[str]) -> None:
    machine = a_machine(disks=(a_disk(0, capacity=capacity), a_disk(1)))
    assert codes(machine, limited(maxDiskCapacity="64Ti")) == found


def test_a_vm_beyond_the_limits_is_refused_before_it_is_shut_down() -> None:
    limits = limited(maxDisks=1, maxDiskCapacity="1Gi")
    plan = a_plan().model_copy(update={"limits": limits})
    machine = examine(FakeProvider(a_machine(disks=(a_disk(0), a_disk(1, capacity=2 * GIB)))), plan)
    with pytest.raises(StepError) as caught:
        refuse(plan, machine)
    assert caught.value.code is Exit.UNSUPPORTED
    for words in (
        "2 disks, and this installation imports VMs with at most 1",
        "limits.maxDisks",
        "disk-1 has 2Gi",
        "limits.maxDiskCapacity of the chart",
        "administrator",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1073741824", GIB),
        ("1Gi", GIB),
        ("1.5Gi", 3 * GIB // 2),
        ("64Ti", 64 * TIB),
        ("2T", 2 * 10**12),
        ("1e3", 1000),
        ("0.5", 1),
        ("1Ei", 1 << 60),
    ],
)
def test_quantities(text: str, count: int) -> None:
    assert to_bytes(text) == count


@pytest.mark.parametrize("text", ["", "Gi", "-1", "1 Gi", "1gi", "1KB", "1e999", "x" * 99, "\u0661"])
def test_anything_else_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity of bytes"):
        to_bytes(text)


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (1023, "1023"), (1024, "1Ki"), (100 * TIB, "100Ti")])
def test_bytes_for_a_person(count: int, text: str) -> None:
    assert shown(count) == text


@pytest.mark.parametrize("value", ["x", -1, 0, "0"])
def test_a_limit_that_allows_nothing_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        limited(maxDiskCapacity=value)


def test_an_empty_limit_allows_any_amount() -> None:
    assert limited(maxScratchPerNamespace="").max_scratch_per_namespace is None


# --- concerns and notes


def test_few_concerns_stay_as_they_are() -> None:
    concerns = [log("a", "a"), block("b", "b"), warn("c", "c")]
    assert bounded(concerns) == tuple(concerns)


def test_of_many_concerns_those_that_block_come_first() -> None:
    many = [log("a", str(number)) for number in range(MOST_CONCERNS)]
    made = bounded([*many, warn("w", "w"), block("b", "b")])
    assert len(made) == MOST_CONCERNS + 1
    assert [one.code for one in made[:3]] == ["b", "w", "a"]
    assert (made[-1].code, made[-1].message) == ("more-concerns", "there are 2 more concerns")
    assert made[-1].severity is Severity.WARN


def test_a_long_text_is_cut() -> None:
    (made,) = bounded([block("b", "m" * 5000, "r" * 5000)])
    assert (len(made.message), len(made.remedy)) == (LONGEST_TEXT + 1, LONGEST_TEXT + 1)


def test_notes_that_fit_stay_unchanged() -> None:
    machine = a_machine(notes="n" * 65_536)
    assert with_short_notes(machine) is machine
