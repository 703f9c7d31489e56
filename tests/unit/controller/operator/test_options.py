"""The options of the controller: read from a named file, refused if wrong, passed to plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.operator.options import PATH_ENV, Format, Options, References
from steps.model.contract import Exit, StepError
from steps.model.plan import ScratchPlan, TargetKind
from tests.unit.builders import a_source, an_import
from workflows.plan import plan
from workflows.settings import Settings
from workflows.stages import Limit


def test_the_default_target_is_harvester() -> None:
    options = Options()
    assert options.settings.target is TargetKind.HARVESTER
    assert (options.namespaces, options.format) == ((), Format.AUTO)
    assert options.cross_namespace_references is References.SAME_NAMESPACE
    assert options.defaults == {Limit.MACHINES: 2, Limit.STREAMS: 4}
    assert options.link("run") == ""


def test_options_are_read_from_the_file_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "controller.json"
    link = "https://argo.example/workflows/{namespace}/{name}"
    path.write_text(json.dumps({"namespace": "imports", "workflowLink": link, "limits": {"machines": 1}}))
    monkeypatch.setenv(PATH_ENV, str(path))
    options = Options.read()
    assert options.installation.namespace == "imports"
    assert options.link("run") == "https://argo.example/workflows/imports/run"
    assert options.defaults[Limit.MACHINES] == 1


@pytest.mark.parametrize("wrong", ["{", '{"nmaespace": "x"}', '{"limits": {"streams": 0}}'])
def test_wrong_options_are_refused(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "controller.json"
    path.write_text(wrong)
    monkeypatch.setenv(PATH_ENV, str(path))
    with pytest.raises(StepError) as caught:
        Options.read()
    assert caught.value.code is Exit.INVALID


def test_settings_reach_the_plan() -> None:
    scratch = ScratchPlan(storage_class="fast")
    settings = Settings(target=TargetKind.HARVESTER, scratch=scratch, reuse_unstamped=True)
    made = plan(an_import(), a_source(), settings)
    assert (made.scratch, made.target.reuse_unstamped) == (scratch, True)
