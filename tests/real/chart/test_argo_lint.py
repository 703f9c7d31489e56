"""The real Argo's linter checks the files that ship.

No package registry has it: LAB_ARGO names the folder with its binaries (default: `vmferry/argo` in the user's
cache). Without them these tests are skipped with a message, and `test_structure.py` is the only check.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.plan import DiskWay, GuestPlan, TargetKind
from tests.unit.workflows.author.rendered import TEMPLATE, Json, parse
from tests.unit.workflows.author.test_golden import GATED, PLAIN
from workflows.author.chart import render
from workflows.author.installation import Installation
from workflows.author.template import template
from workflows.author.workflow import author

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
ARGO: Final = Path(os.environ.get("LAB_ARGO", CACHE / "vmferry" / "argo")) / "argo"

pytestmark = pytest.mark.skipif(
    not ARGO.exists(), reason=f"NOT LINTED BY ARGO: no {ARGO}; give LAB_ARGO the folder of its binaries"
)

Lint = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lint(tmp_path: Path) -> Lint:
    def run(*documents: Json) -> subprocess.CompletedProcess[str]:
        files = []
        for number, document in enumerate(documents):
            files.append(tmp_path / f"{number}.yaml")
            files[-1].write_text(render(document))
        command = [str(ARGO), "lint", "--offline", "--no-color", *map(str, files)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    return run


def installed() -> Json:
    """The template as the chart installs it: in the namespace of the Workflows."""
    made = parse(TEMPLATE.read_text())
    made["metadata"]["namespace"] = Installation().namespace
    return made


def test_argo_accepts_the_template(lint: Lint) -> None:
    done = lint(installed())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("plan", [PLAIN, GATED], ids=["plain", "gated"])
def test_argo_accepts_a_run_of_the_template(lint: Lint, plan: Any) -> None:
    done = lint(installed(), author(plan, Installation(), attempt=1, owner="uid"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_run_of_an_unknown_template_is_refused(lint: Lint) -> None:
    assert "vmferry-vmware" in refused(lint(author(PLAIN, Installation())))


def test_unknown_field_is_refused_by_argo(lint: Lint) -> None:
    made = installed()
    made["spec"]["templates"][0]["pendingTimeOut"] = "30m"
    assert "pendingTimeOut" in refused(lint(made))


def test_reference_to_an_unknown_parameter_is_refused(lint: Lint) -> None:
    made = template(Installation())
    made["spec"]["templates"][0]["container"]["args"].append("{{inputs.parameters.disc}}")
    assert "inputs.parameters.disc" in refused(lint(made))


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    return done.stdout + done.stderr


WAYS: Final = pytest.mark.parametrize(
    ("way", "kind"), [(DiskWay.LAND, TargetKind.KUBEVIRT), (DiskWay.MIXED, TargetKind.HARVESTER)]
)


def landing_template(way: DiskWay) -> Json:
    made = parse((TEMPLATE.parent / f"vmware-{way}.yaml").read_text())
    made["metadata"]["namespace"] = Installation().namespace
    return made


@WAYS
def test_argo_accepts_the_template_of_disks_that_land_on_their_volumes(
    lint: Lint, way: DiskWay, kind: TargetKind
) -> None:
    done = lint(landing_template(way))
    assert done.returncode == 0, done.stdout + done.stderr


@WAYS
def test_argo_accepts_a_run_of_it(lint: Lint, way: DiskWay, kind: TargetKind) -> None:
    landing = PLAIN.target.model_copy(update={"kind": kind, "way": way})
    run = author(PLAIN.model_copy(update={"target": landing}), Installation(), owner="uid")
    done = lint(landing_template(way), run)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("way", DiskWay)
def test_argo_accepts_the_template_with_the_stages_of_all_disks_and_a_run_of_it(
    lint: Lint, way: DiskWay
) -> None:
    made = template(Installation(), way=way, guest=True)
    made["metadata"]["namespace"] = Installation().namespace
    target = PLAIN.target.model_copy(update={"kind": TargetKind.KUBEVIRT, "way": way})
    plan = PLAIN.model_copy(update={"target": target, "guest": GuestPlan(inspect=True)})
    done = lint(made, author(plan, Installation(), owner="uid"))
    assert done.returncode == 0, done.stdout + done.stderr
