"""The command line after a run: killed imports, other manifests, discarding, old manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.local.record import Record
from controller.local.rundir import RunDir
from steps.model.contract import Exit
from tests.unit.builders import a_plan
from tests.unit.controller.cli.conftest import Vmferry, failed, refused, succeeded
from tests.unit.controller.cli.test_main import ALL
from tests.unit.controller.cli.test_migrate import OLD_IMPORT
from workflows.stages import stage_named


def killed(folder: Path) -> RunDir:
    """An import whose runner was killed while it shut the VM down."""
    rundir = RunDir(folder)
    rundir.create(a_plan(), {"password": b"old"})
    record = Record.new(a_plan().run, {}, rundir.save)
    stage = stage_named("poweroff")
    record.begin(record.path(stage, None), stage, None)
    return rundir


def test_an_import_with_a_killed_runner_is_interrupted(vmferry: Vmferry, tmp_path: Path) -> None:
    killed(tmp_path / "web")
    shown = vmferry("status", tmp_path / "web")
    assert shown.out.startswith("web  Interrupted")
    assert f"resume:   vmferry retry {tmp_path}/web" in shown.err
    (result,) = json.loads(vmferry("status", tmp_path / "web", "-o", "json").out)
    assert (result["phase"], result["goOn"]) == ("Interrupted", f"vmferry retry {tmp_path}/web")
    assert [one["phase"] for one in result["stages"]] == ["Interrupted"]


def test_a_running_import_is_not_interrupted(vmferry: Vmferry, tmp_path: Path) -> None:
    killed(tmp_path / "web").mark_running()
    assert vmferry("status", tmp_path / "web").out.startswith("web  Running")
    (result,) = json.loads(vmferry("status", tmp_path / "web", "-o", "json").out)
    assert (result["phase"], result["goOn"]) == ("Running", None)


def test_retry_refuses_manifests_without_its_import(vmferry: Vmferry, tmp_path: Path) -> None:
    rundir = killed(tmp_path / "web")
    (tmp_path / "all.yaml").write_text(ALL.replace("{name: web}", "{name: webb}"))
    ended = vmferry("retry", tmp_path / "web", "-f", "all.yaml")
    missing = f"VirtualMachineImport default/web of {tmp_path}/web"
    result = f"the manifests do not contain {missing}: found: default/webb;"
    refused(ended, Exit.INVALID, result)
    assert (rundir.credentials / "password").read_bytes() == b"old"


def test_ignored_manifests_are_reported_on_one_line(vmferry: Vmferry, tmp_path: Path) -> None:
    name = "long" * 40 + ".yaml"
    (tmp_path / name).write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    assert (
        vmferry("plan", "-f", name).err.splitlines()[0]
        == f"ignored {name}:1: ConfigMap (not a vmferry resource)"
    )


def test_a_discarded_import_leaves_nothing(vmferry: Vmferry, tmp_path: Path) -> None:
    failed(tmp_path / "web")
    (tmp_path / "web" / "disk-0.qcow2").touch()
    (tmp_path / "web" / ".vmferry" / "published").mkdir()
    (tmp_path / "web" / ".vmferry" / "published" / "disk-0.json").touch()
    ended = vmferry("discard", tmp_path / "web")
    assert ended.code == 0
    assert f"deleted {tmp_path}/web/disk-0.qcow2" in ended.err
    assert not (tmp_path / "web").exists()


def test_discard_keeps_foreign_files(vmferry: Vmferry, tmp_path: Path) -> None:
    failed(tmp_path / "web")
    (tmp_path / "web" / "notes.txt").write_text("mine")
    assert vmferry("discard", tmp_path / "web").code == 0
    assert [path.name for path in (tmp_path / "web").iterdir()] == ["notes.txt"]


def test_a_finished_import_is_not_discarded(vmferry: Vmferry, tmp_path: Path) -> None:
    succeeded(tmp_path / "web")
    refused(
        vmferry("discard", tmp_path / "web"),
        Exit.CONFLICT,
        f"cannot discard the import in {tmp_path}/web: it has succeeded",
    )


def test_a_cluster_needs_a_kubeconfig_and_an_address(
    vmferry: Vmferry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all.yaml").write_text(ALL)
    for name in ("KUBECONFIG", "SVC_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    argv = ("run", "--to", "harvester", "-f", "all.yaml", "--into", "here")
    refused(vmferry(*argv), Exit.INVALID, "KUBECONFIG is not set; set it")
    monkeypatch.setenv("KUBECONFIG", "kubeconfig")
    refused(
        vmferry(*argv), Exit.INVALID, "KUBECONFIG is not valid: kubeconfig does not exist; correct the path"
    )
    (tmp_path / "kubeconfig").write_text("{}")
    refused(vmferry(*argv), Exit.INVALID, "SVC_ADDRESS is not set: the cluster fetches the disks")
    assert not (tmp_path / "here").exists()


def test_old_manifests_are_migrated_to_standard_output(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD_IMPORT + "  prio: 1\n")
    ended = vmferry("migrate-manifests", "-f", "old.yaml")
    assert ended.code == 0
    assert ended.out.startswith("apiVersion: migration.harvesterhci.io/v1beta1\nkind: VirtualMachineImport\n")
    assert ended.err == "warning: old.yaml:7: spec.prio: left out: it has no equivalent\n"


def test_old_manifests_are_read_with_warnings(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD_IMPORT + "  prio: 1\n")
    for command in (("plan",), ("run", "--into", "here")):
        ended = vmferry(*command, "-f", "old.yaml")
        assert ended.err.splitlines()[:2] == [
            "warning: old.yaml: manifests from before Harvester v1.1 are used as `vmferry migrate-manifests` "
            "converts them",
            "warning: old.yaml:7: spec.prio: left out: it has no equivalent",
        ]
        assert ended.code == Exit.INVALID  # its source is not given
        assert "VmwareSource" in ended.err


def test_old_manifests_are_migrated_to_a_folder(vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD_IMPORT)
    assert vmferry("migrate-manifests", "-f", "old.yaml", "-o", "new").err == "wrote new/old.yaml\n"
    refused(
        vmferry("migrate-manifests", "-f", "old.yaml", "-o", "new"),
        Exit.CONFLICT,
        "new/old.yaml already exists",
    )
