from __future__ import annotations

from controller.assess.readiness import Assessed, Readiness
from controller.assess.totals import document, findings, totals
from controller.assess.workload import given
from steps.model.concerns import block, warn
from tests.unit.builders import GIB, a_disk, a_machine

FOUND = (
    Assessed(a_machine(disks=(a_disk(allocated=GIB // 2),))),
    Assessed(
        a_machine(name="db", disks=(a_disk(), a_disk(1))),
        blockers=(block("b", "first", "do"), block("c", "x")),
    ),
    Assessed(
        a_machine(name="x"), blockers=(block("b", "second"), block("b", "third")), warnings=(warn("w", "y"),)
    ),
)


def test_the_sums_are_those_of_the_vms() -> None:
    sums = totals(FOUND)
    assert (sums.vms, sums.vcpus, sums.memory, sums.disks) == (3, 6, 6 * GIB, 4)
    assert (sums.capacity, sums.to_read, sums.estimated) == (4 * GIB, 7 * GIB // 2, 2)
    assert sums.by_readiness == {Readiness.READY: 1, Readiness.WARNINGS: 0, Readiness.BLOCKED: 2}
    assert sums.line() == (
        "3 VMs (1 ready, 2 blocked), 6 vCPUs, 6 GiB memory, 4 disks of 4 GiB, 3.5 GiB to read"
    )


def test_no_vm_has_sums_too() -> None:
    assert totals(()).line() == "0 VMs, 0 vCPUs, 0 B memory, 0 disks of 0 B, 0 B to read"


def test_findings_count_vms_and_the_most_frequent_is_first() -> None:
    found = findings(FOUND, lambda one: one.blockers)
    assert [(one.code, one.vms, one.example, one.remedy) for one in found] == [
        ("b", 2, "first", "do"),
        ("c", 1, "x", ""),
    ]


def test_the_document_has_the_sums_the_rate_and_a_row_for_each_vm() -> None:
    found = document(FOUND, given(1))
    assert found["totals"]["readiness"] == {"ready": 1, "warnings": 0, "blocked": 2}
    assert found["totals"]["hours"] == round(3.5 * 1024 / 3600, 3)
    assert found["rate"] == {
        "bytesPerSecond": 1 << 20,
        "origin": "given with --rate",
        "formula": "hours = bytes to read / rate / 3600",
    }
    assert [(one["path"], one["readiness"], one["readBytesMeasured"]) for one in found["assessments"]] == [
        ("web01", "ready", True),
        ("db", "blocked", False),
        ("x", "blocked", False),
    ]
    assert found["assessments"][1]["blockers"][0] == {"code": "b", "message": "first", "remedy": "do"}
