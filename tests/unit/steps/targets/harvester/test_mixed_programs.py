"""The steps of a VM of which one disk becomes an image and one lands, as programs: real bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steps import admit, build, convert, export, hand_over, preflight
from steps.model import names
from steps.model.contract import TERMINATION_LOG_ENV, Exit
from steps.model.kinds import CONFIG_MAP, WORKFLOW
from steps.model.plan import DiskFormat
from steps.providers import outage
from steps.runtime import kubeapi
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.targets.harvester.mixed_world import RELEASE, MixedWorld
from tests.unit.steps.targets.harvester.test_programs import Pod, a_workflow, note_phase
from tests.unit.steps.targets.kubevirt.test_landing_programs import DISK, VMDK, Exporting
from tests.unit.steps.targets.kubevirt.world import a_profile


@pytest.fixture
def world() -> MixedWorld:
    made = MixedWorld(format=DiskFormat.RAW)
    made.cluster.put(a_profile("harvester-longhorn", "ReadWriteOnce", "Filesystem"))
    disks = tuple(disk.model_copy(update={"capacity": len(DISK)}) for disk in made.machine.disks)
    made.machine = made.machine.model_copy(update={"disks": disks})
    return made


@pytest.fixture
def pod(tmp_path: Path, world: MixedWorld, monkeypatch: pytest.MonkeyPatch) -> Pod:
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(tmp_path / "words"))
    monkeypatch.setenv(kubeapi.NAMESPACE_ENV, RELEASE)
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
    (tmp_path / "disk").mkdir()
    for step in (export, convert):
        monkeypatch.setattr(step, "VOLUME", tmp_path / "disk")
    made = Pod(tmp_path, world)
    (tmp_path / "scratch" / "disk.raw").unlink()
    return made


def admitted(pod: Pod, world: MixedWorld, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Up to `admit`, with the documents that later pods mount."""
    monkeypatch.setattr(outage, "connect", lambda _: Exporting(world.machine, url))
    run = world.plan.run
    assert pod.run(preflight.body, preflight.arguments()) is Exit.DONE
    a_workflow(world, run, pod.output("machine"))
    (known,) = world.cluster.all(WORKFLOW)
    world.cluster.put({**known, "metadata": {"name": run, "namespace": RELEASE}})
    assert pod.run(admit.body, admit.arguments(), "--workflow", run) is Exit.DONE, pod.words
    for name, document in ((names.machine(run), "machine.json"), (names.volumes(run), "volumes.json")):
        config_map = world.cluster.peek(CONFIG_MAP, name, RELEASE)
        assert config_map is not None
        (pod.folder / "request" / document).write_text(config_map["data"][document])


def test_each_disk_gets_to_its_place(pod: Pod, world: MixedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, volume = pod.folder / "scratch", pod.folder / "disk" / "disk.img"
    with Server(Behaviour(VMDK)) as server:
        admitted(pod, world, monkeypatch, server.url)
        rows = json.loads(pod.output("disks.json"))
        assert [(row["disk"], row["way"]) for row in rows] == [("disk-0", "pull"), ("disk-1", "land")]
        assert pod.run(export.body, export.arguments(), "--disk", "disk-0") is Exit.DONE, pod.words
        assert (scratch / "disk.raw").read_bytes() == DISK
        assert not volume.exists()
        for file in scratch.iterdir():  # another disk has another claim
            file.unlink()
        for step in (export, convert):
            assert pod.run(step.body, step.arguments(), "--disk", "disk-1") is Exit.DONE, pod.words
    assert volume.read_bytes() == DISK
    assert not (scratch / "disk.raw").exists()
    note_phase(world, "convert", "disk-1", "Succeeded")
    given = ("--disk", "disk-1", "--workflow", world.plan.run)
    assert pod.run(hand_over.body, hand_over.arguments(), *given) is Exit.DONE, pod.words
    assert (pod.output("volume"), pod.output("integrity")) == ("web01-disk-1", "read-back")
    assert pod.run(build.body, build.arguments()) is Exit.INVALID
    assert "there is no image of disk-0" in pod.words


def test_a_landed_disk_is_raw_whatever_images_are(
    pod: Pod, world: MixedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = world.plan.target.model_copy(update={"format": DiskFormat.QCOW2})
    world.plan = world.plan.model_copy(update={"target": target})
    world.plan.save(pod.folder / "request" / "plan.json")
    with Server(Behaviour(VMDK)) as server:
        admitted(pod, world, monkeypatch, server.url)
        for step in (export, convert):
            assert pod.run(step.body, step.arguments(), "--disk", "disk-1") is Exit.DONE, pod.words
    assert (pod.folder / "disk" / "disk.img").read_bytes() == DISK
