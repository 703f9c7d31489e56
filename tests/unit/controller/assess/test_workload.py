from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.assess import rates, workload
from controller.assess.workload import Amount, amount
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk
from tests.unit.builders import GIB, a_disk, a_machine
from workflows.status.nodes import Leaf, Phase

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("disks", "used", "wanted"),
    [
        ((a_disk(allocated=5), a_disk(1, allocated=7)), None, Amount(12, is_measured=True)),
        ((a_disk(allocated=2 * GIB),), None, Amount(GIB, is_measured=True)),
        ((a_disk(), a_disk(1)), None, Amount(2 * GIB, is_measured=False)),
        ((a_disk(), a_disk(1)), 3 * GIB, Amount(2 * GIB, is_measured=True)),
        ((a_disk(), a_disk(1, allocated=5)), 9, Amount(9, is_measured=True)),
        ((a_disk(), a_disk(1, blank=True)), None, Amount(GIB, is_measured=False)),
        ((a_disk(0, blank=True),), None, Amount(0, is_measured=True)),
        ((), None, Amount(0, is_measured=True)),
    ],
)
def test_bytes_to_read(disks: tuple[Disk, ...], used: int | None, wanted: Amount) -> None:
    assert amount(a_machine(disks=disks, storage_used=used)) == wanted


def test_hours_follow_the_formula() -> None:
    rate = workload.given(100)
    assert rate.hours(100 * 3600 << 20) == 1
    assert (str(rate), rate.origin) == ("100 MiB/s", "given with --rate")
    assert "assumed" in workload.ASSUMED.origin


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (45, "45 s"), (90, "2 min"), (5400, "1.5 h"), (3600 * 100, "4.2 days")]
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert workload.duration(seconds / 3600) == text


def an_export(start: int, end: int, done: int = GIB, **more: Any) -> Leaf:
    given: dict[str, Any] = {
        "stage": "export",
        "disk": "disk-0",
        "phase": Phase.SUCCEEDED,
        "attempts": 1,
        "message": "",
        "exit_code": 0,
        "done": done,
        "total": done,
        "started": NOON + timedelta(seconds=start),
        "finished": NOON + timedelta(seconds=end),
    }
    return Leaf(**{**given, **more})


def test_exports_that_ran_at_the_same_time_share_the_seconds() -> None:
    found = rates.rate_of([an_export(0, 10), an_export(5, 15), an_export(100, 105)], "DIR")
    assert found.bytes_per_second == 3 * GIB / 20
    assert found.origin == "measured: 3 GiB of 3 disks in 20 s, by the imports in DIR"


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [an_export(0, 3)],
        [an_export(0, 60, phase=Phase.FAILED)],
        [an_export(0, 60, attempts=2)],
        [an_export(0, 60, stage="image")],
        [an_export(0, 60, done=0)],
        [an_export(0, 60, finished=None)],
    ],
)
def test_what_cannot_be_measured_is_refused(stages: list[Leaf]) -> None:
    with pytest.raises(StepError, match="no rate can be measured in DIR") as caught:
        rates.rate_of(stages, "DIR")
    assert caught.value.code is Exit.INVALID
    assert "use --rate" in str(caught.value)
