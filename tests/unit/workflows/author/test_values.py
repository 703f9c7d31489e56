"""The chart's values are documented one by one, and the schema is closed. Without Helm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from controller.operator.options import Options
from steps.model.patching import DEFAULT_PATHS
from steps.model.plan import DiskWay, ImportLimits, TargetKind
from tests.unit.workflows.author.rendered import CHART, PROGRAMS, Json, parse
from workflows.author.installation import Installation
from workflows.author.pods import FETCH
from workflows.author.template import OF_GUEST
from workflows.stages import SOURCE_CHECK, stages_for

VALUES: Final = parse((CHART / "values.yaml").read_text())
SCHEMA: Final[Json] = json.loads((CHART / "values.schema.json").read_text())


def objects(schema: Any) -> Iterator[Json]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from objects(inner)


def test_the_schema_is_closed() -> None:
    open_ones = [one for one in objects(SCHEMA) if one.get("additionalProperties") is None]
    assert [one.get("description") for one in open_ones] == ["reserved by Helm"]


def test_values_and_schema_have_the_same_keys() -> None:
    assert shape(VALUES) == shape_of_schema(SCHEMA["properties"]) - {"global"}


def test_the_default_of_the_chart_for_patches_is_that_of_the_command_line() -> None:
    assert VALUES["import"]["patchPaths"] == list(DEFAULT_PATHS)


OPEN: Final = ("resources", "digests")
"""Values whose default is empty; another test covers their keys."""


def shape(values: Json, path: str = "") -> set[str]:
    """Paths of values, down to where the schema names no more fields."""
    found = set()
    for key, value in values.items():
        inner = isinstance(value, dict) and bool(value) and key not in OPEN
        found |= shape(value, f"{path}{key}.") if inner else {f"{path}{key}"}
    return found


def shape_of_schema(properties: Json, path: str = "") -> set[str]:
    found = set()
    for key, value in properties.items():
        inner = value.get("properties") if key not in OPEN else None
        found |= shape_of_schema(inner, f"{path}{key}.") if inner else {f"{path}{key}"}
    return found


def test_every_stage_has_a_resources_value() -> None:
    stages = SCHEMA["properties"]["workflow"]["properties"]["resources"]["properties"]
    init_containers = {FETCH, SOURCE_CHECK}
    every = stages_for(TargetKind.HARVESTER, DiskWay.MIXED, asked=OF_GUEST)
    of_landing = {stage.name for stage in every if not stage.gate and not stage.answer}
    assert set(stages) == {stage.name for stage in PROGRAMS} | of_landing | init_containers


def test_default_values_equal_those_of_the_author() -> None:
    workflow, settings = VALUES["workflow"], Installation()
    assert (workflow["keepSucceeded"], workflow["keepFailed"], workflow["pendingTimeout"]) == (
        settings.keep_succeeded,
        settings.keep_failed,
        settings.pending_timeout,
    )
    assert (VALUES["images"]["repository"], VALUES["images"]["pullPolicy"]) == (
        settings.repository,
        settings.pull_policy,
    )


def test_default_values_equal_those_of_the_controller() -> None:
    controller, options = VALUES["controller"], Options()
    of_the_chart = ("replicas", "debug", "metricsService", "resources")
    given = {key: value for key, value in controller.items() if key not in of_the_chart}
    assert given == {key: options.model_dump(mode="json", by_alias=True)[key] for key in given}
    assert VALUES["import"]["format"] == options.format
    assert VALUES["scratch"] == options.settings.scratch.model_dump(mode="json", by_alias=True)
    limits = {key: VALUES["limits"][key] for key in ("machines", "streams")}
    assert limits == options.limits.model_dump()
    of_imports = ("maxDisks", "maxDiskCapacity", "maxScratchPerNamespace")
    given_limits = ImportLimits.model_validate({key: VALUES["limits"][key] for key in of_imports})
    assert given_limits == options.settings.limits


def test_chart_and_image_have_the_same_version() -> None:
    chart = parse((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == Installation().tag


def test_every_value_has_a_comment() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    tops = [number for number, line in enumerate(lines) if line and line[0].isalpha()]
    assert all(lines[number - 1].startswith("#") for number in tops)
