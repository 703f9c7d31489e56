"""The definitions of `v2v.kubevirt.io`, before the API server's own code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from tests.real.crd.judge import judged, program
from tests.unit.controller.manifests.test_v2v import CORRECTED, SEED
from workflows.api.crd_v2v import render
from workflows.api.v2v import DataVolumeItem, V2vCondition, V2vStatus

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")
OURS: Final = [one for one in YAML(typ="safe").load_all(CORRECTED) if one["kind"] != "Secret"]
IMPORT: Final = OURS[0]


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("v2v") / "crds.yaml"
    path.write_text(render())
    return path


def test_api_server_accepts_the_definitions(definitions: Path) -> None:
    ended = subprocess.run([program(), definitions], input="", capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_the_corrected_example_is_stored_unchanged(definitions: Path) -> None:
    """Also with a plain name as a target."""
    for given, answer in zip(OURS, judged(definitions, OURS), strict=True):
        assert (answer["errors"], answer["pruned"]) == ([], [])
        assert answer["object"] == given


def test_the_example_of_this_project_is_stored_unchanged(definitions: Path) -> None:
    path = Path(__file__).parents[3] / "examples" / "15-v2v.yaml"
    documents = [one for one in YAML(typ="safe").load_all(path) if one["kind"] != "Secret"]
    for given, answer in zip(documents, judged(definitions, documents), strict=True):
        assert (answer["errors"], answer["pruned"], answer["object"]) == ([], [], given)


def test_the_mistakes_of_the_example_are_dropped_or_refused(definitions: Path) -> None:
    documents = [one for one in YAML(typ="safe").load_all(SEED) if one["kind"] != "Secret"]
    for one in documents:
        one["metadata"] = one.pop("Metadata", None) or one["metadata"]
        one["metadata"].pop("annotations", None)
    answers = judged(definitions, documents)
    assert all("Spec" in answer["pruned"] for answer in answers)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targetVmName": "a" * 64}, "spec.targetVmName"),
        ({"providerCredentialsSecret": {"namespace": "default"}}, "spec.providerCredentialsSecret.name"),
        ({"source": {"vmware": {"mappings": {}}}}, "spec.source.vmware.vm"),
        ({"startVm": "often"}, "spec.startVm"),
        ({"source": {"ovirt": {"vm": {"id": 5}}}}, "spec.source.ovirt.vm.id"),
    ],
)
def test_what_the_schema_refuses(definitions: Path, change: dict[str, Any], words: str) -> None:
    (answer,) = judged(definitions, [{**IMPORT, "spec": {**IMPORT["spec"], **change}}])
    assert any(words in error for error in answer["errors"])


def test_our_status_is_stored_unchanged(definitions: Path) -> None:
    condition = V2vCondition(
        type="Valid",
        status="False",
        reason="SecretNotFound",
        message="x",
        last_heartbeat_time="2026-11-29T12:00:00Z",
        last_transition_time="2026-11-29T12:00:00Z",
    )
    empty = V2vCondition(type="Processing", status="True")
    volumes = (DataVolumeItem(name="web-disk-0"),)
    status = V2vStatus(target_vm_name="web", conditions=(condition, empty), data_volumes=volumes)
    for given in (status, V2vStatus()):
        (answer,) = judged(definitions, [{**IMPORT, "status": given.to_document()}])
        assert (answer["errors"], answer["pruned"]) == ([], [])
        assert V2vStatus.read(answer["object"]["status"]) == given
