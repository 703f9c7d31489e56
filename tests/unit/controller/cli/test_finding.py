"""`vmferry inventory`: filters, order, formats and the report."""

from __future__ import annotations

import csv
import gc
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from controller.cli import dryrun
from steps.model.concerns import block
from steps.model.contract import Exit
from steps.model.machine import Machine, Power, Tag
from steps.providers import Access, Inventory, Provider
from tests.unit.builders import GIB, a_disk, a_machine, a_nic
from tests.unit.controller.cli.conftest import Vmferry, refused, succeeded
from tests.unit.controller.manifests.test_read import SECRET, SOURCE
from tests.unit.providers import FakeProvider

MACHINES = (
    a_machine(
        name="web01",
        path="/DC0/vm/prod/web01",
        source_id="vm-1",
        power=Power.ON,
        tools_running=True,
        tags=(Tag(name="env", value="prod"),),
        nics=(a_nic(0),),
    ),
    a_machine(name="db", path="/DC0/vm/db", source_id="vm-2", disks=(a_disk(capacity=8 * GIB),)),
    a_machine(
        name="[bold]=1+1\x1b[2J",
        path="/DC0/vm/[bold]=1+1\x1b[2J",
        source_id="vm-3",
        concerns=(block("rdm", "disk-0 is a raw device", "convert it"),),
    ),
)


class Several(FakeProvider):
    def __init__(self, machines: tuple[Machine, ...], tags_unknown: str) -> None:
        super().__init__(machines[0])
        self._all, self._unknown = machines, tags_unknown

    def describe(self, vm: str, folder: str | None) -> Machine:
        assert (vm, folder) == ("web01", "/DC0/vm/prod")
        return self._all[0]

    def inventory(self) -> Inventory:
        return Inventory(
            machines=self._all, networks=("VM Network",), folders=("prod",), tags_unknown=self._unknown
        )


Use = Callable[..., None]


@pytest.fixture(autouse=True)
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Use:
    (tmp_path / "vm.yaml").write_text(f"{SECRET}---\n{SOURCE}")

    def use(machines: tuple[Machine, ...] = MACHINES, tags_unknown: str = "") -> None:
        @contextmanager
        def connect(_: Access) -> Iterator[Provider]:
            yield Several(machines, tags_unknown)

        monkeypatch.setattr(dryrun, "connect", connect)

    use()
    return use


List = Callable[..., list[str]]


@pytest.fixture
def found(vmferry: Vmferry) -> List:
    """The ids of the VMs that the command lists."""

    def call(*words: str) -> list[str]:
        ended = vmferry("inventory", "-f", "vm.yaml", "-o", "json", *words)
        assert ended.code == Exit.DONE, ended.err
        document = json.loads(ended.out)
        ids = [machine["sourceId"] for machine in document["machines"]]
        assert [one["sourceId"] for one in document["assessments"]] == ids
        assert document["totals"]["vms"] == len(ids)
        return ids

    return call


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), ["vm-1", "vm-2", "vm-3"]),
        (("--name", "web*"), ["vm-1"]),
        (("--name", "db", "--name", "vm-3"), ["vm-2", "vm-3"]),
        (("--folder", "prod"), ["vm-1"]),
        (("--tag", "env:prod"), ["vm-1"]),
        (("--tag", "env:prod", "--tag", "other"), []),
        (("--power", "off"), ["vm-2", "vm-3"]),
        (("--readiness", "blocked"), ["vm-3"]),
        (("--readiness", "ready", "--readiness", "warnings"), ["vm-1", "vm-2"]),
        (("--sort", "disks", "--descending"), ["vm-2", "vm-1", "vm-3"]),
        (("--sort", "path", "--power", "off"), ["vm-3", "vm-2"]),
    ],
)
def test_vms_are_selected_and_sorted(found: List, words: tuple[str, ...], ids: list[str]) -> None:
    assert found(*words) == ids


def test_two_inventories_at_the_same_time_have_different_sessions(
    vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    @contextmanager
    def connect(access: Access) -> Iterator[Provider]:
        runs.append(access.run)
        yield Several(MACHINES, "")

    monkeypatch.setattr(dryrun, "connect", connect)
    for _ in range(2):
        vmferry("inventory", "-f", "vm.yaml")
    assert len(set(runs)) == 2
    assert gc.isenabled()


def test_a_name_that_fits_nothing_is_a_warning(vmferry: Vmferry) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", "--name", "wbe*")
    assert (ended.code, ended.err) == (Exit.DONE, "warning: no VM fits --name 'wbe*'\n")


def test_unknown_tags_are_no_silent_result(vmferry: Vmferry, source: Use) -> None:
    source(tags_unknown="the account lacks a right")
    refused(
        vmferry("inventory", "-f", "vm.yaml", "--tag", "prod"),
        Exit.UNSUPPORTED,
        "cannot select VMs by tag: the account lacks a right",
    )


def test_the_table_has_readiness_tags_and_sums(vmferry: Vmferry) -> None:
    lines = vmferry("inventory", "-f", "vm.yaml").out.splitlines()
    assert lines[0].split() == [
        "VM",
        "id",
        "power",
        "vCPU",
        "memory",
        "disks",
        "networks",
        "readiness",
        "tags",
    ]
    assert "env:prod" in lines[1]
    assert "3 VMs (2 ready, 1 blocked), 6 vCPUs, 6 GiB memory, 3 disks of 10 GiB, 10 GiB to read" in lines
    assert "prod" in [line.strip() for line in lines]


def test_a_selection_lists_no_networks_and_folders(vmferry: Vmferry) -> None:
    out = vmferry("inventory", "-f", "vm.yaml", "--name", "db").out
    assert "1 VM (1 ready)" in out
    assert "folder" not in out


def test_a_name_cannot_command_the_terminal(vmferry: Vmferry) -> None:
    out = vmferry("inventory", "-f", "vm.yaml").out
    assert "\x1b" not in out
    assert "/DC0/vm/[bold]=1+1\\x1b[2J" in out


def test_the_inventory_as_csv_and_yaml(vmferry: Vmferry) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", "-o", "csv", "--sort", "disks")
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [row["id"] for row in rows] == ["vm-1", "vm-3", "vm-2"]
    assert rows[1]["name"].startswith("[bold]")
    assert rows[1]["blockers"] == "disk-0 is a raw device; convert it"
    found = YAML(typ="safe").load(vmferry("inventory", "-f", "vm.yaml", "-o", "yaml").out)
    assert found["totals"]["readiness"] == {"ready": 2, "warnings": 0, "blocked": 1}
    assert found["rate"]["origin"].startswith("assumed")


def test_the_report_is_written_in_addition_to_the_table(vmferry: Vmferry, tmp_path: Path) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", "--report", "out/assessment", "--rate", "50")
    assert ended.code == Exit.DONE
    assert ended.err.splitlines() == [
        "wrote out/assessment.html",
        "wrote out/assessment.md",
        "time: 3 min at 50 MiB/s (hours = bytes to read / rate / 3600)",
        "rate: given with --rate",
    ]
    for suffix in ("html", "md"):
        text = (tmp_path / "out" / f"assessment.{suffix}").read_text()
        assert "given with --rate" in text
        assert "VmwareSource vc" in text
        assert "https://vcenter.example/sdk" in text
        assert "\x1b" not in text


def test_a_report_of_a_selection_says_which(vmferry: Vmferry, tmp_path: Path) -> None:
    vmferry("inventory", "-f", "vm.yaml", "--report", "a.md", "--name", "db", "-o", "json")
    text = (tmp_path / "a.md").read_text()
    assert "Selected by `--name db`." in text
    assert "vm-1" not in text


def test_a_rate_without_an_import_is_refused(vmferry: Vmferry, tmp_path: Path) -> None:
    words = ("inventory", "-f", "vm.yaml", "--report", "a", "--rate-from")
    refused(vmferry(*words, "none"), Exit.NOT_FOUND, f"no import in {tmp_path}/none")
    succeeded(tmp_path / "web")
    refused(vmferry(*words, "web"), Exit.INVALID, "no rate can be measured in web")
    assert not (tmp_path / "a.html").exists()


def test_the_manifests_of_a_selection_are_written(vmferry: Vmferry, tmp_path: Path) -> None:
    words = ("inventory", "-f", "vm.yaml", "--all", "--manifest")
    assert vmferry(*words, "--folder", "prod").code == Exit.DONE
    assert {path.name for path in (tmp_path / "imports").iterdir()} == {
        "mapping.vmferry",
        "vc.vmwaresource.yaml",
        "web01.yaml",
    }
    again = vmferry(*words, "--name", "db")
    assert "delete the file" not in again.err  # web01 still exists, it was only not selected
    assert (tmp_path / "imports" / "web01.yaml").exists()
    assert (tmp_path / "imports" / "db.yaml").exists()


def test_a_manifest_is_found_by_its_inventory_path(vmferry: Vmferry) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", "--manifest", "/DC0/vm/prod/web01")
    assert ended.code == Exit.DONE
    assert YAML(typ="safe").load(ended.out)["spec"]["folder"] == "prod"
    ended = vmferry("inventory", "-f", "vm.yaml", "--manifest", "/DC0/vm/prod/web01", "--folder", "test")
    assert ended.code == 2
    assert "is not in the folder 'test'" in ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--power", "up"), "'up' is not one of"),
        (("--readiness", "maybe"), "'maybe' is not one of"),
        (("--sort", "size"), "'size' is not one of"),
        (("--rate", "0"), "greater than or equal to 0.001"),
        (("--rate", "nan"), "greater than or equal to 0.001"),
        (("--rate", "inf"), "it must be a number of MiB per second"),
        (("--rate", "5", "--rate-from", "x"), "give one of them"),
        (("--all", "--manifest", "-o", "csv"), "it lists VMs and writes no manifests"),
        (("--all", "--manifest", "--report", "a"), "it lists VMs and writes no manifests"),
        (("--manifest", "web01", "--name", "web*"), "it selects one VM by its name"),
        (("--manifest", "web01", "--folder", "a", "--folder", "b"), "give one folder"),
    ],
)
def test_options_without_a_meaning_are_refused(
    vmferry: Vmferry, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    ended = vmferry("inventory", "-f", "vm.yaml", *words)
    assert (ended.code, ended.out) == (2, "")
    assert message in " ".join(ended.err.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["vm.yaml"]
