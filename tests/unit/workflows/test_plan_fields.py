"""The additional fields of an import in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.plan import Bus, CpuTopology, DiskFormat, DiskRule, Gate, Plan, TargetKind
from tests.unit.builders import a_source, an_import
from workflows.plan import Invalid, plan
from workflows.quantity import mebibytes
from workflows.settings import Settings


def planned(**spec: Any) -> Plan:
    return plan(an_import(**spec), a_source(), Settings())


def test_without_the_fields_the_plan_follows_the_source() -> None:
    made = planned()
    assert (made.target.vcpus, made.target.memory_mib, made.target.disks) == (None, None, ())
    assert made.approvals == ()


def test_cpu_memory_disks_and_approvals_reach_the_plan() -> None:
    rows = [
        {"sourceDisk": "disk-0", "storageClass": "fast", "busType": "sata"},
        {"sourceDisk": "Hard disk 2"},
    ]
    made = planned(cpus=4, memory="1.5Gi", diskMapping=rows, approvals=["poweroff", "start"])
    assert (made.target.vcpus, made.target.memory_mib) == (4, 1536)
    assert made.target.disks == (
        DiskRule(disk="disk-0", storage_class="fast", bus=Bus.SATA),
        DiskRule(disk="Hard disk 2"),
    )
    assert made.approvals == (Gate.POWEROFF, Gate.START)


def test_kubevirt_gets_qcow2_and_the_sockets_of_the_source_whatever_is_set() -> None:
    settings = Settings(
        target=TargetKind.KUBEVIRT, format=DiskFormat.RAW, cpu_topology=CpuTopology.ONE_SOCKET
    )
    made = plan(an_import(target="kubevirt"), a_source(), settings)
    assert made.target.kind is TargetKind.KUBEVIRT
    assert (made.target.format, made.target.cpu_topology) == (DiskFormat.QCOW2, CpuTopology.SOURCE)


def test_null_means_the_default() -> None:
    made = planned(cpus=None, memory=None, diskMapping=None, approvals=None)
    assert made == planned()


def test_all_reasons_are_reported_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        planned(cpus=0, memory="4 GB", diskMapping=[{"sourceDisk": "disk-0", "busType": "ide"}, {}])
    assert [reason.partition(":")[0] for reason in caught.value.reasons] == [
        "spec.diskMapping",
        "a row of spec.diskMapping has no sourceDisk",
        "spec.cpus is 0",
        "spec.memory '4 GB' is not a whole number of MiB",
    ]


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("8Gi", 8192),
        ("512Mi", 512),
        ("1.5Gi", 1536),
        ("1048576", 1),
        ("1048576k", 1000),
        ("1024Ki", 1),
        ("1Ti", 1 << 20),
        ("0.5Mi", None),
        ("1000", None),
        ("4G", None),
        ("0Gi", None),
        ("-1Gi", None),
        ("4 Gi", None),
        ("4gb", None),
        ("", None),
    ],
)
def test_quantity_in_mebibytes(text: str, mib: int | None) -> None:
    assert mebibytes(text) == mib


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"diskMapping": [{"sourceDisk": "disk-0"}, {"sourceDisk": "disk-0", "busType": "scsi"}]},
            "spec.diskMapping has 2 rows for the disk 'disk-0'; keep one row",
        ),
        ({"approvals": ["start", "start"]}, "spec.approvals names start 2 times; write it once"),
        (
            {"networkMapping": [{"sourceNetwork": "a", "type": "ignored", "mac": "new"}]},
            "mac has no effect; remove it",
        ),
    ],
)
def test_a_duplicate_or_a_field_without_effect_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        planned(**spec)
    assert words in str(caught.value)


def test_a_local_import_may_ask_for_an_inspection() -> None:
    made = plan(an_import(guest={"inspect": True}), a_source(), Settings(mounts_claims=False))
    assert made.guest.inspect
    assert '"guest"' in made.to_json()


@pytest.mark.parametrize("guest", [None, {}, {"inspect": None}, {"inspect": False}])
def test_without_the_wish_the_request_is_the_same_as_ever(guest: Any) -> None:
    made = planned(guest=guest)
    assert made == planned()
    assert "guest" not in made.to_json()


def test_a_cluster_refuses_an_inspection_and_says_what_to_do() -> None:
    with pytest.raises(Invalid) as caught:
        planned(guest={"inspect": True})
    (reason,) = caught.value.reasons
    assert reason.startswith(
        "spec.guest.inspect is true, but in a cluster vmferry cannot look into disks yet"
    )
    assert "vmferry run" in reason
