"""The command line with an ImportMapping: in the manifests, and as the file of `--mapping`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from controller.local.rundir import RunDir
from controller.manifests import environment
from controller.manifests.read import read
from controller.manifests.resolve import WITHOUT, jobs
from steps.model.contract import Exit
from steps.model.plan import Plan
from tests.unit.builders import a_disk, a_machine, a_nic
from tests.unit.controller.cli.conftest import Vmferry, refused
from tests.unit.controller.cli.test_inventory import Look, source_has
from tests.unit.controller.manifests.test_read import IMPORT, SECRET, SOURCE
from workflows.settings import Settings

__all__ = ["source_has"]

NAMED: Final = IMPORT + "  importMapping: {name: dc1}\n"


def a_mapping(*rows: str, name: str = "dc1", namespace: str = "default") -> str:
    """The YAML of a mapping with these rows for networks."""
    given = rows or ("{source: {name: VM Network}, destinationNetwork: vlan1}",)
    return (
        "apiVersion: migration.harvesterhci.io/v1beta1\nkind: ImportMapping\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  networks:\n"
        + "".join(f"  - {row}\n" for row in given)
    )


def document(*parts: str) -> str:
    return "---\n".join([SECRET, SOURCE, *parts])


def planned(tmp_path: Path, *parts: str) -> Plan:
    """The plan of the only import of one file."""
    path = tmp_path / "all.yaml"
    path.write_text(document(*parts))
    (job,) = jobs(read([str(path)]), environment.read({}), Settings())
    return job.plan


def test_an_import_of_one_file_names_a_mapping_of_that_file(tmp_path: Path) -> None:
    target = planned(tmp_path, a_mapping(), NAMED).target
    assert [(rule.source, rule.destination) for rule in target.networks] == [("VM Network", "default/vlan1")]
    assert target.mapping is not None
    assert target.mapping.title == "ImportMapping default/dc1"


def test_a_mapping_that_no_import_names_is_not_used(tmp_path: Path) -> None:
    assert planned(tmp_path, a_mapping(), IMPORT).target.mapping is None


def test_a_mapping_that_is_not_given_is_named(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(document(a_mapping(name="dc2"), NAMED))
    refused(
        vmferry("plan", "-f", "all.yaml"),
        Exit.INVALID,
        "VirtualMachineImport web: ImportMapping default/dc1 of spec.importMapping is not given (found: "
        "default/dc2); add it to the manifests",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            a_mapping("{source: {vlan: 12}, destinationNetwork: b}", "{source: {vlan: 12}, type: pod}"),
            "VirtualMachineImport web: ImportMapping default/dc1: spec.networks has 2 rows for vlan 12",
        ),
        (a_mapping("{source: {vlan: many}, type: pod}"), "all.yaml:16: spec.networks.0.source.vlan: "),
        (a_mapping("{source: {host: a}, type: pod}"), "all.yaml:16: spec.networks.0.source.host: unknown"),
        (a_mapping("{source: {name: a}, type: bridge}"), "all.yaml:16: spec.networks.0.type: "),
    ],
)
def test_a_wrong_row_is_one_line(vmferry: Vmferry, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "all.yaml").write_text(document(text, NAMED))
    refused(vmferry("plan", "-f", "all.yaml"), Exit.INVALID, words)


# --- the option


@pytest.fixture
def files(tmp_path: Path, source_has: Look) -> Path:
    """Manifests without a mapping, and a file with one; the VM has a NIC and a disk."""
    machine = a_machine(path="/DC0/vm/web01", nics=(a_nic(0, vlan=12),), disks=(a_disk(storage="ssd"),))
    source_has(machine)
    (tmp_path / "all.yaml").write_text(document(IMPORT))
    (tmp_path / "map.yaml").write_text(
        a_mapping("{source: {vlan: 12}, destinationNetwork: vlan12}", "{source: {name: DMZ}, type: pod}")
        + "  storage:\n  - {source: {name: ssd}, storageClass: fast}\n"
    )
    return tmp_path


def test_the_file_is_for_imports_that_name_no_mapping(vmferry: Vmferry, files: Path) -> None:
    ended = vmferry("plan", "-f", "all.yaml", "--mapping", "map.yaml", "-o", "json")
    assert ended.code == Exit.DONE, ended.err
    (shown,) = json.loads(ended.out)
    assert shown["rows"] == [
        {
            "device": "nic-0",
            "becomes": "default/vlan12",
            "by": "the row for VLAN 12",
            "document": "ImportMapping default/dc1",
        },
        {
            "device": "disk-0",
            "becomes": "storage class fast",
            "by": "the row for storage 'ssd'",
            "document": "ImportMapping default/dc1",
        },
    ]
    assert shown["target"]["interfaces"][0]["network"] == "default/vlan12"
    assert (
        "warning: ImportMapping default/dc1: nothing of these VMs fits the row for network 'DMZ'" in ended.err
    )


def test_the_table_shows_the_row_and_its_document(vmferry: Vmferry, files: Path) -> None:
    shown = vmferry("plan", "-f", "all.yaml", "--mapping", "map.yaml").out
    assert "row: nic-0: default/vlan12, by the row for VLAN 12 of ImportMapping default/dc1" in shown
    assert "row: " not in vmferry("plan", "-f", "all.yaml").out


def test_an_import_that_names_another_mapping_keeps_it(vmferry: Vmferry, files: Path) -> None:
    other = a_mapping("{source: {vlan: 12}, type: ignored}", name="own")
    (files / "all.yaml").write_text(document(other, IMPORT + "  importMapping: {name: own}\n"))
    ended = vmferry("plan", "-f", "all.yaml", "--mapping", "map.yaml", "-o", "json")
    assert [row["becomes"] for row in json.loads(ended.out)[0]["rows"]] == ["ignored"]


def test_an_import_may_name_the_mapping_of_the_file(vmferry: Vmferry, files: Path) -> None:
    (files / "all.yaml").write_text(document(NAMED))
    ended = vmferry("plan", "-f", "all.yaml", "--mapping", "map.yaml", "-o", "json")
    assert json.loads(ended.out)[0]["rows"][0]["document"] == "ImportMapping default/dc1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SECRET, "map.yaml: --mapping needs exactly one ImportMapping, found: none; write one"),
        (
            "---\n".join([a_mapping(), a_mapping(name="dc2")]),
            "map.yaml: --mapping needs exactly one ImportMapping, found: default/dc1, default/dc2; give them",
        ),
        ("networkMapping: []\n", "map.yaml:1: unknown kind ''"),
    ],
)
def test_a_file_without_exactly_one_mapping_is_refused(
    vmferry: Vmferry, files: Path, text: str, words: str
) -> None:
    (files / "map.yaml").write_text(text)
    refused(vmferry("plan", "-f", "all.yaml", "--mapping", "map.yaml"), Exit.INVALID, words)
    refused(vmferry("run", "-f", "all.yaml", "--mapping", "map.yaml", "--into", "out"), Exit.INVALID, words)
    assert not (files / "out").exists()


def test_a_missing_file_is_refused(vmferry: Vmferry, files: Path) -> None:
    refused(vmferry("plan", "-f", "all.yaml", "--mapping", "no.yaml"), Exit.INVALID, "no.yaml: No such file")


def test_credentials_are_read_again_without_the_mapping(tmp_path: Path) -> None:
    """`retry -f` and `undo -f` read only those: the run has its rows."""
    path = tmp_path / "all.yaml"
    path.write_text(document(NAMED))
    (job,) = jobs(read([str(path)]), environment.read({}), Settings(), WITHOUT)
    assert job.credentials == {"username": b"u", "password": b"p"}


def test_a_run_has_the_rows_in_its_folder(
    vmferry: Vmferry, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_runs(*_: Any, **__: Any) -> list[Any]:
        return []

    monkeypatch.setattr("controller.local.imports.run_all", no_runs)
    vmferry("run", "-f", "all.yaml", "--mapping", "map.yaml", "--into", "out")
    plan = Plan.load(RunDir(files / "out").request / "plan.json")
    assert [rule.vlan for rule in plan.target.networks] == [12, None]
    assert plan.target.mapping is not None
