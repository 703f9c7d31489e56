"""The step `check` as a program: what it reads, what it writes, how it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from steps import check
from steps.model import names
from steps.model.booting import BOOTED, BootResult, Verdict
from steps.model.contract import TERMINATION_LOG_ENV, Exit
from steps.model.kinds import CONFIG_MAP, MACHINE
from steps.runtime import kubeapi
from steps.runtime.program import run_body
from steps.runtime.stop import Stop
from steps.targets.cluster.boot import counters
from tests.unit.steps.targets.boot.guests import PNG, WITH_AGENT, Behaviour
from tests.unit.steps.targets.boot.place import VM, Place

AT_ONCE: Final = replace(WITH_AGENT, lasts=0.001)
LOOP: Final = Behaviour(written=0, sent=0, lasts=0.001, console="Kernel panic - not syncing: no init\n" * 3)


@dataclass
class Program:
    """The program in a folder, with the cluster in memory."""

    folder: Path
    place: Place

    def run(self, *argv: str) -> Exit:
        plan, machine = self.place.world.plan, self.place.world.machine
        (self.folder / "outputs").mkdir(exist_ok=True)
        (self.folder / "request").mkdir(exist_ok=True)
        plan.save(self.folder / "request" / "plan.json")
        machine.save(self.folder / "request" / "machine.json")
        folders = ("request", "outputs", "into")
        given = [word for name in folders for word in (f"--{name}", str(self.folder / name))]
        return run_body(check.arguments(), check.body, [*given, *argv], Stop())

    @property
    def result(self) -> BootResult:
        return BootResult.load(self.folder / "outputs" / BOOTED)

    @property
    def words(self) -> str:
        return (self.folder / "words").read_text()


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, guest: Behaviour) -> Program:
    place = Place({"virtio": guest}, fall_back=False)
    place.guests.stop_seconds = 0
    place.start()
    place.time.now += 1

    def nowhere(_host: str) -> list[str]:
        raise OSError("no name server")

    monkeypatch.setenv(TERMINATION_LOG_ENV, str(folder / "words"))
    monkeypatch.setenv(kubeapi.NAMESPACE_ENV, "vmferry")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: place.cluster)
    monkeypatch.setattr(counters, "_addresses", nowhere)
    metadata = {"name": names.request(place.world.plan.run), "namespace": "vmferry"}
    place.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    return Program(folder, place)


def test_a_guest_that_boots_in_a_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = program(tmp_path, monkeypatch, AT_ONCE)
    run = made.place.world.plan.run
    assert made.run("--workflow", run) is Exit.DONE
    assert made.result.verdict is Verdict.BOOTED
    assert made.result.kept_in == f"ConfigMap vmferry/{names.boot(run)}"
    assert "bootCheck.kubevirtNamespace" in " ".join(made.result.evidence.missing)
    kept = made.place.cluster.peek(CONFIG_MAP, names.boot(run), "vmferry")
    assert kept is not None
    assert "screen-built.png" in kept["binaryData"]
    assert not (tmp_path / "into").exists()


def test_a_guest_that_does_not_boot_ends_the_step_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = program(tmp_path, monkeypatch, LOOP)
    assert made.run("--workflow", made.place.world.plan.run) is Exit.UNSUPPORTED
    assert made.result.verdict is Verdict.STUCK, "the result is written although the step fails"
    assert f"the guest of VM default/{VM} does not boot" in made.words
    assert "Kernel panic" in made.words
    vm = made.place.cluster.peek(MACHINE, VM, "default")
    assert vm is not None
    assert vm["spec"]["runStrategy"] == "Halted"


def test_outside_of_a_cluster_the_evidence_is_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = program(tmp_path, monkeypatch, AT_ONCE)
    assert made.run() is Exit.DONE
    assert (tmp_path / "into" / "boot-check" / "screen-built.png").read_bytes() == PNG
    assert made.result.kept_in == str(tmp_path / "into" / "boot-check")
    assert made.place.cluster.peek(CONFIG_MAP, names.boot(made.place.world.plan.run), "vmferry") is None


def test_a_request_without_a_boot_check_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = program(tmp_path, monkeypatch, AT_ONCE)
    made.place.world.plan = made.place.world.plan.model_copy(update={"boot_check": None})
    assert made.run() is Exit.INVALID
    assert "set spec.bootCheck" in made.words
