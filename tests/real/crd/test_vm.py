"""`spec.virtualMachine` and the rows of disks, before the API server's own code: types, and rules in CEL."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import API_VERSION
from tests.real.crd.judge import judged
from tests.unit.workflows.test_vm_settings import AFFINITY, CPU_MODEL
from workflows.api.crd import render

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")

Json = dict[str, Any]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crds") / "crds.yaml"
    path.write_text(render())
    return path


def stored(definitions: Path, **spec: Any) -> Json:
    metadata = {"name": "web", "namespace": "shop"}
    given = {"apiVersion": API_VERSION, "kind": "VirtualMachineImport", "metadata": metadata, "spec": spec}
    (answer,) = judged(definitions, [given])
    return answer


def errors(definitions: Path, **vm: Any) -> list[str]:
    answer = stored(definitions, virtualMachine=vm)
    assert answer["pruned"] == []
    found: list[str] = answer["errors"]
    return found


EVERYTHING: Final[Json] = {
    "labels": {"team": "shop"},
    "annotations": {"example.com/ticket": "OPS-1"},
    "tagLabels": [{"tag": "Environment", "label": "example.com/environment"}],
    "instancetype": {"name": "u1.medium"},
    "preference": {"kind": "VirtualMachinePreference", "name": "fedora"},
    "runStrategy": "Always",
    "evictionStrategy": "LiveMigrate",
    "nodeSelector": {"zone": "a"},
    "affinity": AFFINITY,
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "vms", "effect": "NoSchedule"}],
    "powerState": "asSource",
    "persistentEfiVariables": True,
    "patch": CPU_MODEL,
}


def test_every_field_is_stored_as_it_was_written(definitions: Path) -> None:
    answer = stored(definitions, virtualMachine=EVERYTHING)
    assert (answer["errors"], answer["pruned"]) == ([], [])
    assert answer["object"]["spec"]["virtualMachine"] == EVERYTHING


@pytest.mark.parametrize("vm", [{}, None])
def test_the_field_may_be_empty_or_null(definitions: Path, vm: Any) -> None:
    assert stored(definitions, virtualMachine=vm)["errors"] == []


@pytest.mark.parametrize(
    ("vm", "words"),
    [
        ({"powerState": True}, "must be of type string"),
        ({"powerState": "running"}, "Unsupported value"),
        ({"runStrategy": "Halted"}, "Unsupported value"),
        ({"evictionStrategy": "Never"}, "Unsupported value"),
        ({"runStrategy": "Manual"}, "Manual needs powerState off"),
        ({"runStrategy": "Manual", "powerState": "on"}, "Manual needs powerState off"),
        ({"runStrategy": "Always", "powerState": "off"}, "the others must not have it"),
        ({"instancetype": {}}, "Required value"),
        ({"instancetype": {"name": "Ü"}}, "should match"),
        ({"preference": {"kind": "Secret", "name": "a"}}, "Unsupported value"),
        ({"tagLabels": [{"tag": "a"}]}, "Required value"),
        ({"labels": {"team": "x" * 64}}, "Too long"),
        ({"labels": {f"key{number}": "x" for number in range(65)}}, "Too many"),
        ({"tolerations": [{"effect": "Never"}]}, "Unsupported value"),
        (
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
            "Required value",
        ),
        ({"patch": "x" * (16 << 10) + "x"}, "Too long"),
        ({"patch": ["spec"]}, "must be of type string"),
    ],
)
def test_nonsense_is_refused_at_once(definitions: Path, vm: Json, words: str) -> None:
    found = errors(definitions, **vm)
    assert any(words in one for one in found), found


@pytest.mark.parametrize("vm", [{"runStrategy": "Manual", "powerState": "off"}, {"powerState": "off"}])
def test_a_vm_that_stays_off_is_accepted(definitions: Path, vm: Json) -> None:
    assert errors(definitions, **vm) == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"cpus": 4, "virtualMachine": {"instancetype": {"name": "u1"}}}, "CPU and memory"),
        ({"memory": "8Gi", "virtualMachine": {"instancetype": {"name": "u1"}}}, "CPU and memory"),
        ({"startVirtualMachine": True, "virtualMachine": {"powerState": "on"}}, "are both set"),
        ({"diskMapping": [{"sourceDisk": "disk-0", "skip": True, "name": "a"}]}, "skip leaves the disk out"),
        ({"diskMapping": [{"sourceDisk": "disk-0", "volumeMode": "Raw"}]}, "Unsupported value"),
        ({"diskMapping": [{"sourceDisk": "disk-0", "accessMode": "ReadOnlyMany"}]}, "Unsupported value"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(definitions: Path, spec: Json, words: str) -> None:
    found = stored(definitions, **spec)["errors"]
    assert any(words in one for one in found), found


@pytest.mark.parametrize(
    "spec",
    [
        {"cpus": 4, "memory": "8Gi", "startVirtualMachine": False},
        {"cpus": None, "memory": None, "startVirtualMachine": None, "diskMapping": None},
        {"memory": "", "virtualMachine": {"instancetype": {"name": "u1"}}},
        {"diskMapping": [{"sourceDisk": "disk-0", "storageClass": "fast", "busType": "sata"}]},
        {"diskMapping": [{"sourceDisk": "disk-0", "skip": False, "name": "a", "accessMode": ""}]},
    ],
)
def test_manifests_without_a_contradiction_stay_valid(definitions: Path, spec: Json) -> None:
    assert stored(definitions, **spec)["errors"] == []
