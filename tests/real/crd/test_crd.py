"""The definitions, before the API server's own code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from steps.model.kinds import GROUP
from tests.real.crd.judge import judged, program
from tests.unit.workflows.api.test_crd import ACCEPTED, NAMES
from workflows.api.crd import render
from workflows.api.status import ImportPhase, ImportStatus

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crds") / "crds.yaml"
    path.write_text(render())
    return path


@needs_go
def test_api_server_accepts_the_definitions(definitions: Path) -> None:
    ended = subprocess.run([program(), definitions], input="", capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@needs_go
def test_api_server_refuses_a_definition_that_is_not_structural(tmp_path: Path) -> None:
    broken = tmp_path / "crds.yaml"
    broken.write_text(render().replace("type: integer\n", "format: int64\n"))
    ended = subprocess.run([program(), broken], input="", capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "must not be empty for specified object fields" in ended.stdout


@needs_go
def test_manifests_of_vm_import_controller_are_accepted_unchanged(definitions: Path) -> None:
    for name, given, answer in zip(NAMES, ACCEPTED, judged(definitions, ACCEPTED), strict=True):
        assert (name, answer["errors"], answer["pruned"]) == (name, [], [])
        assert answer["object"] == given


@needs_go
def test_unknown_fields_are_pruned_not_refused(definitions: Path) -> None:
    given = {**ACCEPTED[0], "spec": {"endpoint": "e", "vcenterVersion": 8, "credentials": {"key": "k"}}}
    (answer,) = judged(definitions, [given])
    assert answer["errors"] == []
    assert sorted(answer["pruned"]) == ["spec.credentials.key", "spec.vcenterVersion"]
    assert answer["object"]["spec"] == {"endpoint": "e", "credentials": {}}


REFUSED: Final = {  # vm-import-controller's definitions refuse them, too
    "networkInterfaceModel": {"networkMapping": [{"networkInterfaceModel": "vmxnet3"}]},
    "defaultNetworkInterfaceModel": {"defaultNetworkInterfaceModel": None},
    "sourceCluster": {"sourceCluster": None},
    "gracefulShutdownTimeoutSeconds": {"gracefulShutdownTimeoutSeconds": None},
    "networkMapping": {"networkMapping": "vlan1"},
}


@needs_go
@pytest.mark.parametrize("what", REFUSED)
def test_what_vm_import_controller_refuses_is_refused(what: str, definitions: Path) -> None:
    given = {"apiVersion": f"{GROUP}/v1beta1", "kind": "VirtualMachineImport", "metadata": {"name": "x"}}
    (answer,) = judged(definitions, [{**given, "spec": REFUSED[what]}])
    (error,) = answer["errors"]
    assert what in error


@needs_go
def test_own_status_is_stored_unchanged(definitions: Path) -> None:
    status = ImportStatus.read(
        {"importStatus": ImportPhase.VALID, "workflow": {"name": "w"}, "diskImportStatus": [{}]}
    )
    given = {**ACCEPTED[2], "status": status.to_document()}
    (answer,) = judged(definitions, [given])
    assert (answer["errors"], answer["pruned"]) == ([], [])
    assert ImportStatus.read(answer["object"]["status"]) == status
