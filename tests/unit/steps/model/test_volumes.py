"""Names of volumes: the names that people expect, and always valid in Kubernetes."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.contract import Exit, StepError
from steps.model.naming import DNS_LABEL
from steps.model.volumes import LONGEST, Volumes, volume_name, volume_names, with_digest

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
DISK = st.integers(0, 999).map(lambda number: f"disk-{number}")


def test_a_volume_is_named_after_its_vm_and_disk() -> None:
    assert volume_name("web01", "disk-0") == "web01-disk-0"
    assert volume_name("a" * (LONGEST - 7), "disk-0") == f"{'a' * (LONGEST - 7)}-disk-0"


@given(LABEL, DISK, LABEL)
def test_every_name_is_valid_and_names_the_disk(vm: str, disk: str, run: str) -> None:
    tried = list(islice(volume_names(vm, disk, run), 5))
    assert len(set(tried)) == 5
    assert tried[0].endswith(disk)
    assert all(DNS_LABEL.fullmatch(name) for name in (*tried, with_digest(tried[0], "0123456789abcdef")))


@given(st.integers(57, 63))
def test_long_names_that_differ_at_the_end_stay_different(length: int) -> None:
    one, other = (f"{'a' * (length - 1)}{end}" for end in "xy")
    assert volume_name(one, "disk-0") != volume_name(other, "disk-0")


def test_the_hash_differs_by_run_and_disk() -> None:
    second = [
        next(islice(volume_names("web", disk, run), 1, None))
        for run in ("vmi-web-1-g1", "vmi-web-1-g2")
        for disk in ("disk-0", "disk-1")
    ]
    assert len(set(second)) == 4


@pytest.mark.parametrize(
    "names", [{"disk-0": "../etc"}, {"disk-0": "Web"}, {"disk-0": "a" * 64}, {"disk": "web-disk-0"}]
)
def test_an_invalid_name_is_refused(names: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "volumes.json"
    path.write_text(json.dumps({"vm": "web", "names": names}))
    with pytest.raises(StepError, match=r"volumes\.json is not valid") as caught:
        Volumes.load(path)
    assert caught.value.code is Exit.INVALID
