from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from controller.local.rundir import RunDir
from steps import __version__
from steps.model.contract import Exit
from tests.unit.builders import a_plan
from tests.unit.controller.cli.conftest import Ended, Vmferry, failed, refused, succeeded
from tests.unit.controller.local.test_rundir import failed_at
from tests.unit.controller.manifests.test_read import IMPORT, SECRET, SOURCE

ALL: Final = "---\n".join([SECRET, SOURCE, IMPORT])


def test_the_version_is_shown(vmferry: Vmferry) -> None:
    assert vmferry("--version") == Ended(0, f"vmferry {__version__}\n", "")


def test_every_command_has_help(vmferry: Vmferry) -> None:
    local = ("run", "retry", "discard", "status", "plan", "inventory", "migrate-manifests", "boot")
    for name in (*local, "approve", "suspend", "resume", "cancel"):
        assert name in vmferry("--help").out
        assert "Example" in vmferry(name, "--help").out


@pytest.mark.parametrize("argv", [("fly",), ("run",), ("run", "--into", "x", "--format", "vhd"), ("status",)])
def test_a_wrong_command_line_is_exit_code_2(vmferry: Vmferry, argv: tuple[str, ...]) -> None:
    ended = vmferry(*argv)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: vmferry" in ended.err


def test_a_missing_import_is_reported(vmferry: Vmferry, tmp_path: Path) -> None:
    refused(vmferry("run", "--into", "here"), Exit.INVALID, "no VirtualMachineImport given; write one")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_manifest_is_reported(vmferry: Vmferry) -> None:
    refused(vmferry("plan", "-f", "no.yaml"), Exit.INVALID, "no.yaml: No such file or directory")


def test_every_error_of_a_manifest_has_its_own_line(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        ALL.replace("dc:", "datacenter:").replace("virtualMachineName", "vmName")
    )
    ended = vmferry("run", "-f", "all.yaml", "--into", "here")
    assert ended.code == Exit.INVALID
    assert ended.err.splitlines() == [
        "error: all.yaml:9: spec.datacenter: unknown field",
        "error: all.yaml:15: spec.vmName: unknown field",
    ]


def test_a_disk_that_only_a_pod_can_land_is_refused_before_anything_begins(
    vmferry: Vmferry, tmp_path: Path
) -> None:
    rows = "  diskMapping: [{sourceDisk: disk-0, as: volume}]\n"
    (tmp_path / "all.yaml").write_text(ALL.rstrip("\n") + "\n" + rows)
    ended = vmferry("run", "-f", "all.yaml", "--to", "harvester", "--into", "here")
    refused(ended, Exit.INVALID, "VirtualMachineImport web: disks cannot be landed on volumes")
    assert [path.name for path in tmp_path.iterdir()] == ["all.yaml"]


def test_errors_are_not_interpreted_as_markup(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(IMPORT)
    ended = vmferry("run", "-f", "all.yaml", "-f", "[bold]x[/oops]", "--into", "here")
    refused(ended, Exit.INVALID, "[bold]x[/oops]: No such file")


def test_a_foreign_folder_is_refused(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(ALL)
    ended = vmferry("run", "-f", "all.yaml", "--into", tmp_path)
    refused(ended, Exit.CONFLICT, f"{tmp_path} is not empty: vmferry did not fill it; choose")
    assert [path.name for path in tmp_path.iterdir()] == ["all.yaml"]


def test_a_folder_that_cannot_be_created_is_an_error(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(ALL)
    assert vmferry("run", "-f", "all.yaml", "--into", tmp_path / "all.yaml" / "here").code in set(Exit)


@pytest.mark.parametrize("name", ["status", "retry"])
def test_a_folder_without_an_import_is_reported(vmferry: Vmferry, tmp_path: Path, name: str) -> None:
    refused(
        vmferry(name, tmp_path / "x"),
        Exit.NOT_FOUND,
        f"no import in {tmp_path}/x: it does not contain run.json",
    )


def test_a_folder_without_a_vm_cannot_boot(vmferry: Vmferry, tmp_path: Path) -> None:
    refused(vmferry("boot", tmp_path), Exit.NOT_FOUND, f"nothing to boot in {tmp_path}")


def test_an_unknown_output_format_is_refused(vmferry: Vmferry, tmp_path: Path) -> None:
    failed(tmp_path / "web")
    ended = vmferry("status", tmp_path / "web", "-o", "xml")
    assert ended.code == 2
    assert "'xml' is not one of" in ended.err


def test_one_source_is_needed_for_an_inventory(vmferry: Vmferry, tmp_path: Path) -> None:
    refused(vmferry("inventory"), Exit.INVALID, "need exactly one source, found: none")
    (tmp_path / "two.yaml").write_text(
        "---\n".join([SECRET, SOURCE, SOURCE.replace("{name: vc}", "{name: vd}")])
    )
    refused(vmferry("inventory", "-f", "two.yaml"), Exit.INVALID, "need exactly one source, found: vc, vd")


# --- imports in a folder


def test_the_status_of_an_import_is_shown(vmferry: Vmferry, tmp_path: Path) -> None:
    failed(tmp_path / "web")
    shown = vmferry("status", tmp_path / "web")
    assert shown.code == 0
    assert "web  Failed" in shown.out
    assert "poweroff" in shown.out


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_the_status_of_an_import_as_a_document(vmferry: Vmferry, tmp_path: Path, output: str) -> None:
    failed(tmp_path / "web")
    shown = vmferry("status", tmp_path / "web", "-o", output)
    assert shown.err == ""
    assert "DENIED" not in shown.out
    if output == "json":
        (state,) = json.loads(shown.out)
        assert (state["import"], state["phase"]) == ("web", "Failed")
        assert [(one["stage"], one["phase"]) for one in state["stages"]][-1] == ("poweroff", "Failed")


def test_all_imports_below_a_folder_are_shown(vmferry: Vmferry, tmp_path: Path) -> None:
    for name in ("a", "b"):
        rundir = RunDir(tmp_path / name)
        rundir.create(a_plan(name=name), {})
        failed_at(rundir, "preflight", "poweroff")
    states = json.loads(vmferry("status", tmp_path, "-o", "json").out)
    assert [state["import"] for state in states] == ["a", "b"]


def test_imports_of_one_name_in_two_namespaces_are_both_shown(vmferry: Vmferry, tmp_path: Path) -> None:
    for namespace in ("shop", "test"):
        rundir = RunDir(tmp_path / f"{namespace}-web")
        rundir.create(a_plan(namespace=namespace), {})
        failed_at(rundir, "preflight", "poweroff")
    assert len(json.loads(vmferry("status", tmp_path, "-o", "json").out)) == 2


def test_a_finished_import_is_not_repeated(vmferry: Vmferry, tmp_path: Path) -> None:
    succeeded(tmp_path / "web")
    before = (tmp_path / "web" / "run.json").read_bytes()
    ended = vmferry("retry", tmp_path / "web")
    assert (ended.code, ended.err) == (0, "nothing to do: the import has already succeeded\n")
    assert (tmp_path / "web" / "run.json").read_bytes() == before


def test_an_import_without_credentials_requests_them(vmferry: Vmferry, tmp_path: Path) -> None:
    failed(tmp_path / "web")
    RunDir(tmp_path / "web").delete_credentials()
    message = f"the credentials of vc are missing in {tmp_path}/web; give the manifests again"
    refused(vmferry("retry", tmp_path / "web"), Exit.INVALID, message)


def test_an_unreadable_state_is_reported(vmferry: Vmferry, tmp_path: Path) -> None:
    failed(tmp_path / "web")
    (tmp_path / "web" / "run.json").write_text("{")
    refused(vmferry("status", tmp_path / "web"), Exit.CORRUPT, f"cannot read {tmp_path}/web/run.json")


def test_a_folder_in_use_is_refused(vmferry: Vmferry, tmp_path: Path) -> None:
    failed(tmp_path / "web")
    rundir = RunDir(tmp_path / "web")
    rundir.lock()
    rundir.mark_running()
    refused(
        vmferry("retry", tmp_path / "web"),
        Exit.BUSY,
        f"{tmp_path}/web is in use by another vmferry process; wait",
    )
