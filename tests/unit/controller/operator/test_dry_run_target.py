"""A dry run asks the target, too, in a pod of its own without credentials of the source."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from steps.model.admission import Admission, passed, warned
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, MACHINE, POD, Object
from steps.model.machine import Machine
from steps.model.plan import Plan
from steps.model.target_answer import Refusal, TargetAnswer
from steps.model.volumes import Volumes
from tests.unit.builders import a_machine
from tests.unit.controller.operator.kubelet import check_pods, described
from tests.unit.controller.operator.world import World
from workflows.api.conditions import find
from workflows.api.status import Condition

ANSWER: Final = TargetAnswer(
    admission=Admission(findings=(passed("vm"), warned("capacity", "the class fast has little room"))),
    volumes=Volumes(names={"disk-0": "web01-disk-0-abc12"}),
)
REFUSED: Final = TargetAnswer(
    admission=Admission(findings=(passed("name"),)),
    refused=(
        Refusal(code=13, message="the quota of namespace default is too small"),
        Refusal(code=10, message="storage class fast has no access mode ReadWriteMany"),
    ),
)


def planned(answer: TargetAnswer | None, looks: int = 3, **spec: Any) -> World:
    world = World(dryRun=True, **spec)
    world.script.answer = lambda *_: described(a_machine())
    world.target_answer = answer
    world.look(looks)
    return world


def page(world: World) -> dict[str, str]:
    reference = world.status.planned
    assert reference is not None
    found = world.cluster.peek(CONFIG_MAP, reference.config_map.removeprefix("vmferry/"), "vmferry")
    assert found is not None
    data: dict[str, str] = found["data"]
    return data


def condition(world: World) -> Condition:
    found = find(world.status.import_conditions, "Planned")
    assert found is not None
    return found


def pod(world: World) -> Object:
    (found,) = [one for one in world.cluster.all(POD) if one["metadata"]["name"].endswith("-dry-run-1")]
    return found


def test_the_plan_has_what_the_target_says() -> None:
    world = planned(ANSWER)
    data = page(world)
    assert (condition(world).status, condition(world).reason) == ("True", "Planned")
    assert "passed: vm\nwarning: capacity: the class fast has little room\n" in data["plan.txt"]
    assert "web01-disk-0-abc12" in data["virtualmachine.yaml"]
    assert TargetAnswer.model_validate_json(data["target.json"]) == ANSWER


def test_what_the_target_refuses_is_reported_all_at_once_and_with_the_plan() -> None:
    world = planned(REFUSED)
    assert (condition(world).status, condition(world).reason) == ("False", "NotPossible")
    assert world.status.message == (
        "the quota of namespace default is too small | storage class fast has no access mode ReadWriteMany"
    )
    assert "refused: the quota of namespace default is too small\n" in page(world)["plan.txt"]
    assert world.workflows() == []


def test_the_pod_has_the_identity_of_admit_and_no_credentials() -> None:
    world = planned(None)
    spec = pod(world)["spec"]
    assert spec["serviceAccountName"] == "vmferry-target"
    assert spec["automountServiceAccountToken"] is False
    assert [one["name"] for one in spec["volumes"]] == ["request", "tmp", "api-access"]
    assert "secret" not in json.dumps(spec["volumes"]).lower()
    (container,) = spec["containers"]
    assert container["command"] == ["python", "-m", "steps.ask_target"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "env" not in container


def test_the_pod_gets_the_plan_and_the_vm_that_the_first_one_has_found() -> None:
    world = planned(None)
    request = world.cluster.peek(CONFIG_MAP, pod(world)["metadata"]["name"], "vmferry")
    assert request is not None
    assert Plan.model_validate_json(request["data"]["plan.json"]).vm == "web01"
    assert Machine.model_validate_json(request["data"]["machine.json"]) == a_machine()


def test_nothing_is_left_and_nothing_was_made_at_the_target() -> None:
    world = planned(ANSWER)
    assert check_pods(world.cluster) == []
    assert world.cluster.all(POD) == []
    assert [one for one in world.cluster.all(CONFIG_MAP) if "dry-run" in one["metadata"]["name"]] == []
    assert world.cluster.all(MACHINE) == []


@pytest.mark.parametrize("end", ["delete", "withdraw"])
def test_a_dry_run_that_is_not_wanted_any_more_leaves_no_pod(end: str) -> None:
    world = planned(None)
    assert pod(world)
    if end == "delete":
        world.delete()
    else:
        world.apply(dryRun=False)
    world.look(2)
    assert world.cluster.all(POD) == []


def ended(world: World, **status: Any) -> None:
    pod(world)["status"] = status
    world.look()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "the pod that asks it failed: DeadlineExceeded"),
        (
            {
                "phase": "Failed",
                "containerStatuses": [{"state": {"terminated": {"message": "the API does not answer\n"}}}],
            },
            "the API does not answer",
        ),
        ({"phase": "Succeeded"}, "the description of the VM cannot be read"),
    ],
)
def test_a_target_that_could_not_be_asked_is_not_checked(status: dict[str, Any], words: str) -> None:
    world = planned(None)
    ended(world, **status)
    assert condition(world).reason == "Planned"
    assert f"not checked: target: {words}" in page(world)["plan.txt"]


def test_a_pod_that_does_not_start_is_given_up() -> None:
    world = planned(None)
    ended(world, phase="Pending")
    assert world.summary.reason == "Planning"
    world.look(13)
    assert "not checked: target: the pod that asks it could not start" in page(world)["plan.txt"]


def test_a_pod_of_an_earlier_dry_run_is_waited_for() -> None:
    world = World(dryRun=True)
    world.script.answer = lambda *_: described(a_machine())
    world.target_answer = None
    world.look(2)
    old = pod(world)
    old["metadata"]["ownerReferences"][0]["uid"] = "of-another-pod"
    old["status"] = {"phase": "Succeeded"}
    world.look(2)
    assert world.summary.reason == "Planning"


def test_an_answer_passes_through_a_log_unchanged() -> None:
    for answer in (TargetAnswer(), ANSWER, REFUSED, TargetAnswer.unknown("x")):
        assert TargetAnswer.from_output(answer.to_output()) == answer


@pytest.mark.parametrize("text", ["", "!", "AAAA", "x" * (1 << 20), "H4sIAAAAAAAC/wMAAAAAAAAAAAA="])
def test_another_text_is_no_answer(text: str) -> None:
    with pytest.raises(StepError) as caught:
        TargetAnswer.from_output(text)
    assert caught.value.code is Exit.CORRUPT
