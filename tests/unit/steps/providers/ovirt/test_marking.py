"""Marks a VM of the fake engine, and removes the mark."""

from __future__ import annotations

import re

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.source_mark import SourceMark
from steps.providers import connect
from tests.unit.steps.providers.ovirt.conftest import MakeAccess
from tests.unit.steps.providers.ovirt.documents import VM, nic
from tests.unit.steps.providers.ovirt.fake import Fake


@pytest.fixture
def machine(fake: Fake, access: MakeAccess) -> Machine:
    fake.vms[0]["status"] = "down"
    fake.vms[0]["nics"] = {"nic": [nic(), nic(id="n-2", name="nic2", linked=False)]}
    fake.lists["tags"] = [{"id": "t-1", "name": "moved"}, {"id": "t-2", "name": "other"}]
    with connect(access("preflight")) as source:
        return source.describe("web", None)


def test_the_vm_gets_an_existing_tag_once_and_loses_it(
    fake: Fake, access: MakeAccess, machine: Machine
) -> None:
    with connect(access("release-source")) as source:
        marker = source.marker(machine)
        for present, tags in ((True, ["moved"]), (False, [])):
            for _ in range(2):
                marker.set_tag("moved", present=present)
            assert (fake.tags, marker.has_tag("moved")) == (tags, present)
    assert (
        len([call for call in fake.asked if call.startswith(("POST /ovirt-engine/api/vms", "DELETE"))]) == 2
    )


def test_a_tag_that_does_not_exist_is_found_out_before_the_import(
    access: MakeAccess, machine: Machine
) -> None:
    with connect(access("preflight")) as source:
        marker = source.marker(machine)
        assert marker.lacks(SourceMark(tag="gone")) == ["there is no tag gone; tags: moved, other"]
        assert marker.lacks(SourceMark(tag="moved", name_suffix="-x", disconnect_nics=True)) == []
        with pytest.raises(StepError, match="cannot give the VM the tag gone"):
            marker.set_tag("gone", present=True)


@pytest.mark.parametrize(
    ("suffix", "words"), [(" (moved)", "space"), ("(moved)", r"'\('"), ("-verschoben+ä", "")]
)
def test_a_suffix_that_no_name_may_have_is_found_out_before_the_import(
    access: MakeAccess, machine: Machine, suffix: str, words: str
) -> None:
    with connect(access("preflight")) as source:
        found = source.marker(machine).lacks(SourceMark(name_suffix=suffix))
    assert [bool(re.search(f"names of VMs have no {words}", one)) for one in found] == [True] * bool(words)


def test_a_name_is_cut_to_what_the_engine_takes(access: MakeAccess, machine: Machine) -> None:
    """ENG ConfigValues.MaxVmNameLength is 64, although its table takes 255 characters."""
    with connect(access("preflight")) as source:
        longest = source.marker(machine).longest_name
    assert len(SourceMark(name_suffix="-imported").renamed("a" * 64, longest)) == 64


def test_the_vm_is_renamed_once(fake: Fake, access: MakeAccess, machine: Machine) -> None:
    with connect(access("release-source")) as source:
        for _ in range(2):
            source.marker(machine).rename("web", "web-imported")
        assert fake.vms[0]["name"] == "web-imported"
        with pytest.raises(StepError, match="its name is now web-imported") as caught:
            source.marker(machine).rename("db", "db-imported")
    assert caught.value.code is Exit.INVALID
    assert [call for call in fake.asked if call.startswith("PUT")] == [f"PUT /ovirt-engine/api/vms/{VM}"]


def test_only_nics_that_were_linked_are_changed(fake: Fake, access: MakeAccess, machine: Machine) -> None:
    def linked() -> list[object]:
        return [one.get("linked", True) for one in fake.vms[0]["nics"]["nic"]]

    assert linked() == [True, False]
    with connect(access("release-source")) as source:
        for _ in range(2):
            source.marker(machine).connect_nics(connected=False)
        assert linked() == [False, False]
        source.marker(machine).connect_nics(connected=True)
    assert linked() == [True, False]
    assert len([call for call in fake.asked if call.startswith("PUT")]) == 2
