"""Each command in the template is parsed by its step's own parser."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from steps import admit, preflight
from steps.model import leftovers
from steps.model.contract import CREDENTIALS, OUTPUTS, REQUEST, SCRATCH, StepError
from steps.model.machine_output import MACHINE_OUTPUT
from steps.model.restore import RESTORED
from steps.model.volumes import VOLUMES
from steps.runtime.program import Arguments
from tests.unit.workflows.author.rendered import PROGRAMS, pod, volumes
from workflows.stages import Scope, Stage

each_program = pytest.mark.parametrize("stage", PROGRAMS, ids=lambda stage: stage.name)


def parser_of(stage: Stage) -> Arguments:
    made: Arguments = importlib.import_module(f"steps.{stage.program}").arguments()
    return made


def command(stage: Stage) -> list[str]:
    """The arguments as the program receives them."""
    given = [
        re.sub(r"{{inputs\.parameters\.disk}}", "disk-7", text)
        for text in pod(stage)["container"].get("args", [])
    ]
    given = [re.sub(r"{{workflow\.parameters\.(undo|keep-off)}}", "false", text) for text in given]
    return [re.sub(r"{{(workflow|inputs)\.[a-z.-]+}}", "x", text) for text in given]


@pytest.mark.parametrize(
    "stage", [stage for stage in PROGRAMS if stage.checks_source], ids=lambda one: one.name
)
def test_the_init_containers_accept_their_commands(stage: Stage) -> None:
    for container in pod(stage)["initContainers"]:
        module = importlib.import_module(container["command"][2])
        module.arguments().parse_args(
            [re.sub(r"{{workflow\.[a-z.-]+}}", "x", text) for text in container["args"]]
        )


@each_program
def test_step_accepts_its_command(stage: Stage) -> None:
    parser_of(stage).parse_args(command(stage))


def test_step_refuses_unknown_options() -> None:
    with pytest.raises(StepError):
        parser_of(PROGRAMS[0]).parse_args(["--work-flow", "x"])


@each_program
def test_disk_stage_receives_its_disk(stage: Stage) -> None:
    given = parser_of(stage).parse_args(command(stage))
    assert getattr(given, "disk", None) == ("disk-7" if stage.scope is Scope.DISK else None)


@each_program
def test_folders_are_mounted_at_the_default_paths(stage: Stage) -> None:
    given = parser_of(stage).parse_args(command(stage))
    assert (given.request, given.credentials, given.outputs) == (REQUEST, CREDENTIALS, OUTPUTS)
    mounted = {Path(path) for path in volumes(stage)}
    assert {REQUEST, OUTPUTS} <= mounted
    if stage.credentials:
        assert {CREDENTIALS, given.scratch} <= mounted, "what is held at the source is noted in scratch"
    if stage.scratch:
        assert given.scratch == SCRATCH


def test_output_parameters_are_the_files_of_the_steps() -> None:
    files = {
        stage.name: {Path(one["valueFrom"]["path"]) for one in pod(stage)["outputs"]["parameters"]}
        for stage in PROGRAMS
        if stage.outputs
    }
    assert files["preflight"] == {OUTPUTS / preflight.DISKS, OUTPUTS / MACHINE_OUTPUT}
    assert files["admit"] == {OUTPUTS / name for name in (admit.DISKS, admit.ADMISSION, VOLUMES)}
    assert files["release-source"] == {OUTPUTS / leftovers.OUTPUT, OUTPUTS / RESTORED}
