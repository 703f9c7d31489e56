"""The steps as programs in cluster mode: real nginx, real files, the cluster in memory."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps import admit, delete_scratch, image, preflight, serve
from steps.model import names
from steps.model.contract import TERMINATION_LOG_ENV, Exit
from steps.model.kinds import CLAIM, CONFIG_MAP, SERVICE, WORKFLOW, Object
from steps.model.machine import Machine
from steps.model.machine_output import to_output
from steps.model.plan import DiskFormat, ImportLimits
from steps.model.power import PowerMark
from steps.model.scratch import Ready, ready
from steps.model.volumes import Volumes
from steps.providers import outage
from steps.runtime import kubeapi
from steps.runtime.cluster import Cluster
from steps.runtime.program import Arguments, Context, run_body
from steps.runtime.stop import Stop
from steps.targets.cluster.serving import HttpServing, ServedUrl
from tests.unit.builders import a_disk
from tests.unit.steps.targets.harvester.stand_ins import TOKEN
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World

DATA = bytes(range(256)) * 4096


class Pod:
    """The folders of a step, and the mounted files."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world
        for name in ("request", "scratch", "outputs", "source"):
            (folder / name).mkdir()
        world.plan.save(folder / "request" / "plan.json")
        world.machine.save(folder / "request" / "machine.json")
        (folder / "token").write_text(f"{TOKEN}\n")
        (folder / "scratch" / "disk.raw").write_bytes(DATA)
        Ready(file="disk.raw", format=DiskFormat.RAW, virtual_size=1 << 30, size=len(DATA)).save(
            ready(folder / "scratch")
        )

    def run(
        self, step: Callable[[Context], None], arguments: Arguments, *argv: str, stop: Stop | None = None
    ) -> Exit:
        folders = ("request", "scratch", "outputs")
        given = [part for name in folders for part in (f"--{name}", str(self.folder / name))]
        given += ["--credentials", str(self.folder / "source")]
        return run_body(arguments, step, [*given, *argv], stop or Stop())

    @property
    def token(self) -> str:
        return str(self.folder / "token")

    @property
    def words(self) -> str:
        path = self.folder / "words"
        return path.read_text() if path.exists() else ""

    def output(self, name: str) -> str:
        return (self.folder / "outputs" / name).read_text()


@pytest.fixture
def world() -> World:
    made = World()
    made.serving.data["disk-0"] = DATA
    made.cluster.put(a_request(made.plan))
    return made


@pytest.fixture
def pod(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Pod:
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(tmp_path / "words"))
    monkeypatch.setenv(kubeapi.NAMESPACE_ENV, "vmferry")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: Locked(world.cluster))
    return Pod(tmp_path, world)


class Locked:
    """One request at a time, as the cluster in memory is not thread-safe."""

    lock = threading.Lock()

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                return getattr(self._cluster, name)(*args, **kwargs)

        return call


class Serving(threading.Thread):
    """The serve step, running."""

    def __init__(
        self,
        pod: Pod,
        *argv: str,
        listen: str = "127.0.0.1",
        host: str = "127.0.0.1",
        tls: Path | None = None,
    ) -> None:
        """`tls` is the folder with its certificate."""
        super().__init__()
        self._tls = tls
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self._listen = listen
        self._host = host
        self.code: Exit | None = None
        self.stop = Stop()
        self._pod = pod
        self._argv = argv

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    @property
    def web(self) -> HttpServing:
        return HttpServing(ServedUrl(TOKEN, self.origin), self._tls / "ca.crt" if self._tls else None)

    def run(self) -> None:
        listen = ("--listen", f"{self._listen}:{self.port}")
        tls = ("--tls", str(self._tls)) if self._tls else ()
        given = ("--disk", "disk-0", "--token-file", self._pod.token, *listen, *tls, *self._argv)
        self.code = self._pod.run(serve.body, serve.arguments(), *given, stop=self.stop)


@pytest.mark.parametrize("token", ["short", "with/slash/in/it/and/more", "$(rm -rf)............"])
def test_invalid_tokens_are_refused(pod: Pod, token: str) -> None:
    Path(pod.token).write_text(token)
    running = Serving(pod)
    running.run()
    assert running.code is Exit.INVALID
    assert token not in pod.words


def test_a_missing_disk_is_reported(pod: Pod) -> None:
    (pod.folder / "scratch" / "disk.raw").unlink()
    running = Serving(pod)
    running.run()
    assert running.code is Exit.INVALID
    assert "run convert first" in pod.words


def test_image_needs_the_url_of_the_disk(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(image.ADDRESS_ENV, raising=False)
    given = ("--disk", "disk-0", "--token-file", pod.token)
    assert pod.run(image.body, image.arguments(), *given) is Exit.INVALID
    assert "give --origin, or set SVC_ADDRESS" in pod.words
    monkeypatch.setenv(image.ADDRESS_ENV, "10.0.0.7:8080")
    assert image.origin() == "http://10.0.0.7:8080"


class FakeProvider:
    """A source with one VM, which has nothing to release."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __enter__(self) -> FakeProvider:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def describe(self, *_: object) -> Machine:
        return self._machine

    def networks(self) -> frozenset[str]:
        return frozenset()

    def release(self) -> list[str]:
        return []

    def power_mark(self, _: Machine) -> PowerMark:
        return PowerMark()


def a_workflow(world: World, name: str, machine: str, phase: str = "Succeeded") -> None:
    """The Workflow of a run after preflight, as Argo writes it."""
    outputs = {
        "parameters": [{"name": "disks", "value": '["disk-9"]'}, {"name": "machine", "value": machine}]
    }
    nodes = {
        "1": {"name": name, "type": "DAG", "phase": "Running"},
        "2": {"name": f"{name}.preflight", "type": "Retry", "phase": phase, "outputs": outputs},
    }
    metadata = {"name": name, "namespace": "vmferry"}
    world.cluster.put(
        {
            "apiVersion": WORKFLOW.api_version,
            "kind": WORKFLOW.kind,
            "metadata": metadata,
            "status": {"nodes": nodes},
        }
    )


def note_phase(world: World, stage: str, disk: str, phase: str, release: str = "vmferry") -> None:
    """The stage of a disk in the Workflow of the run, as Argo writes it."""
    (workflow,) = world.cluster.all(WORKFLOW, release)
    inputs = {"parameters": [{"name": "disk", "value": disk}]}
    node = {"type": "Retry", "templateName": stage, "phase": phase, "inputs": inputs}
    workflow["status"]["nodes"][f"{stage} {disk}"] = node
    world.cluster.put(workflow)


def test_preflight_admit_and_the_deletion_of_scratch_work_together(
    pod: Pod, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "connect", lambda _: FakeProvider(world.machine))
    (pod.folder / "request" / "machine.json").unlink()
    run = world.plan.run
    assert pod.run(preflight.body, preflight.arguments()) is Exit.DONE
    assert world.cluster.writes() == []
    assert json.loads(pod.output("disks.json")) == ["disk-0"]

    a_workflow(world, run, pod.output("machine"))
    assert pod.run(admit.body, admit.arguments(), "--workflow", run) is Exit.DONE
    stored = world.cluster.peek(CONFIG_MAP, f"{run}-machine", "vmferry")
    assert stored is not None
    kept = Machine.model_validate_json(stored["data"]["machine.json"])
    assert kept.mark is not None
    assert kept.model_copy(update={"mark": None}) == world.machine
    assert json.loads(pod.output("disks.json")) == ["disk-0"], "not those that preflight's other output names"
    assert len(world.cluster.all(CLAIM, "vmferry")) == len(world.cluster.all(SERVICE, "vmferry")) == 1

    assert pod.run(delete_scratch.body, delete_scratch.arguments()) is Exit.DONE
    assert world.cluster.all(CLAIM, "vmferry") == world.cluster.all(SERVICE, "vmferry") == []


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "the result of preflight is not valid"),
        ("{{workflow.name}}", "the result of preflight is not valid"),
        (base64.b64encode(gzip.compress(b'{"name": "x"}')).decode(), "Field required"),
        (base64.b64encode(gzip.compress(bytes(64 << 20))).decode(), "more than"),
    ],
    ids=["empty", "template", "another-document", "bomb"],
)
def test_a_result_of_preflight_that_is_not_valid_changes_nothing(
    pod: Pod, world: World, output: str, words: str
) -> None:
    a_workflow(world, world.plan.run, output)
    assert pod.run(admit.body, admit.arguments(), "--workflow", world.plan.run) is Exit.INVALID
    assert words in pod.words
    assert world.cluster.writes() == []


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"disks": ()}, "no disks"),
        ({"disks": tuple(a_disk(number) for number in range(300))}, "disks"),
        ({"disks": (a_disk(0, capacity=1 << 60),)}, "limits.maxDiskCapacity"),
    ],
    ids=["no-disks", "many-disks", "large-disk"],
)
def test_admit_checks_the_limits_again(pod: Pod, world: World, machine: dict[str, Any], words: str) -> None:
    """Code in preflight could leave out its own check."""
    limits = ImportLimits(max_disk_capacity=1 << 50)
    world.plan.model_copy(update={"limits": limits}).save(pod.folder / "request" / "plan.json")
    a_workflow(world, world.plan.run, to_output(world.machine.model_copy(update=machine)))
    assert pod.run(admit.body, admit.arguments(), "--workflow", world.plan.run) is Exit.UNSUPPORTED
    assert words in pod.words
    assert world.cluster.writes() == []


class TestAdmit:
    """The names of the volumes are chosen once per Workflow, and stored where its pods find them."""

    def admitted(self, pod: Pod, workflow: str = "") -> Volumes:
        """Run admit as the pod of a Workflow, or without one; returns the names that it stored."""
        if workflow:
            a_workflow(pod.world, workflow, to_output(pod.world.machine))
        given = ("--workflow", workflow) if workflow else ()
        assert pod.run(admit.body, admit.arguments(), *given) is Exit.DONE
        return Volumes.load(pod.folder / "outputs" / "volumes.json")

    def stored(self, world: World, workflow: str) -> Object:
        found = world.cluster.peek(CONFIG_MAP, f"{workflow}-volumes", "vmferry")
        assert found is not None
        return found

    def test_the_names_are_stored_with_the_request(self, pod: Pod, world: World) -> None:
        run = world.plan.run
        made = self.admitted(pod, run)
        assert made.names == {"disk-0": "web01-disk-0"}
        found = self.stored(world, run)
        assert Volumes.model_validate_json(found["data"]["volumes.json"]) == made
        assert found["immutable"] is True
        assert found["metadata"]["ownerReferences"][0]["name"] == names.request(run)
        assert json.loads(pod.output("admission.json"))["findings"]

    def test_a_second_attempt_of_the_step_changes_nothing(self, pod: Pod, world: World) -> None:
        first = self.admitted(pod, world.plan.run)
        a_claim(world, "web01-disk-0")
        assert self.admitted(pod, world.plan.run) == first

    def test_another_workflow_of_the_run_keeps_the_names(self, pod: Pod, world: World) -> None:
        a_claim(world, "web01-disk-0")
        first = self.admitted(pod, world.plan.run)
        world.cluster.drop(CLAIM, "web01-disk-0", "default")
        again = f"{world.plan.run}-r1"
        assert self.admitted(pod, again) == first
        run = world.plan.run
        found = {one["metadata"]["name"] for one in world.cluster.all(CONFIG_MAP, "vmferry")}
        assert found == {f"{run}-request", f"{run}-machine", f"{run}-volumes", f"{again}-volumes"}

    def test_no_names_are_stored_if_the_target_refuses(self, pod: Pod, world: World) -> None:
        world.cluster.quota["default", CLAIM] = 0
        a_workflow(world, world.plan.run, to_output(world.machine))
        assert pod.run(admit.body, admit.arguments(), "--workflow", world.plan.run) is Exit.NO_SPACE
        assert world.cluster.peek(CONFIG_MAP, f"{world.plan.run}-volumes", "vmferry") is None

    def test_without_a_workflow_the_request_stores_the_names(self, pod: Pod, world: World) -> None:
        a_claim(world, "web01-disk-0")
        first = self.admitted(pod)
        first.save(pod.folder / "request" / "volumes.json")  # as the embedded runner does
        world.cluster.drop(CLAIM, "web01-disk-0", "default")
        assert self.admitted(pod) == first

    def test_unreadable_stored_names_are_an_error(self, pod: Pod, world: World) -> None:
        self.admitted(pod, world.plan.run)
        self.stored(world, world.plan.run)["data"] = {"volumes.json": "{"}
        assert pod.run(admit.body, admit.arguments(), "--workflow", world.plan.run) is Exit.INVALID
        assert "volumes.json in ConfigMap" in pod.words


def a_claim(world: World, name: str) -> None:
    metadata = {"name": name, "namespace": "default"}
    spec = {"storageClassName": "x", "resources": {"requests": {"storage": "1Gi"}}}
    world.cluster.put(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    )


def test_the_deletion_of_scratch_succeeds_whatever_the_cluster_answers(
    pod: Pod, world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.cluster.denied |= {("list", CLAIM), ("list", SERVICE)}
    assert pod.run(delete_scratch.body, delete_scratch.arguments()) is Exit.DONE
    captured = capfd.readouterr()
    assert (captured.out + captured.err).count("left in the cluster") == 2


def test_a_preflight_that_refuses_makes_nothing(
    pod: Pod, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = world.machine.model_copy(update={"disks": ()})
    monkeypatch.setattr(outage, "connect", lambda _: FakeProvider(bare))
    assert pod.run(preflight.body, preflight.arguments()) is Exit.UNSUPPORTED
    assert not list((pod.folder / "outputs").iterdir())


def test_labels_match_those_of_the_pods() -> None:
    """The label by which the Service finds serve is on every pod of the template (author.pods)."""
    assert tuple(f"migration.harvesterhci.io/{name}" for name in ("run", "disk", "stage")) == (
        names.LABEL_RUN,
        names.LABEL_DISK,
        names.LABEL_STAGE,
    )
