"""The status of an import whose disks land on their volumes."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from steps.model.landing import LandingDisk
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
from workflows.status.nodes import disk_of, stage_of

LANDS: Final = {"workflowTemplateRef": {"name": "vmferry-vmware-land"}}
ROWS: Final = [LandingDisk.of(disk, f"{RUN}-{disk}", "Block", landed=False).model_dump() for disk in DISKS]


def landing(*nodes: Json, **more: Any) -> ImportStatus:
    return reflected(*nodes, spec=LANDS, **more)


def handed(disk: str) -> Json:
    values = {"volume": f"web01-{disk}", "integrity": "read-back"}
    parameters = [{"name": name, "value": value} for name, value in values.items()]
    return node("hand-over", disk=disk, outputs={"exitCode": "0", "parameters": parameters})


BEFORE: Final = upto("image")


@pytest.mark.parametrize(
    ("nodes", "phase"),
    [
        (BEFORE, ImportPhase.DISKS_EXPORTED),
        ([*BEFORE, *(node("hand-over", "Running", disk) for disk in DISKS)], ImportPhase.IMAGES_SUBMITTED),
        ([*BEFORE, *(handed(disk) for disk in DISKS)], ImportPhase.IMAGES_READY),
        ([*BEFORE, handed("disk-0"), failed("hand-over", 13, WORDS, "disk-1")], ImportPhase.IMAGE_FAILED),
        ([*BEFORE, *(handed(disk) for disk in DISKS), node("build")], ImportPhase.CREATED),
    ],
)
def test_the_hand_over_takes_the_place_of_the_image(nodes: list[Json], phase: ImportPhase) -> None:
    assert landing(*nodes).import_status == phase


BEGUN: Final = upto("export")
LANDED: Final = upto("image")


@pytest.mark.parametrize(
    ("nodes", "phase", "step"),
    [
        ((*BEGUN[:-1], node("poweroff", "Running")), ImportPhase.SOURCE_READY, "poweroff"),
        ((*BEGUN, node("export", "Running", "disk-0")), ImportPhase.SOURCE_READY, "export"),
        ((*LANDED, node("hand-over", "Running", "disk-1")), ImportPhase.DISKS_EXPORTED, "hand-over"),
        (
            (*LANDED, handed("disk-0"), node("hand-over", "Pending", "disk-1")),
            ImportPhase.DISKS_EXPORTED,
            "hand-over",
        ),
    ],
    ids=["shutdown", "copy", "hand-over", "half"],
)
def test_a_vm_that_is_made_while_its_disks_land_is_not_complete(
    nodes: tuple[Json, ...], phase: ImportPhase, step: str
) -> None:
    status = landing(*nodes, node("build"), shape=a_shape(1 << 30, 1 << 30))
    assert (status.import_status, status.step) == (phase, step)
    complete = landing(
        *LANDED, *(handed(disk) for disk in DISKS), node("build"), shape=a_shape(1 << 30, 1 << 30)
    )
    assert complete.import_status == ImportPhase.CREATED
    assert status.percent < complete.percent


def test_a_vm_that_cannot_be_made_is_the_reason_while_its_disks_land() -> None:
    status = landing(*BEGUN, failed("build", 13, WORDS), node("export", "Running", "disk-0"))
    assert (status.step, status.import_status) == ("build", ImportPhase.SOURCE_READY)
    assert WORDS in status.message


def test_a_disk_that_is_handed_over_is_complete() -> None:
    status = landing(*BEFORE, *(handed(disk) for disk in DISKS), shape=a_shape(1 << 30, 2 << 30))
    for row in status.disk_import_status:
        assert (row.percent, row.integrity, row.disk_name) == (100, "read-back", f"web01-{row.id}.img")
        ready = find(row.disk_conditions, "VirtualMachineImageReady")
        assert ready is not None
        assert ready.message == "The volume is handed over"


def test_a_copied_disk_is_not_complete_before_it_was_read_back() -> None:
    status = landing(*upto("convert"), shape=a_shape(1 << 30, 1 << 30))
    assert {row.percent for row in status.disk_import_status} == {87}


def test_a_refused_hand_over_is_the_reason() -> None:
    status = landing(*BEFORE, failed("hand-over", 13, WORDS, "disk-1"), phase="Failed")
    assert (status.step, summary(status).reason) == ("hand-over disk-1", "NoSpace")


def test_the_disks_of_admit_are_rows() -> None:
    outputs = {"exitCode": "0", "parameters": [{"name": "disks", "value": json.dumps(ROWS)}]}
    status = landing(node("admit", outputs=outputs))
    assert [row.id for row in status.disk_import_status] == list(DISKS)


@pytest.mark.parametrize("rows", [[{"disk": "../x"}], [{"disk": 1}], [{}], [[]], [None]])
def test_rows_of_another_form_are_ignored(rows: list[Any]) -> None:
    outputs = {"exitCode": "0", "parameters": [{"name": "disks", "value": json.dumps(rows)}]}
    assert landing(node("admit", outputs=outputs)).disk_import_status == ()


def test_the_node_of_a_stage_is_found_by_the_name_that_argo_gives_it() -> None:
    """Argo lists the fields of an item (argo-workflows workflow/controller/dag.go, expandTask)."""
    fields = ",".join(f"{key}:{value}" for key, value in sorted(ROWS[0].items()))
    inputs = {"parameters": [{"name": "disk", "value": "disk-0"}, {"name": "claim", "value": "x"}]}
    one = {"name": f"{RUN}.transfer.disks(0:{fields}).hand-over(1)", "inputs": inputs}
    assert (stage_of(one), disk_of(one)) == ("hand-over", "disk-0")


def test_disks_that_were_handed_over_before_skip_the_copy() -> None:
    stages = ("export", "convert")
    skipped = [node(stage, "Skipped", disk, kind="Skipped") for stage in stages for disk in DISKS]
    status = landing(*upto("export"), *skipped, *(handed(disk) for disk in DISKS))
    assert status.import_status == ImportPhase.IMAGES_READY
