from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from controller.assess.readiness import Assessed
from controller.cli.tables import document
from controller.cli.tables import render as render_vms
from steps.model.yaml import to_yaml
from steps.providers import Inventory
from tests.unit.builders import a_machine, a_nic


@pytest.mark.parametrize(
    "name", ["null", "1e3", "0x10", "a: b", "- x", "#", "'", '"', "é\n", "2026-01-01", "x" * 300]
)
def test_any_name_is_unchanged_in_yaml(name: str) -> None:
    assert YAML(typ="safe").load(to_yaml({"name": name})) == {"name": name}


def an_inventory(**machine: Any) -> Inventory:
    machines = (a_machine(**machine), a_machine(name="empty", disks=()))
    return Inventory(machines=machines, networks=("VM Network",), folders=("prod",))


def render(inventory: Inventory) -> str:
    return render_vms(inventory, tuple(map(Assessed, inventory.machines)), is_whole=True)


def test_the_tables_show_the_inventory() -> None:
    shown = render(an_inventory(path="/DC0/vm/web01", nics=(a_nic(0), a_nic(1))))
    assert "/DC0/vm/web01  vm-42  off    2     2 GiB   1 GiB  VM Network" in shown
    assert "none" in shown
    assert "prod" in shown


@pytest.mark.parametrize("path", ["/DC0/vm/web [old]", "/DC0/vm/web [/old]"])
def test_brackets_in_a_name_are_shown(path: str) -> None:
    assert path in render(an_inventory(path=path))


def test_the_document_contains_everything() -> None:
    found = document(an_inventory())
    assert [machine["sourceId"] for machine in found["machines"]] == ["vm-42", "vm-42"]
    assert (found["networks"], found["folders"]) == (["VM Network"], ["prod"])


def test_columns_stay_in_line_for_wide_and_long_names() -> None:
    lines = render(an_inventory(name="x", path="/DC0/vm/" + "東" * 20)).splitlines()
    assert lines[1].index("vm-42") + 20 == lines[0].index("id")
    assert lines[2].index("vm-42") == lines[0].index("id")
    assert all(line == line.rstrip() for line in lines)


def test_an_empty_inventory_has_a_header_and_sums() -> None:
    shown = render_vms(Inventory(machines=(), networks=(), folders=()), (), is_whole=True)
    assert shown.splitlines()[0].startswith("VM")
    assert shown.splitlines()[-1].startswith("0 VMs")
