"""The status of an import into Harvester of which some disks land on plain volumes."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from steps.model.landing import LandingDisk, MixedDisk
from tests.unit.workflows.status.situations import (
    DISKS,
    RUN,
    WORDS,
    Json,
    a_shape,
    failed,
    node,
    reflected,
    summary,
    upto,
)
from workflows.api.conditions import find
from workflows.api.status import ImportPhase, ImportStatus

MIXED: Final = {"workflowTemplateRef": {"name": "vmferry-vmware-mixed"}}
IMAGE: Final = "disk-0"
PLAIN: Final = "disk-1"
ROWS: Final = [
    MixedDisk.on_scratch(IMAGE, f"{RUN}-{IMAGE}").model_dump(),
    MixedDisk.on_volume(
        LandingDisk.of(PLAIN, f"{RUN}-{PLAIN}", "Block", landed=False), f"{RUN}-{PLAIN}-notes"
    ).model_dump(),
]


def outputs(**values: str) -> Json:
    parameters = [{"name": name, "value": value} for name, value in values.items()]
    return {"exitCode": "0", "parameters": parameters}


def admitted() -> Json:
    return node("admit", outputs=outputs(disks=json.dumps(ROWS)))


def mixed(*nodes: Json, **more: Any) -> ImportStatus:
    before = [one for one in upto("image") if not one["name"].endswith(".admit")]
    return reflected(*before, admitted(), *nodes, spec=MIXED, **more)


def skipped(stage: str, disk: str) -> Json:
    return node(stage, "Skipped", disk, kind="Skipped")


SKIPPED: Final = (skipped("serve", PLAIN), skipped("image", PLAIN), skipped("hand-over", IMAGE))
HANDED: Final = node("hand-over", disk=PLAIN, outputs=outputs(volume="web01-disk-1", integrity="read-back"))
IMPORTED: Final = node(
    "image", disk=IMAGE, outputs=outputs(image="web01-disk-0", volume="web01-disk-0", integrity="sha512")
)


@pytest.mark.parametrize(
    ("nodes", "phase"),
    [
        (SKIPPED, ImportPhase.DISKS_EXPORTED),
        ((*SKIPPED, HANDED), ImportPhase.DISKS_EXPORTED),
        ((*SKIPPED, IMPORTED), ImportPhase.DISKS_EXPORTED),
        ((*SKIPPED, HANDED, node("image", "Running", IMAGE)), ImportPhase.IMAGES_SUBMITTED),
        ((*SKIPPED, HANDED, IMPORTED), ImportPhase.IMAGES_READY),
        ((*SKIPPED, IMPORTED, failed("hand-over", 13, WORDS, PLAIN)), ImportPhase.IMAGE_FAILED),
        ((*SKIPPED, HANDED, IMPORTED, node("build")), ImportPhase.CREATED),
    ],
)
def test_a_skipped_stage_does_not_complete_a_disk(nodes: tuple[Json, ...], phase: ImportPhase) -> None:
    assert mixed(*nodes).import_status == phase


def test_each_row_is_about_the_stage_of_its_way() -> None:
    status = mixed(*SKIPPED, HANDED, IMPORTED, shape=a_shape(1 << 30, 2 << 30))
    rows = {row.id: row for row in status.disk_import_status}
    assert {row.percent for row in rows.values()} == {100}
    assert (rows[IMAGE].integrity, rows[PLAIN].integrity) == ("sha512", "read-back")
    assert (rows[IMAGE].virtual_machine_image, rows[PLAIN].virtual_machine_image) == ("web01-disk-0", "")
    words = {
        disk: condition.message
        for disk in DISKS
        if (condition := find(rows[disk].disk_conditions, "VirtualMachineImageReady"))
    }
    assert words == {IMAGE: "The image is ready", PLAIN: "The volume is handed over"}


def test_a_disk_that_lands_is_not_complete_before_it_was_read_back() -> None:
    nodes = [one for one in upto("convert") if not one["name"].endswith(".admit")]
    status = reflected(*nodes, admitted(), spec=MIXED, shape=a_shape(1 << 30, 1 << 30))
    assert {row.id: row.percent for row in status.disk_import_status} == {IMAGE: 70, PLAIN: 87}


def test_a_refused_hand_over_is_the_reason() -> None:
    status = mixed(*SKIPPED, IMPORTED, failed("hand-over", 13, WORDS, PLAIN), phase="Failed")
    assert (status.step, summary(status).reason) == ("hand-over disk-1", "NoSpace")


@pytest.mark.parametrize("text", ["", "[", "{}", '[{"way": "land"}]', '[{"disk": 1, "way": []}]', "[[]]"])
def test_rows_of_another_form_are_ignored(text: str) -> None:
    nodes = [one for one in upto("image") if not one["name"].endswith(".admit")]
    status = reflected(*nodes, node("admit", outputs=outputs(disks=text)), IMPORTED, spec=MIXED)
    assert status.disk_import_status
