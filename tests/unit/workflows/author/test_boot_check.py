"""What a WorkflowTemplate has in addition for imports with a boot check."""

from __future__ import annotations

import functools
from typing import Final

import pytest

from steps.model.booting import BOOTED
from steps.model.contract import OUTPUTS
from steps.model.plan import BootCheckPlan, TargetKind
from tests.unit.builders import a_plan
from tests.unit.workflows.author.rendered import CHART, Json, keys, parse
from workflows.author.chart import checked_files, checked_names
from workflows.author.installation import Installation
from workflows.author.template import template
from workflows.author.workflow import author
from workflows.stages import stages_for

CHECKED: Final = a_plan().model_copy(update={"boot_check": BootCheckPlan()})


NAMES: Final = list(checked_names())


@functools.cache
def added(name: str) -> dict[str, Json]:
    return {one["name"]: one for one in parse((CHART / "files" / name).read_text())["templates"]}


@functools.cache
def base(name: str) -> dict[str, Json]:
    """The template to which the file is added."""
    _, way, guest = checked_names()[name]
    return {one["name"]: one for one in template(Installation(), way=way, guest=guest)["spec"]["templates"]}


def test_the_files_are_up_to_date() -> None:
    for name, text in checked_files().items():
        assert (CHART / "files" / name).read_text() == text, "run: make golden"


@pytest.mark.parametrize("name", NAMES)
def test_a_template_without_a_boot_check_has_nothing_of_it(name: str) -> None:
    assert "check" not in base(name)
    assert not base(name).keys() & added(name).keys(), "added to the template, never in place of a part"


@pytest.mark.parametrize("name", NAMES)
def test_only_the_last_stage_differs(name: str) -> None:
    parts = added(name)
    assert set(parts) == {"check", "import-checked", "finish-checked"}
    plain = base(name)
    for dag in ("import", "finish"):
        tasks = {task["name"]: dict(task) for task in parts[f"{dag}-checked"]["dag"]["tasks"]}
        check = tasks.pop("check", None)
        for task in tasks.values():
            task["template"] = task["template"].removesuffix("-checked")
        assert tasks == {task["name"]: task for task in plain[dag]["dag"]["tasks"]}
        if dag == "finish":
            assert check == {"name": "check", "template": "check", "depends": "start"}


@pytest.mark.parametrize("name", NAMES)
def test_every_task_of_a_checked_import_exists(name: str) -> None:
    all_parts = base(name) | added(name)
    for part in added(name).values():
        for task in part.get("dag", {}).get("tasks", []):
            assert task["template"] in all_parts


@pytest.mark.parametrize("name", NAMES)
def test_the_check_has_its_own_identity_and_no_credentials_or_claims(name: str) -> None:
    check = added(name)["check"]
    assert check["serviceAccountName"] == "vmferry-boot"
    assert check["container"]["command"] == ["python", "-m", "steps.check"]
    assert [volume["name"] for volume in check["volumes"]] == ["request", "tmp"]
    assert "hostPath" not in set(keys(check))
    assert "persistentVolumeClaim" not in set(keys(check))
    assert check["container"]["securityContext"]["readOnlyRootFilesystem"] is True
    (result,) = check["outputs"]["parameters"]
    assert (result["name"], result["valueFrom"]["path"]) == ("booted", str(OUTPUTS / BOOTED))


def test_the_boot_account_is_used_by_no_other_stage() -> None:
    for target in TargetKind:
        rows = stages_for(target, asked=["check"])
        users = [stage.name for stage in rows if stage.identity == "boot"]
        assert users == ([] if target is TargetKind.DIRECTORY else ["check"])


def test_a_workflow_chooses_it_by_its_entrypoint() -> None:
    checked, plain = author(CHECKED, Installation()), author(a_plan(), Installation())
    assert checked["spec"].pop("entrypoint") == "import-checked"
    assert "entrypoint" not in plain["spec"]
    assert checked == plain
