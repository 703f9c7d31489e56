"""The steps of a landing as programs, from `preflight` to `build`: real bytes, the cluster in memory."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import pytest

from steps import admit, build, convert, export, hand_over, preflight, start
from steps.disk.land import Landed, Source, land
from steps.disk.volume import Place
from steps.model import names
from steps.model.contract import TERMINATION_LOG_ENV, Exit
from steps.model.kinds import CLAIM, CONFIG_MAP, WORKFLOW
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat
from steps.providers import outage
from steps.runtime import kubeapi
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import make_disk
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk
from tests.unit.steps.targets.harvester.test_programs import FakeProvider, Pod, a_workflow, note_phase
from tests.unit.steps.targets.kubevirt.landing_world import RELEASE, TENANT, LandingWorld

DISK: Final = make_disk(5 << 20, 0.5)
VMDK: Final = bytes(stream_vmdk(DISK).data)


class Exporting(FakeProvider):
    """A source whose disk is at a URL."""

    def __init__(self, machine: Machine, url: str) -> None:
        super().__init__(machine)
        self._url = url

    def export(
        self, _machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: Any
    ) -> Landed:
        return land(
            Source(self._url, format="vmdk", identity="disk 1"),
            out,
            format=disk_format.value,
            capacity=disk.capacity,
            report=report,
            stop=Stop(),
        )


@pytest.fixture(params=[RELEASE, TENANT])
def world(request: pytest.FixtureRequest) -> LandingWorld:
    made = LandingWorld(release=request.param)
    disk = made.machine.disks[0].model_copy(update={"capacity": len(DISK)})
    made.machine = made.machine.model_copy(update={"disks": (disk,)})
    return made


@pytest.fixture
def pod(tmp_path: Path, world: LandingWorld, monkeypatch: pytest.MonkeyPatch) -> Pod:
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(tmp_path / "words"))
    monkeypatch.setenv(kubeapi.NAMESPACE_ENV, world.release)
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
    (tmp_path / "disk").mkdir()
    for step in (export, convert):
        monkeypatch.setattr(step, "VOLUME", tmp_path / "disk")
    made = Pod(tmp_path, world)  # type: ignore[arg-type]
    (tmp_path / "scratch" / "disk.raw").unlink()
    return made


def admitted(pod: Pod, world: LandingWorld, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Up to `admit`, with the documents that later pods mount."""
    monkeypatch.setattr(outage, "connect", lambda _: Exporting(world.machine, url))
    run = world.plan.run
    assert pod.run(preflight.body, preflight.arguments()) is Exit.DONE
    workflow = pod.output("machine")
    a_workflow(world, run, workflow)  # type: ignore[arg-type]
    (known,) = world.cluster.all(WORKFLOW)
    world.cluster.put({**known, "metadata": {"name": run, "namespace": world.release}})
    assert pod.run(admit.body, admit.arguments(), "--workflow", run) is Exit.DONE, pod.words
    for name, document in ((names.machine(run), "machine.json"), (names.volumes(run), "volumes.json")):
        config_map = world.cluster.peek(CONFIG_MAP, name, world.release)
        assert config_map is not None
        (pod.folder / "request" / document).write_text(config_map["data"][document])


def test_a_disk_gets_from_its_source_to_the_vm(
    pod: Pod, world: LandingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(Behaviour(VMDK)) as server:
        admitted(pod, world, monkeypatch, server.url)
        (row,) = json.loads(pod.output("disks.json"))
        final = "web01-disk-0"
        claim = final if world.release == TENANT else names.claim(world.plan.run, "disk-0")
        assert row == {
            "disk": "disk-0",
            "claim": claim,
            "mounts": "volumeMounts",
            "path": "mountPath",
            "landed": "false",
        }
        disk = ("--disk", "disk-0")
        assert pod.run(export.body, export.arguments(), *disk) is Exit.DONE, pod.words
        assert pod.run(convert.body, convert.arguments(), *disk) is Exit.DONE, pod.words
    assert (pod.folder / "disk" / "disk.img").read_bytes() == DISK
    assert [one.name for one in (pod.folder / "disk").iterdir()] == ["disk.img"]
    given = (*disk, "--workflow", world.plan.run)
    note_phase(world, "convert", "disk-0", "Succeeded", world.release)  # type: ignore[arg-type]
    assert pod.run(hand_over.body, hand_over.arguments(), *given) is Exit.DONE, pod.words
    assert (pod.output("volume"), pod.output("integrity")) == (final, "read-back")
    assert pod.run(build.body, build.arguments()) is Exit.DONE, pod.words
    (volume,) = world.vm()["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == final


def test_a_changed_byte_ends_the_import_before_the_vm_runs(
    pod: Pod, world: LandingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the child that reads back behind the writer: what it has read is not read again.
    monkeypatch.setattr(export, "following", lambda _: nullcontext())
    with Server(Behaviour(VMDK)) as server:
        admitted(pod, world, monkeypatch, server.url)
        assert pod.run(export.body, export.arguments(), "--disk", "disk-0") is Exit.DONE
        with (pod.folder / "disk" / "disk.img").open("r+b") as disk:
            disk.seek(1 << 20)
            disk.write(b"changed")
        assert pod.run(convert.body, convert.arguments(), "--disk", "disk-0") is Exit.CORRUPT
        assert "does not hold what was written to it" in pod.words
        note_phase(world, "convert", "disk-0", "Failed", world.release)  # type: ignore[arg-type]
        given = ("--disk", "disk-0", "--workflow", world.plan.run)
        assert pod.run(hand_over.body, hand_over.arguments(), *given) is Exit.SIBLING, pod.words
        assert pod.run(build.body, build.arguments()) is Exit.DONE
        assert pod.run(start.body, start.arguments()) is Exit.INVALID
        assert world.kubevirt.starts == []
        for step in (export, convert):  # another Workflow of the run
            assert pod.run(step.body, step.arguments(), "--disk", "disk-0") is Exit.DONE, pod.words
    assert (pod.folder / "disk" / "disk.img").read_bytes() == DISK


def test_hand_over_needs_the_names_of_the_volumes(pod: Pod) -> None:
    given = ("--disk", "disk-0", "--workflow", "w")
    assert pod.run(hand_over.body, hand_over.arguments(), *given) is Exit.INVALID
    assert "run admit first" in pod.words


def test_no_scratch_and_no_service_is_created(
    pod: Pod, world: LandingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    admitted(pod, world, monkeypatch, "http://unused")
    found = {one["metadata"]["name"].rpartition("-disk-0")[2] for one in world.cluster.all(CLAIM)}
    assert found == {"", "-notes"}
    assert not [call for call in world.cluster.calls if call.kind.plural == "services"]
