from __future__ import annotations

import csv
import io

from controller.assess.readiness import Assessed
from controller.assess.spreadsheet import to_csv
from steps.model.concerns import block
from steps.model.machine import Tag
from tests.unit.builders import GIB, a_disk, a_machine, a_nic

WEB = Assessed(
    a_machine(
        path="/DC0/vm/web01",
        os="debian12",
        guest_id="debian12_64Guest",
        tags=(Tag(name="env", value="prod"), Tag(name="b")),
        disks=(a_disk(0, storage="ds1", allocated=5), a_disk(1, storage="ds1", allocated=6)),
        nics=(a_nic(0), a_nic(1), a_nic(2, network="a,b")),
    ),
    blockers=(block("x", "it has a", "remove it"),),
)


def test_each_vm_is_a_row_with_plain_numbers() -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv([WEB])))
    assert row == {
        "path": "/DC0/vm/web01",
        "name": "web01",
        "id": "vm-42",
        "readiness": "blocked",
        "power": "off",
        "vcpus": "2",
        "memory_mib": "2048",
        "disks": "2",
        "capacity_bytes": str(2 * GIB),
        "used_bytes": "11",
        "read_bytes": "11",
        "firmware": "bios",
        "os": "debian12",
        "guest": "debian12_64Guest",
        "networks": "VM Network; a,b",
        "datastores": "ds1",
        "tags": "env:prod; b",
        "blockers": "it has a; remove it",
        "warnings": "",
    }


def test_unknown_use_is_empty_and_not_zero() -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv([Assessed(a_machine())])))
    assert (row["used_bytes"], row["read_bytes"]) == ("", str(GIB))


def test_lines_end_as_the_format_says() -> None:
    assert to_csv([WEB]).count("\r\n") == 2
    assert to_csv([]).splitlines()[0].startswith("path,name,id,")
