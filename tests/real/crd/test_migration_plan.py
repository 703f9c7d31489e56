"""The MigrationPlan, before the API server's own code: types, rules in CEL and their cost.

What the schema refuses, vmferry refuses in a file too. The other way round a few things need a calendar.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import API_VERSION
from tests.real.crd.judge import judged
from tests.unit.workflows.migration.test_rules import GOOD, WRONG
from workflows.api.crd import render

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")

Json = dict[str, Any]
SOURCE: Final = {"kind": "VmwareSource", "name": "vcenter"}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crds") / "crds.yaml"
    path.write_text(render())
    return path


def answer_to(definitions: Path, name: str = "prod", **spec: Any) -> Json:
    metadata = {"name": name, "namespace": "infra"}
    given = {"sourceCluster": SOURCE, "vms": [{"name": "*"}], **spec}
    plan = {"apiVersion": API_VERSION, "kind": "MigrationPlan", "metadata": metadata, "spec": given}
    (answer,) = judged(definitions, [plan])
    return answer


def test_a_plan_with_every_field_is_stored_whole(definitions: Path) -> None:
    answer = answer_to(definitions, **GOOD)
    assert (answer["errors"], answer["pruned"]) == ([], [])
    assert answer["object"]["spec"] == GOOD


@pytest.mark.parametrize(("spec", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_what_vmferry_refuses_the_api_server_refuses(spec: Json, words: str, definitions: Path) -> None:
    assert answer_to(definitions, **spec)["errors"]


@pytest.mark.parametrize("where", ["template", "overrides"])
def test_fields_that_belong_to_the_plan_are_unknown_in_a_template(where: str, definitions: Path) -> None:
    fields = {"sourceCluster": {"name": "other"}, "virtualMachineName": "web", "suspend": True, "cpus": 2}
    given = {"template": fields} if where == "template" else {"vms": [{"name": "a", "overrides": fields}]}
    answer = answer_to(definitions, **given)
    at = "spec.template" if where == "template" else "spec.vms[0].overrides"
    assert answer["pruned"] == [f"{at}.{name}" for name in ("sourceCluster", "suspend", "virtualMachineName")]


def test_a_rule_of_an_import_holds_in_the_template(definitions: Path) -> None:
    template = {"cpus": 2, "virtualMachine": {"instancetype": {"name": "small"}}}
    (error,) = answer_to(definitions, template=template)["errors"]
    assert "instancetype gives the VM its CPU and memory" in error


def test_the_name_leaves_room_for_those_of_imports(definitions: Path) -> None:
    assert answer_to(definitions, "p" * 40)["errors"] == []
    (error,) = answer_to(definitions, "p" * 41)["errors"]
    assert "the name of a plan has at most 40 characters" in error
