"""Reads the written YAML: the tests check the YAML that ships, not the objects it was made from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from steps.model.plan import TargetKind
from workflows.stages import CLEANUP, Scope, Stage, stages_for

CHART: Final = Path(__file__).parents[4] / "charts" / "vmferry"
TEMPLATE: Final = CHART / "files" / "vmware.yaml"
GOLDEN: Final = Path(__file__).parent / "golden"

Json = dict[str, Any]

STAGES: Final = stages_for(TargetKind.HARVESTER)
PROGRAMS: Final = tuple(stage for stage in STAGES if not stage.gate)
GATES: Final = tuple(stage for stage in STAGES if stage.gate)
INNER: Final = tuple(stage for stage in STAGES if stage.scope is not Scope.EXIT)


def parse(text: str) -> Json:
    loaded: Json = YAML(typ="safe").load(text)
    return loaded


@cache
def spec() -> Json:
    found: Json = parse(TEMPLATE.read_text())["spec"]
    return found


def templates() -> dict[str, Json]:
    return {one["name"]: one for one in spec()["templates"]}


def dags() -> dict[str, dict[str, Json]]:
    """The tasks of every DAG, by name."""
    found = {name: one["dag"]["tasks"] for name, one in templates().items() if "dag" in one}
    return {name: {task["name"]: task for task in tasks} for name, tasks in found.items()}


def inner_dags() -> dict[str, dict[str, Json]]:
    """The DAGs of the import itself, without the exit handler."""
    return {name: tasks for name, tasks in dags().items() if name != CLEANUP}


def pod(stage: Stage) -> Json:
    return templates()[stage.name]


def volumes(stage: Stage) -> dict[str, Json]:
    """What a stage mounts: path to volume, with `readOnly` and `name` of the mount."""
    one = pod(stage)
    by_name = {volume["name"]: volume for volume in one["volumes"]}
    return {
        mount["mountPath"]: {**by_name[mount["name"]], **mount} for mount in one["container"]["volumeMounts"]
    }


def waits(task: Json) -> list[str]:
    """The tasks that a task waits for, however they end."""
    return list(dict.fromkeys(re.findall(r"([a-z-]+)(?:\.[A-Z][a-z]+)?", task.get("depends", ""))))


def keys(value: Any) -> Iterator[str]:
    """Every key of every mapping inside, also those of annotations and labels."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def texts(value: Any) -> Iterator[str]:
    """Every text inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
