"""serve ends with its image, with the failure of its sibling, or after its time limit."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from steps.model.contract import Exit, StepError, Stopped
from steps.model.kinds import IMAGE, WORKFLOW, Object
from steps.targets.cluster import markers
from steps.targets.cluster.completion import WorkflowRef
from steps.targets.cluster.serving import PATIENCE
from steps.targets.cluster.sibling import ImageStepWatcher, StepNode, await_success, phase_of
from steps.targets.harvester import image_names
from steps.targets.harvester.image_state import IMAGES
from tests.unit.steps.targets.harvester.world import World
from tests.unit.workflows.status.test_nodes import RECORDED


def sibling(world: World, workflow: str = "") -> ImageStepWatcher:
    return ImageStepWatcher(
        *(world.plan, "disk-0", world.cluster, IMAGES),
        workflow=WorkflowRef(workflow, "vmferry"),
        clock=world.time.clock,
    )


def a_workflow(phase: str, disk: str = "disk-0", *, stage: str = "image", packed: bool = False) -> Object:
    attempt = {"type": "Pod", "templateName": stage, "phase": "Failed"}
    parameters = {"inputs": {"parameters": [{"name": "disk", "value": disk}]}}
    nodes = {
        "a": attempt | parameters,
        "b": {"type": "Retry", "templateName": stage, "phase": phase} | parameters,
    }
    status: dict[str, Any] = {"nodes": nodes}
    if packed:
        status = {"compressedNodes": base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()}
    metadata = {"name": "w", "namespace": "vmferry"}
    return {"apiVersion": WORKFLOW.api_version, "kind": WORKFLOW.kind, "metadata": metadata, "status": status}


def failed_image(world: World) -> None:
    world.harvester.fail = ["why"]
    with pytest.raises(StepError):
        world.publish()


def test_serve_is_done_when_the_image_is_compared_and_stamped() -> None:
    world = World()
    serve = sibling(world)
    assert not serve.is_done()
    image = world.publish()
    assert serve.is_done()
    world.cluster.patch(
        IMAGE, image["metadata"]["name"], {"metadata": {"annotations": {markers.PUBLISHED: None}}}, "default"
    )
    assert not serve.is_done()


def test_the_mark_of_an_earlier_workflow_does_not_end_serve() -> None:
    """A retry by annotation or edited spec: the image exists, and its new step must still compare it."""
    world = World(disks=2)
    world.publish(0, "run")
    serve = sibling(world, "run-r1")
    assert not serve.is_done()
    world.publish(1, "run-r1")
    assert not serve.is_done()
    world.publish(0, "run-r1")
    assert serve.is_done()


def test_the_mark_counts_without_the_right_to_read_workflows() -> None:
    world = World()
    world.cluster.denied.add(("get", WORKFLOW))
    serve = sibling(world, "run-r1")
    world.publish(workflow="run")
    assert not serve.is_done()
    world.publish(workflow="run-r1")
    assert serve.is_done()


def test_serve_is_done_when_an_earlier_image_is_reused() -> None:
    world = World()
    world.publish()
    world.cluster.peek(IMAGE, image_names.image_name(world.plan.import_, "disk-0"), "default")["metadata"][  # type: ignore[index]
        "ownerReferences"
    ] = []
    world.planned("second")
    serve = sibling(world)
    assert not serve.is_done()
    world.publish()
    assert serve.is_done()


def test_serve_without_an_image_in_time_is_retryable() -> None:
    world = World()
    serve = sibling(world)
    world.time.now += PATIENCE
    assert not serve.is_done()
    world.time.now += 1
    with pytest.raises(
        StepError, match=r"image step did not report for 15 minutes.*quota or parallelism"
    ) as caught:
        serve.is_done()
    assert caught.value.code is Exit.UNREACHABLE


def test_serve_waits_without_limit_for_an_image_in_progress() -> None:
    world = World()
    world.harvester.held_at = 1
    with pytest.raises(StepError):
        world.publish()
    serve = sibling(world)
    for _ in range(100):
        world.time.now += PATIENCE
        assert not serve.is_done()


def test_serve_ends_if_a_failed_image_is_not_recreated() -> None:
    world = World()
    failed_image(world)
    serve = sibling(world)
    assert not serve.is_done()
    world.time.now += PATIENCE + 1
    with pytest.raises(StepError, match="the image of disk-0 failed") as caught:
        serve.is_done()
    assert caught.value.code is Exit.SIBLING


@pytest.mark.parametrize("packed", [False, True])
def test_serve_ends_if_its_image_step_has_no_attempts_left(*, packed: bool) -> None:
    world = World()
    world.cluster.put(a_workflow("Failed", packed=packed))
    with pytest.raises(StepError, match="a retry runs both") as caught:
        sibling(world, "w").is_done()
    assert caught.value.code is Exit.SIBLING


@pytest.mark.parametrize(
    ("phase", "disk"), [("Running", "disk-0"), ("Failed", "disk-1"), ("Pending", "disk-0")]
)
def test_serve_waits_while_its_image_step_may_still_run(phase: str, disk: str) -> None:
    world = World()
    world.cluster.put(a_workflow(phase, disk))
    assert not sibling(world, "w").is_done()


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_image_does_not_wait_for_a_failed_serve(phase: str) -> None:
    world = World()
    world.serving.silent = 10_000
    world.cluster.put(a_workflow(phase, stage="serve"))
    with pytest.raises(StepError, match=r"disk-0 is not served: its serve step.*a retry runs both") as caught:
        world.publish(workflow="w")
    assert caught.value.code is Exit.SIBLING
    assert world.time.now < 60
    assert world.cluster.writes() == []


@pytest.mark.parametrize("phase", ["Running", "Pending"])
def test_image_waits_while_its_serve_may_still_run(phase: str) -> None:
    world = World()
    world.serving.silent = 30
    world.cluster.put(a_workflow(phase, stage="serve"))
    world.publish(workflow="w")
    assert len(world.published()) == 1


@pytest.mark.parametrize("wrong", ["denied", "away"])
def test_image_waits_without_the_right_to_read_the_workflow(wrong: str) -> None:
    world = World()
    world.serving.silent = 30
    if wrong == "denied":
        world.cluster.denied.add(("get", WORKFLOW))
    else:
        world.cluster.reconcilers.append(Away(world))
    world.publish(workflow="w")
    assert len(world.published()) == 1


class Away:
    """An API server that does not answer while serve is silent."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, _: object) -> None:
        if 0 < self._world.serving.silent < 20:
            raise StepError(Exit.UNREACHABLE, "no answer")


def test_serve_is_done_even_if_the_image_was_deleted_since() -> None:
    world = World()
    world.cluster.put(a_workflow("Succeeded"))
    assert sibling(world, "w").is_done()


def test_serve_continues_without_the_right_to_read_workflows(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.cluster.denied.add(("get", WORKFLOW))
    serve = sibling(world, "w")
    assert not serve.is_done()
    assert not serve.is_done()
    asked = [call for call in world.cluster.calls if call.kind is WORKFLOW]
    assert len(asked) == 1
    captured = capsys.readouterr()
    assert "a failed image step is noticed late" in captured.out + captured.err


def test_serve_ends_without_the_right_to_list_images() -> None:
    world = World()
    world.cluster.denied.add(("list", IMAGE))
    with pytest.raises(StepError, match=r"right to list on virtualmachineimages\.harvesterhci\.io") as caught:
        sibling(world).is_done()
    assert caught.value.code is Exit.DENIED


def test_an_unreachable_api_server_does_not_end_serve() -> None:
    world = World()

    def away(_cluster: object) -> None:
        raise StepError(Exit.UNREACHABLE, "no answer")

    world.cluster.reconcilers.insert(0, away)
    serve = sibling(world)
    world.time.now += 10 * PATIENCE
    assert not serve.is_done()


def test_the_phase_of_a_sibling_is_read_from_the_recordings() -> None:
    """In recording 3 `image` of disk-1 failed because of a quota, in 5 it runs again."""
    found = {number: phase_of(RECORDED[number], "image", "disk-1") for number in ("3", "5")}
    assert found == {"3": "Failed", "5": "Running"}
    assert phase_of(RECORDED["3"], "image", "disk-0") == "Succeeded"


# --- hand-over waits for convert


def convert(world: World) -> StepNode:
    return StepNode(world.cluster, "convert", "disk-0", WorkflowRef("w", "vmferry"))


def test_the_wait_ends_when_the_other_step_of_the_same_disk_has_succeeded() -> None:
    world = World()
    phases = iter(["", "Pending", "Running", "Succeeded"])

    def advance(_: object) -> None:
        phase = next(phases, "Succeeded")
        made = a_workflow(phase, stage="convert")
        other = a_workflow("Succeeded", "disk-1", stage="convert")["status"]["nodes"]
        made["status"]["nodes"] |= {f"other-{name}": node for name, node in other.items()}
        world.cluster.put(made if phase else {**made, "status": {}})

    world.cluster.reconcilers.append(advance)
    world.cluster.put({**a_workflow("", stage="convert"), "status": {}})
    await_success(convert(world), world.time)
    assert next(phases, "none left") == "none left"


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_a_disk_whose_check_failed_is_not_handed_over(phase: str) -> None:
    world = World()
    world.cluster.put(a_workflow(phase, stage="convert"))
    with pytest.raises(StepError, match="convert disk-0 failed: its step has no attempts left") as caught:
        await_success(convert(world), world.time)
    assert caught.value.code is Exit.SIBLING


def test_a_wait_outlasts_an_api_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.cluster.put(a_workflow("Succeeded", stage="convert"))
    answers = [StepError(Exit.UNREACHABLE, "no answer")] * 100
    get = world.cluster.get

    def unreliable(*arguments: Any) -> Any:
        if answers:
            raise answers.pop()
        return get(*arguments)

    monkeypatch.setattr(world.cluster, "get", unreliable)
    await_success(convert(world), world.time)
    assert answers == []


@pytest.mark.parametrize(
    ("seconds", "most_late", "most_looks"), [(3, 0.26, 15), (60, 3.1, 80), (7200, 5.1, 1600)]
)
def test_a_wait_ends_soon_and_costs_the_api_server_little(
    seconds: float, most_late: float, most_looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, looks = World(), []
    get = world.cluster.get

    def counted(*arguments: Any) -> Any:
        looks.append(world.time.now)
        phase = "Succeeded" if world.time.now - looks[0] >= seconds else "Running"
        world.cluster.put(a_workflow(phase, stage="convert"))
        return get(*arguments)

    monkeypatch.setattr(world.cluster, "get", counted)
    await_success(convert(world), world.time)
    assert looks[-1] - looks[0] - seconds <= most_late
    assert len(looks) <= most_looks


def test_without_the_right_to_see_the_check_nothing_is_handed_over() -> None:
    world = World()
    world.cluster.put(a_workflow("Succeeded", stage="convert"))
    world.cluster.denied.add(("get", WORKFLOW))
    with pytest.raises(StepError) as caught:
        await_success(convert(world), world.time)
    assert caught.value.code is Exit.DENIED


def test_a_wait_ends_with_its_step() -> None:
    world = World()
    world.cluster.put(a_workflow("Running", stage="convert"))
    world.cluster.reconcilers.append(lambda _: world.time.set() if world.time.now > 5 else None)
    with pytest.raises(Stopped):
        await_success(convert(world), world.time)
