from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from controller.cli import dryrun
from controller.cli.inventory import with_manifest_value
from controller.generate.mappingfile import NAME
from controller.manifests.read import read
from steps.model.contract import Exit
from steps.model.machine import Machine
from steps.providers import Access, Provider
from tests.unit.builders import a_machine, a_nic
from tests.unit.controller.cli.conftest import Vmferry, refused
from tests.unit.controller.manifests.test_read import SECRET, SOURCE
from tests.unit.providers import FakeProvider


class AtTheTop(FakeProvider):
    """Its VM is in the datacenter's top folder."""

    def describe(self, vm: str, folder: str | None) -> Machine:
        return super().describe(vm, None if folder == "/" else folder)


Look = Callable[[Machine], None]


@pytest.fixture
def source_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """Manifests of a source with one VM, in memory."""
    secret = SECRET.replace("password: p", "password: hunter2")
    (tmp_path / "vm.yaml").write_text(f"{secret}---\n{SOURCE}")

    def use(machine: Machine) -> None:
        @contextmanager
        def connect(_: Access) -> Iterator[Provider]:
            yield AtTheTop(machine)

        monkeypatch.setattr(dryrun, "connect", connect)

    use(a_machine(path="/DC0/vm/web01", nics=(a_nic(0),)))
    return use


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--all", "--manifest"], ["--all", "--manifest="]),
        (["--manifest", "--all"], ["--manifest=", "--all"]),
        (["--manifest", "-f", "x"], ["--manifest=", "-f", "x"]),
        (["--manifest", "web"], ["--manifest", "web"]),
        (["--manifest=web", "-o", "json"], ["--manifest=web", "-o", "json"]),
        ([], []),
    ],
)
def test_the_name_after_the_manifest_option_is_optional(words: list[str], wanted: list[str]) -> None:
    assert with_manifest_value(words) == wanted


def test_the_manifest_of_one_vm_goes_to_standard_output(
    vmferry: Vmferry, source_has: Look, tmp_path: Path
) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", "--manifest", "web01")
    assert (ended.code, ended.err) == (Exit.DONE, "")
    (tmp_path / "web.yaml").write_text(ended.out)
    (made,) = read(["web.yaml"]).imports.values()
    assert (made.spec.virtual_machine_name, made.spec.folder) == ("web01", "/")
    assert made.spec.network_mapping[0].destination_network == "default/vlan1"
    assert ended.out.startswith("# /DC0/vm/web01 (vm-42): 2 vCPU")


MAPPING = """\
apiVersion: migration.harvesterhci.io/v1beta1
kind: ImportMapping
metadata: {name: dc1}
spec:
  networks:
  - {source: {name: VM Network}, destinationNetwork: x/y}
"""


def test_a_manifest_follows_the_mapping(vmferry: Vmferry, source_has: Look, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(MAPPING)
    ended = vmferry("inventory", "-f", "vm.yaml", "--manifest", "web01", "--mapping", "map")
    rows = YAML(typ="safe").load(ended.out)["spec"]["networkMapping"]
    assert rows == [{"sourceNetwork": "VM Network", "destinationNetwork": "x/y"}]


def test_an_unknown_vm_is_refused(vmferry: Vmferry, source_has: Look) -> None:
    refused(vmferry("inventory", "-f", "vm.yaml", "--manifest", "no"), Exit.NOT_FOUND, "no VM no")


@pytest.mark.parametrize(
    ("words", "folder"), [(["--all", "--manifest"], "imports"), (["--all", "--into", "here"], "here")]
)
def test_all_manifests_are_written_to_a_folder(
    vmferry: Vmferry, source_has: Look, tmp_path: Path, words: list[str], folder: str
) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", *words)
    assert (ended.code, ended.out) == (Exit.DONE, "")
    files = sorted(path.name for path in (tmp_path / folder).iterdir())
    assert files == [NAME, "vc.vmwaresource.yaml", "web01.yaml"]
    assert ended.err.splitlines()[-1] == f"{folder}: 3 written"
    assert "warning: no destination for VM Network" in ended.err
    assert "hunter2" not in "".join(path.read_text() for path in (tmp_path / folder).iterdir())


def test_all_manifests_are_listed_as_json(vmferry: Vmferry, source_has: Look) -> None:
    ended = vmferry(
        "inventory", "-f", "vm.yaml", "--all", "--manifest", "-o", "json", "--network", "default/v"
    )
    report = json.loads(ended.out)
    assert [file["result"] for file in report["files"]] == ["written"] * 3
    assert report["unmapped"] == []


def test_the_folder_can_be_planned(vmferry: Vmferry, source_has: Look) -> None:
    assert vmferry("inventory", "-f", "vm.yaml", "--all", "--manifest").code == Exit.DONE
    ended = vmferry("plan", "-f", "vm.yaml", "-f", "imports", "-o", "json")
    (found,) = json.loads(ended.out)
    assert (found["import"], found["possible"]) == ("web01", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--manifest"], "give the name of a VM, or use --all"),
        (["--all"], "use --all --manifest"),
        (["--all", "--manifest", "web01"], "use --all --manifest, without a name"),
        (["--into", "x"], "they need --all"),
        (["--manifest", "web01", "--force"], "they need --all"),
        (["--all", "--manifest", "--mapping", "none"], "file none does not exist"),
    ],
)
def test_contradictory_options_are_refused(
    vmferry: Vmferry, source_has: Look, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", *words)
    assert ended.code == 2
    assert message in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["vm.yaml"]


def test_a_plain_inventory_is_a_table_or_a_document(vmferry: Vmferry, source_has: Look) -> None:
    assert "/DC0/vm/web01" in vmferry("inventory", "-f", "vm.yaml").out
    found = json.loads(vmferry("inventory", "-f", "vm.yaml", "-o", "json").out)
    assert [machine["name"] for machine in found["machines"]] == ["web01"]
