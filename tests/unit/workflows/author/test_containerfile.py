"""The images contain what their stages run and nothing more. The lab tests that they work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from steps.model.plan import TargetKind
from steps.model.sources import SourceKind
from tests.unit.workflows.author.rendered import PROGRAMS, spec
from workflows.author.installation import Installation
from workflows.author.pods import image
from workflows.author.template import OF_GUEST
from workflows.stages import stages_for

ROOT: Final = Path(__file__).parents[4]
TEXT: Final = (ROOT / "images" / "Containerfile").read_text()
STAGES: Final = dict(re.findall(r"^FROM [^\n]* AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL))
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS: Final = (
    "vmware",
    "openstack",
    "ova",
    "ovirt",
    "kubevirt",
    "disk",
    "guest",
    "serve",
    "target",
    "controller",
)


def test_every_image_of_the_template_is_a_target() -> None:
    every = [
        *PROGRAMS,
        *(stage for stage in stages_for(TargetKind.HARVESTER, asked=OF_GUEST) if stage.scratches),
    ]
    wanted = {image(stage, kind) for stage in every for kind in SourceKind}
    assert wanted == set(TARGETS) - {"controller"} <= set(STAGES)


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_is_an_extra_with_its_own_requirements(target: str) -> None:
    assert target in PROJECT["project"]["optional-dependencies"]
    (given,) = re.findall(r"^RUN install-extra (.*)$", STAGES[f"with-{target}"], re.MULTILINE)
    assert given == target
    assert f"requirements/{target}.txt" in STAGES[f"with-{target}"]
    assert f"--from=with-{target} " in STAGES[target]


@pytest.mark.parametrize("target", TARGETS)
def test_only_images_of_stages_that_use_the_api_have_its_client(target: str) -> None:
    from_target = re.findall(r"^FROM with-target AS with-(\S+)$", TEXT, re.MULTILINE)
    uses = {image(stage, kind) for stage in PROGRAMS if stage.api for kind in SourceKind} | {"controller"}
    assert (target in {*from_target, "target"}) is (target in uses)


@pytest.mark.parametrize("target", TARGETS)
def test_only_the_controller_image_contains_more_than_the_steps(target: str) -> None:
    wanted = "code" if target == "controller" else "code-of-steps"
    assert re.findall(r"--from=(code\S*) ", STAGES[target]) == [wanted]


@pytest.mark.parametrize("target", TARGETS)
def test_user_is_numeric_and_equals_that_of_the_template(target: str) -> None:
    user = Installation().user
    assert f"USER {user}:{user}\n" in STAGES[target]
    assert spec()["securityContext"]["runAsUser"] == user


@pytest.mark.parametrize("target", TARGETS)
def test_entry_points_are_modules(target: str) -> None:
    assert 'ENTRYPOINT ["python", "-m"]' in STAGES[target]


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"controller"}))
def test_step_images_contain_no_hera(target: str) -> None:
    wanted = " ".join(PROJECT["project"]["optional-dependencies"][target])
    assert "hera" not in set(re.findall(r"[a-z]+", wanted))


def test_packages_are_pinned_and_no_registry_is_named() -> None:
    installs = re.findall(r"install .*-r \S+", TEXT)
    assert installs
    assert all("--require-hashes" in line for line in installs)
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)[0] == "${BASE}"
    assert "://" not in TEXT
