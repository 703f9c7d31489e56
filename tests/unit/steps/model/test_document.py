from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically
from steps.model.machine import Machine
from steps.model.plan import Plan
from tests.unit.builders import a_disk, a_machine, a_plan
from tests.unit.steps.model.test_mapping import machines


@given(machines())
def test_a_machine_is_unchanged_after_writing_and_reading(machine: Machine) -> None:
    assert Machine.model_validate_json(machine.to_json()) == machine


def test_a_plan_is_unchanged_after_saving_and_loading(tmp_path: Path) -> None:
    a_plan(vm_name="db").save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == a_plan(vm_name="db")
    assert '"insecureSkipTLSVerify": false' in (tmp_path / "plan.json").read_text()


def refusal(path: Path) -> StepError:
    with pytest.raises(StepError) as caught:
        Machine.load(path)
    assert caught.value.code is Exit.INVALID
    return caught.value


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    assert "machine.json is missing" in str(refusal(tmp_path / "machine.json"))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('"vcpus": 2', '"vcpus": 0', ),
        ('"name": "web01"', '"name": 7'),
        ('"name": "web01"', '"name": "web01", "colour": "red"'),
        ('"version": "1"', '"version": "2"'),
        ('"id": "disk-0"', '"id": "../disk-0"'),
    ],
)  # fmt: skip
def test_a_wrong_document_is_refused(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(a_machine().to_json().replace(text, field))
    assert "machine.json is not valid" in str(refusal(path))


def test_the_wrong_field_is_named_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(a_machine(disks=(a_disk(0), a_disk(1))).to_json().replace('"id": "disk-1"', '"id": "x"'))
    assert "disks.1.id" in str(refusal(path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_an_unreadable_document_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes(content)
    assert len(str(refusal(path)).splitlines()) == 1


def test_a_disk_is_found_by_its_id() -> None:
    assert a_machine(disks=(a_disk(0), a_disk(1))).disk("disk-1").id == "disk-1"
    with pytest.raises(KeyError):
        a_machine().disk("disk-9")


def test_a_file_is_replaced_atomically_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, "old")
    write_atomically(path, "new", mode=0o600)
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
