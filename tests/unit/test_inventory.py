from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from controller.inventory import document, manifest, render
from controller.manifests import read
from steps.plan import SourcePlan
from steps.providers import Inventory
from steps.yamltext import to_yaml
from tests.unit.builders import a_machine, a_nic, a_plan
from tests.unit.test_view import text


def source() -> SourcePlan:
    return a_plan().source


def folder_of(path: str) -> str:
    found: str = manifest(a_machine(path=path), source(), "default/vlan1")["spec"]["folder"]
    return found


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/DC0/vm/web01", "/"), ("/DC0/vm/prod/web01", "prod"), ("/DC0/vm/prod/vms/web01", "prod/vms")],
)
def test_the_folder_of_a_machine_is_below_the_datacenters(path: str, wanted: str) -> None:
    assert folder_of(path) == wanted


@pytest.mark.parametrize("path", ["/vmware/vm/prod/web01", "/vms/DC0/vm/prod/web01"])
def test_a_datacenter_may_be_called_vm_something(path: str) -> None:
    assert folder_of(path) == "prod"


def test_the_manifest_of_a_machine_can_be_run(tmp_path: Any) -> None:
    machine = a_machine(name="Web 01", path="/DC0/vm/Web 01", nics=(a_nic(0), a_nic(1), a_nic(2, network="")))
    (tmp_path / "web.yaml").write_text(to_yaml(manifest(machine, source(), "default/vlan1")))
    (made,) = read([str(tmp_path / "web.yaml")]).imports.values()
    assert (made.metadata.name, made.spec.virtual_machine_name) == ("web-01", "Web 01")
    assert [row.source_network for row in made.spec.network_mapping] == ["VM Network"]
    assert made.spec.source_cluster.name == "vc"


@pytest.mark.parametrize(
    "name", ["null", "1e3", "0x10", "a: b", "- x", "#", "'", '"', "é\n", "2026-01-01", "x" * 300]
)
def test_any_name_survives_the_yaml(name: str) -> None:
    assert YAML(typ="safe").load(to_yaml({"name": name})) == {"name": name}


def an_inventory(**machine: Any) -> Inventory:
    machines = (a_machine(**machine), a_machine(name="empty", disks=()))
    return Inventory(machines=machines, networks=("VM Network",), folders=("prod",))


def test_the_tables_say_what_is_there() -> None:
    shown = text(render(an_inventory(path="/DC0/vm/web01", nics=(a_nic(0), a_nic(1)))))
    assert "/DC0/vm/web01  vm-42  off    2     2 GiB   1 GiB  VM Network" in shown
    assert "none" in shown
    assert "prod" in shown


@pytest.mark.parametrize("path", ["/DC0/vm/web [old]", "/DC0/vm/web [/old]"])
def test_brackets_in_a_name_are_shown(path: str) -> None:
    assert path in text(render(an_inventory(path=path)))


def test_a_program_gets_everything() -> None:
    found = document(an_inventory())
    assert [machine["sourceId"] for machine in found["machines"]] == ["vm-42", "vm-42"]
    assert (found["networks"], found["folders"]) == (["VM Network"], ["prod"])
