"""The statuses of an import that the real Argo carries out, as files for people to read.

`VMFERRY_GOLDEN=write pytest tests/unit/workflows/status -k golden` rewrites them: look at the diff before you
commit it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from steps.model.yaml import to_yaml
from tests.unit.builders import an_import
from tests.unit.workflows.status.situations import RECORDED, Json
from workflows.api.status import ImportStatus
from workflows.status.reflect import reflect

GOLDEN: Final = Path(__file__).parent / "golden"
IMPORT: Final = an_import("recorded", virtualMachineName="recorded", approvals=["poweroff"])


def status_at(moment: str) -> ImportStatus:
    """The status at a moment; each is reflected over the one before, as a controller does."""
    status = None
    for name, workflow in RECORDED.items():
        status = reflect(workflow, IMPORT, status, written(workflow))
        if name == moment:
            return status
    raise KeyError(moment)


def written(workflow: Json) -> datetime:
    """The time of the last write to the recording, by any writer."""
    times = [str(entry["time"]) for entry in workflow["metadata"]["managedFields"]]
    return datetime.fromisoformat(max(times))


def as_yaml(status: ImportStatus) -> str:
    return to_yaml(status.model_dump(by_alias=True, mode="json", exclude_defaults=True))


@pytest.mark.parametrize("moment", RECORDED)
def test_golden_status(moment: str) -> None:
    golden = GOLDEN / f"{moment}.yaml"
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "golden files are written by a person, who reads the diff"
        golden.write_text(as_yaml(status_at(moment)))
        pytest.skip(f"{golden} written")
    assert golden.read_text() == as_yaml(status_at(moment))


def test_the_recordings_have_these_phases() -> None:
    """Finds a wrong golden file that was written by mistake."""
    assert [status_at(moment).import_status for moment in RECORDED] == [
        "virtualMachineImportValid",
        "sourceReady",
        "VMMigrationFailed",
        "disksExported",
        "diskImageSubmitted",
        "virtualMachineRunning",
    ]


def test_the_failure_has_its_step_and_message() -> None:
    failed = status_at("3-failed")
    assert failed.step == "image disk-1"
    (leaf,) = [
        node
        for node in RECORDED["3-failed"]["status"]["nodes"].values()
        if node["type"] == "Pod" and node["templateName"] == "image" and node["phase"] == "Failed"
    ]
    assert leaf["message"] == f"main: Error (exit code 13): {failed.message}\n"


@pytest.mark.parametrize("moment", RECORDED)
def test_a_recording_alone_has_the_same_phase(moment: str) -> None:
    """A controller that has just started has no earlier status."""
    alone = reflect(RECORDED[moment], IMPORT, None, datetime(2026, 11, 21, 2, tzinfo=UTC))
    assert (alone.import_status, alone.step, alone.message) == (
        status_at(moment).import_status,
        status_at(moment).step,
        status_at(moment).message,
    )
