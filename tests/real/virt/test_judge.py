"""The judge finds what KubeVirt did not store, and the stand-ins keep each VM. No lab is needed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.real.standins import seen
from tests.real.virt.judge import instance, lost, recorded

VM: Final[dict[str, Any]] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}},
    "spec": {
        "runStrategy": "Halted",
        "template": {
            "metadata": {"labels": {"c": "d"}},
            "spec": {
                "domain": {"memory": {"guest": "1024Mi"}, "devices": {"interfaces": []}},
                "networks": [{"name": "one", "pod": {}}],
            },
        },
    },
}


def changed(**domain: Any) -> dict[str, Any]:
    found = copy.deepcopy(VM)
    found["spec"]["template"]["spec"]["domain"] |= domain
    return found


def test_what_kubevirt_adds_and_other_units_are_no_loss() -> None:
    stored = changed(memory={"guest": "1Gi"}, devices={}, machine={"type": "q35"})
    assert list(lost(VM, stored)) == []
    assert list(lost({"metadata": {"creationTimestamp": None}}, {"metadata": {}})) == []


@pytest.mark.parametrize(
    ("stored", "complaint"),
    [
        (changed(memory={"guest": "2Gi"}), "memory.guest: 1024Mi became 2Gi"),
        (changed(memory={}), "memory.guest: 1024Mi became None"),
        (changed(memory=None), "memory: {'guest': '1024Mi'} became None"),
    ],
)
def test_a_changed_or_missing_field_is_a_loss(stored: dict[str, Any], complaint: str) -> None:
    assert any(complaint in one for one in lost(VM, stored))


def test_a_missing_entry_and_a_missing_empty_object_are_a_loss() -> None:
    stored = copy.deepcopy(VM)
    stored["spec"]["template"]["spec"]["networks"] = []
    assert any("networks: 1 entries became 0" in one for one in lost(VM, stored))
    stored["spec"]["template"]["spec"]["networks"] = [{"name": "one"}]
    assert any("networks[0].pod: {} became None" in one for one in lost(VM, stored))


def test_an_instance_has_the_labels_and_the_name_that_kubevirt_gives_it() -> None:
    made = instance(VM)
    assert made["kind"] == "VirtualMachineInstance"
    assert made["metadata"] == {"name": "web", "namespace": "shop", "labels": {"c": "d"}}


def test_the_standins_keep_each_content_once_and_without_what_the_server_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(seen.FOLDER, str(tmp_path / "argo"))
    served = copy.deepcopy(VM) | {"status": {"ready": True}}
    served["metadata"] |= {"uid": "1", "resourceVersion": "7"}
    seen.keep(served)
    seen.keep(served | {"status": {}})
    (path,) = recorded()
    assert json.loads(path.read_text()) == VM
    started = copy.deepcopy(served)
    started["spec"]["runStrategy"] = "RerunOnFailure"
    seen.keep(started)
    assert len(recorded()) == 2


def test_nothing_is_kept_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(seen.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    seen.keep(VM)
    assert list(tmp_path.rglob("*")) == []
