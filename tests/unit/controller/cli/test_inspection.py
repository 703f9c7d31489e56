"""`vmferry inspect`: which disks it takes, what it prints, and hostile texts of a guest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.cli import inspection
from controller.cli.guest_view import render
from controller.cli.main import attempt
from controller.local.rundir import RunDir
from steps.disk import qemu
from steps.guest import run
from steps.model.contract import Exit, StepError, Stopped
from steps.model.guest_facts import Facts
from steps.model.guest_judge import judged
from steps.model.plan import GuestPlan
from tests.unit.builders import a_plan
from tests.unit.steps.model.test_guest_judge import NO_VIRTIO, a_linux, facts


@pytest.fixture(autouse=True)
def disks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """No libguestfs and no qemu-img: the disks that would be inspected, with their formats."""
    seen: list[tuple[str, str]] = []

    def read(images: Any, folder: Path, *, report: Callable[[int, int, str], None], **_: Any) -> Facts:
        assert folder.is_dir()
        seen.extend((image.path.name, image.format) for image in images)
        report(0, 4, "starting the appliance of libguestfs")
        return facts(a_linux(NO_VIRTIO))

    monkeypatch.setattr(run, "read_facts", read)
    monkeypatch.setattr(qemu, "info", lambda _path, image_format: qemu.Info(image_format, 1 << 30, 1))
    return seen


def disk(folder: Path, name: str, head: bytes = b"") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.ljust(512, b"\0"))
    return str(path)


def test_the_names_give_the_formats(tmp_path: Path, disks: list[tuple[str, str]]) -> None:
    names = ["a.qcow2", "b.RAW", "c.img", "d.vmdk", "e.vhdx", "f.vhd", "g.vdi"]
    assert attempt(["inspect", *(disk(tmp_path, name) for name in names)]) == Exit.DONE
    assert [found for _, found in disks] == ["qcow2", "raw", "raw", "vmdk", "vhdx", "vpc", "vdi"]


def test_a_given_format_counts_for_all(tmp_path: Path, disks: list[tuple[str, str]]) -> None:
    assert attempt(["inspect", "--format", "qcow2", disk(tmp_path, "cloud.img", b"QFI\xfb")]) == Exit.DONE
    assert disks == [("cloud.img", "qcow2")]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["missing.qcow2"], Exit.NOT_FOUND, "there is no file"),
        (["disk"], Exit.INVALID, "the format of disk is not known"),
        (["cloud.img"], Exit.INVALID, "cloud.img is named like a raw disk, but begins like qcow2"),
        (["--format", "iso", "a.raw"], Exit.INVALID, "unknown format 'iso'; use one of qcow2, raw"),
        (["folder", "a.raw"], Exit.INVALID, "folder is a folder"),
        (["folder"], Exit.NOT_FOUND, "no import in"),
        (["a.raw"] * 65, Exit.UNSUPPORTED, "65 disks are too many"),
    ],
)
def test_what_cannot_be_inspected_is_one_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: Exit,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    disk(tmp_path, "a.raw")
    disk(tmp_path, "disk")
    disk(tmp_path, "cloud.img", b"QFI\xfb")
    (tmp_path / "folder").mkdir()
    assert attempt(["inspect", *arguments]) == code
    assert text in capsys.readouterr().err


def an_import(folder: Path) -> RunDir:
    rundir = RunDir(folder)
    rundir.create(a_plan(), {})
    rundir.save({})
    return rundir


def test_a_folder_of_an_import_has_its_disks_in_their_order(
    tmp_path: Path, disks: list[tuple[str, str]]
) -> None:
    rundir = an_import(tmp_path / "run")
    for number in (10, 2, 0):
        disk(rundir.root, f"disk-{number}.qcow2")
        record = rundir.notes / "published" / f"disk-{number}.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text("{}")
    assert attempt(["inspect", str(rundir.root)]) == Exit.DONE
    assert [name for name, _ in disks] == ["disk-0.qcow2", "disk-2.qcow2", "disk-10.qcow2"]


def test_disks_on_scratch_count_until_the_target_has_them(
    tmp_path: Path, disks: list[tuple[str, str]]
) -> None:
    rundir = an_import(tmp_path / "run")
    scratch = rundir.scratch("disk-0")
    disk(scratch, "disk.raw")
    (scratch / "ready.json").write_text(
        json.dumps({"file": "disk.raw", "format": "raw", "virtualSize": 512, "size": 512})
    )
    assert attempt(["inspect", str(rundir.root)]) == Exit.DONE
    assert disks == [("disk.raw", "raw")]


def test_a_folder_without_a_complete_disk_says_how_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rundir = an_import(tmp_path / "run")
    assert attempt(["inspect", str(rundir.root)]) == Exit.NOT_FOUND
    assert f"vmferry retry {rundir.root}" in capsys.readouterr().err


def test_json_has_the_document_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attempt(["inspect", disk(tmp_path, "a.qcow2"), "-o", "json"]) == Exit.DONE
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert document["verdict"]["answer"] == "convert"
    assert document["disks"] == [
        {"device": "/dev/sda", "name": "a.qcow2", "format": "qcow2", "size": 1 << 30}
    ]
    assert "starting the appliance of libguestfs (1 of 4)" in output.err


def test_the_text_names_system_bus_and_concerns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attempt(["inspect", disk(tmp_path, "a.qcow2")]) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert "system        Debian GNU/Linux 12, debian12" in lines
    assert "verdict       convert it: it boots from sata as it is; a conversion gives it virtio" in lines
    assert any(line.startswith("warn: Debian GNU/Linux 12 has no drivers for virtio") for line in lines)


def test_a_stop_ends_with_the_code_of_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders: list[Path] = []

    def read(_images: Any, folder: Path, **_: Any) -> Facts:
        folders.append(folder)
        raise Stopped

    monkeypatch.setattr(run, "read_facts", read)
    assert attempt(["inspect", disk(tmp_path, "a.qcow2")]) == 130
    assert "stopped" in capsys.readouterr().err
    assert not folders[0].exists()


def test_no_text_of_the_guest_reaches_the_terminal_unescaped() -> None:
    evil = "Debian\x1b[2J\u202e\n\r12"
    system = a_linux({"kernels": ({"version": evil, "default": True},)}, product=evil, root=evil)
    given = facts(system, trouble=(evil,), file_systems=({"device": evil, "kind": "crypto_LUKS"},))
    text = render(judged(given))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\r" not in text
    assert "Debian\\x1b[2J\\u202e\\x0a\\x0d12" in text


@pytest.mark.parametrize("is_asked", [True, False])
def test_an_import_with_an_inspection_needs_libguestfs_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, is_asked: bool
) -> None:
    monkeypatch.setattr(run.require, "__defaults__", ((),))
    plan = a_plan().model_copy(update={"guest": GuestPlan(inspect=is_asked)})
    if not is_asked:
        inspection.require_tools([plan])
        return
    with pytest.raises(StepError, match="libguestfs is not installed") as failure:
        inspection.require_tools([plan])
    assert failure.value.code is Exit.INVALID


def test_a_disk_that_qemu_img_refuses_is_not_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disks: list[tuple[str, str]]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(run, "read_facts", lambda *_, **__: pytest.fail("it was inspected"))
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    assert attempt(["inspect", disk(tmp_path, "a.qcow2")]) == Exit.CORRUPT
