"""Inventory paths as names of VMs."""

from __future__ import annotations

import pytest

from steps.model import inventory_path
from steps.model.inventory_path import of_import, split
from steps.model.sources import SourceKind


@pytest.mark.parametrize(
    ("path", "name", "folder"),
    [
        ("/DC0/vm/deep", "deep", "/DC0/vm"),
        ("/DC0/vm/Rack1/deep", "deep", "/DC0/vm/Rack1"),
        (" /emea/DC1/vm/a/b/with%2fslash/ ", "with%2fslash", "/emea/DC1/vm/a/b"),
        ("/DC0/vm/vm/vm", "vm", "/DC0/vm/vm"),
    ],
)
def test_a_path_becomes_a_name_and_a_folder(path: str, name: str, folder: str) -> None:
    assert split(path, None) == (name, folder)


@pytest.mark.parametrize("vm", ["deep", "with/slash", "/slash", "vm-7", "/DC0/vm", "/vm/a", "DC0/vm/a", ""])
def test_any_other_name_keeps_its_folder(vm: str) -> None:
    assert split(vm, "prod") == (vm, "prod")


@pytest.mark.parametrize("folder", ["Rack1/a", "/Rack1/a/", "/DC0/vm/Rack1/a", ""])
def test_the_same_folder_may_stand_next_to_the_path(folder: str) -> None:
    assert split("/DC0/vm/Rack1/a/deep", folder) == ("deep", "/DC0/vm/Rack1/a")


@pytest.mark.parametrize("folder", ["Rack2", "a", "/DC1/vm/Rack1/a", "/"])
def test_another_folder_contradicts_the_path(folder: str) -> None:
    with pytest.raises(ValueError, match="is not in the folder"):
        split("/DC0/vm/Rack1/a/deep", folder)


def test_only_vsphere_has_inventory_paths() -> None:
    path = "/DC0/vm/deep"
    assert of_import("vmwaresource", path, None) == ("deep", "/DC0/vm")
    assert of_import(SourceKind.OVA, path, None) == (path, None)
    assert of_import(SourceKind.OPENSTACK, path, None) == (path, None)


@pytest.mark.parametrize(
    ("path", "full"), [("/DC0/vm", True), ("/a/DC0/vm/b", True), ("vm/b", False), ("/vm", False)]
)
def test_a_full_path_begins_with_a_datacenter(path: str, full: bool) -> None:
    assert inventory_path.is_full(path) is full
