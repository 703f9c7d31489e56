"""Keys and scripts of a guest: from the manifests into the folder of the import, and to its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.local.process import Launcher
from controller.local.rundir import RunDir
from controller.manifests.environment import Environment
from controller.manifests.read import InvalidManifestsError, Manifests, read
from controller.manifests.resolve import Job, jobs
from tests.unit.builders import a_secret, a_source, an_import
from workflows.settings import Settings
from workflows.stages import stage_named

KEYS = "apiVersion: v1\nkind: Secret\nmetadata: {name: k}\nstringData: {sda2: hunter2}\n"
SCRIPTS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {10-a: 'echo a'}\n"
OTHER = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {a: b}\n"
GUEST = {"adapt": "auto", "keys": {"name": "k"}, "firstBoot": {"name": "s"}}


def manifests(tmp_path: Path, *texts: str, guest: Any = GUEST) -> Manifests:
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text)
    found = read(map(str, files))
    import_, source, secret = an_import(guest=guest), a_source(), a_secret()
    found.imports["default", "web"] = import_
    found.sources["vmwaresource", "default", source.metadata.name] = source
    found.secrets["default", secret.metadata.name] = secret
    return found


def made(found: Manifests) -> Job:
    (job,) = jobs(found, Environment(), Settings(mounts_claims=False))
    return job


def test_they_are_found_by_their_names(tmp_path: Path) -> None:
    job = made(manifests(tmp_path, KEYS, SCRIPTS))
    assert job.keys == {"sda2": b"hunter2"}
    assert job.scripts == {"10-a": b"echo a"}
    assert "hunter2" not in job.plan.to_json()


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([SCRIPTS], "Secret default/k of spec.guest.keys is not given"),
        ([KEYS], "ConfigMap default/s of spec.guest.firstBoot is not given"),
        (
            [KEYS, SCRIPTS.replace("{10-a: 'echo a'}", "{}")],
            "ConfigMap default/s of spec.guest.firstBoot has no scripts",
        ),
        ([KEYS.replace("{sda2: hunter2}", "{}"), SCRIPTS], "Secret default/k of spec.guest.keys has no keys"),
        ([KEYS, SCRIPTS.replace("'echo a'", "[1]")], "data"),
        ([KEYS, SCRIPTS.replace("10-a", "-x")], "has no usable name"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, texts: list[str], words: str) -> None:
    with pytest.raises(InvalidManifestsError) as caught:
        made(manifests(tmp_path, *texts))
    assert any(words in fault for fault in caught.value.faults)
    assert "hunter2" not in str(caught.value)


def test_only_a_config_map_that_no_import_names_is_ignored(tmp_path: Path) -> None:
    text = (
        "apiVersion: migration.harvesterhci.io/v1beta1\nkind: VirtualMachineImport\nmetadata: {name: web}\n"
        "spec: {virtualMachineName: web01, guest: {adapt: auto, firstBoot: {name: s}}}\n"
    )
    for name, content in (("a.yaml", SCRIPTS), ("b.yaml", OTHER), ("c.yaml", text)):
        (tmp_path / name).write_text(content)
    assert read([str(tmp_path)]).ignored == [f"{tmp_path / 'b.yaml'}:1: ConfigMap"]


def test_only_their_owner_can_read_them_and_they_go_with_the_import(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path / "one")
    rundir.notes.mkdir(parents=True)
    rundir.write_guest_inputs({"sda2": b"hunter2"}, {"10-a": b"echo"})
    assert (rundir.keys / "sda2").stat().st_mode & 0o077 == 0
    assert rundir.keys.stat().st_mode & 0o077 == 0
    rundir.write_guest_inputs({"all": b"other"}, {})
    assert [path.name for path in rundir.keys.iterdir()] == ["all"]
    assert not rundir.scripts.exists()
    rundir.delete_leftovers()
    assert not rundir.keys.exists()


@pytest.mark.parametrize(("stage", "gets"), [("adapt", True), ("inspect", True), ("build", False)])
def test_only_the_stages_of_the_guest_get_them(tmp_path: Path, stage: str, gets: bool) -> None:
    rundir = RunDir(tmp_path / "one")
    rundir.notes.mkdir(parents=True)
    launcher = Launcher(rundir, 0)
    plain = launcher._argv(stage_named(stage), None, tmp_path, tmp_path, "")
    assert "--keys" not in plain
    rundir.write_guest_inputs({"sda2": b"hunter2"}, {"10-a": b"echo"})
    argv = launcher._argv(stage_named(stage), None, tmp_path, tmp_path, "")
    assert ("--keys" in argv) is gets
    assert ("--scripts" in argv) is gets
    assert "hunter2" not in " ".join(argv)
