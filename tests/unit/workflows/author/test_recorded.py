"""The recordings are genuine: written by Argo, from the current template."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from workflows.author.installation import Installation
from workflows.author.template import template
from workflows.stages import STAGES

Json = dict[str, Any]
RECORDED: Final = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[3] / "recorded").glob("*.json"))
}
CONTROLLER: Final = "workflow-controller"
"""Field manager of Argo's controller (argo-workflows cmd/workflow-controller)."""


def faults(workflow: Json) -> list[str]:
    """Reasons why a document is not a recording of one of our Workflows by Argo."""
    metadata, status = workflow["metadata"], workflow["status"]
    fields = {entry["manager"]: entry for entry in metadata.get("managedFields", [])}
    wrote = json.dumps(fields.get(CONTROLLER, {}).get("fieldsV1", {}))
    found = []
    if "f:nodes" not in wrote or "f:storedWorkflowTemplateSpec" not in wrote:
        found.append("Argo's controller did not write its status")
    if not {"uid", "resourceVersion", "creationTimestamp"} <= set(metadata):
        found.append("it was never in an API server")
    if metadata["labels"].get("workflows.argoproj.io/workflow-template") != "vmferry-vmware":
        found.append("it is not of our template")
    if names.LABEL_UID not in metadata["labels"]:
        found.append("it carries out no import")
    if made_of(status["storedWorkflowTemplateSpec"]) != made_of(template(Installation())["spec"]):
        found.append("the template has changed since: record it again (tests/recorded/README.md)")
    if not {node.get("templateName") for node in status["nodes"].values()} & {one.name for one in STAGES}:
        found.append("none of its nodes is a stage")
    return found


def made_of(spec: Json) -> Json:
    """The requirements of a template, stage by stage, without what an installation chooses."""
    return {
        one["name"]: {
            "container": {
                key: part for key, part in one.get("container", {}).items() if key in ("command", "args")
            },
            "dag": [
                (task["name"], task["template"], task.get("depends"), task.get("when"))
                for task in one.get("dag", {}).get("tasks", [])
            ],
            "retry": one.get("retryStrategy", {}).get("expression"),
        }
        for one in spec["templates"]
    }


@pytest.mark.parametrize("moment", RECORDED)
def test_every_recording_is_genuine(moment: str) -> None:
    assert faults(RECORDED[moment]) == []


def test_all_recordings_are_of_one_workflow() -> None:
    assert len({one["metadata"]["uid"] for one in RECORDED.values()}) == 1
    versions = [int(one["metadata"]["resourceVersion"]) for one in RECORDED.values()]
    assert versions == sorted(versions)


def test_a_fabricated_recording_is_detected() -> None:
    made_up = copy.deepcopy(RECORDED["3-failed"])
    made_up["metadata"]["managedFields"] = [{"manager": "kubectl-edit", "fieldsV1": {"f:status": {}}}]
    assert faults(made_up) == ["Argo's controller did not write its status"]
    older = copy.deepcopy(RECORDED["3-failed"])
    older["status"]["storedWorkflowTemplateSpec"]["templates"][0]["container"]["args"].append("--more")
    assert faults(older) == ["the template has changed since: record it again (tests/recorded/README.md)"]
