"""The rows of oVirt and KubeVirt: their figures, their disks, and the programs that are measured."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import disks
from tests.bench.disks import PLACED, PLACED_SIZE, PLACES
from tests.bench.measure import Cost, Failed
from tests.bench.probes import compare, exporting
from tests.bench.programs import sdk_download
from tests.bench.rows import rows
from tests.bench.sources import KubeVirt, OVirt, Planned, Sources
from tests.real.ovirt.lab import Lab
from tests.unit.steps.providers.kubevirt.cluster import Cluster

COST = Cost(wall=1.0, cpu=1.0, memory=1024, written=100)
ROWS = [row for row in rows(100, 100) if row.group == "sources"]


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    lab = Lab(
        url="https://engine/api",
        ca=tmp_path / "ca",
        control="",
        daemon=1,
        pid=1,
        username="admin@internal",
        password="a-password",  # noqa: S106 - of a test
    )
    ovirt = OVirt(lab, Planned(tmp_path / "ovirt"), tmp_path / "disk.raw")
    url = "https://localhost/volume/disk.img"
    return Sources(ovirt, KubeVirt(Cluster(), Planned(tmp_path / "kubevirt"), tmp_path / "disk.img", url))


def test_bytes_sent_are_compared_with_the_bytes_in_use_and_with_the_disk() -> None:
    used, whole = (row for row in ROWS if not row.timed)
    as_used = {"oVirt": replace(COST, carried=PLACED), "oVirt, SDK": replace(COST, carried=2 * PLACED)}
    assert used.common is not None
    assert (used.value(as_used), used.common(as_used)) == (1, 2)
    assert whole.value(as_used) == pytest.approx(5, abs=0.1)
    assert {row.verdict(as_used) for row in (used, whole)} == {"met"}
    as_whole = as_used | {"oVirt": replace(COST, carried=PLACED_SIZE, foreign=2)}
    assert whole.value(as_whole) == 100
    assert {row.verdict(as_whole) for row in (used, whole)} == {"missed"}  # noise changes no count of bytes


def test_every_row_gets_its_costs_from_a_probe(sources: Sources, tmp_path: Path) -> None:
    measured = {name for probe in exporting(sources, tmp_path / "ca") for name in probe.names}
    assert measured == {name for row in ROWS for name in row.needs}


def test_the_password_is_not_on_the_command_line(sources: Sources) -> None:
    (*_, script) = sdk_download(sources.ovirt)
    assert "a-password" not in script
    assert f"<{sources.ovirt.planned.credentials}/password" in script


def test_a_placed_disk_has_data_in_its_places_only(tmp_path: Path) -> None:
    made = disks.make_placed(tmp_path)
    places, at = [], 0
    with made.open("rb") as file:
        while at < PLACED_SIZE:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: no data follows
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            places.append(at - start)
    assert made.stat().st_size == PLACED_SIZE
    assert places == [PLACED // PLACES] * PLACES


def test_the_gzip_of_a_volume_is_its_disk(tmp_path: Path) -> None:
    made = disks.make_volume(tmp_path, 4, 38)
    assert gzip.decompress(made.with_name("disk.img.gz").read_bytes()) == made.read_bytes()


def test_a_disk_that_landed_wrong_is_not_measured(tmp_path: Path) -> None:
    wanted, same, other = (tmp_path / name for name in ("wanted.raw", "same.raw", "other.raw"))
    for file, content in ((wanted, b"a"), (same, b"a"), (other, b"b")):
        file.write_bytes(content * 4096)
    compare(same, wanted)
    with pytest.raises(Failed, match=r"other\.raw is not the disk"):
        compare(other, wanted)
