"""The golden files are for people to read: the chart's template and the Workflows of two imports.

`VMFERRY_GOLDEN=write` rewrites them: look at the diff before you commit it.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from steps.model.plan import Gate, Plan, PodPlan
from steps.model.sources import SourceKind
from tests.unit.builders import a_plan
from tests.unit.workflows.author.rendered import CHART, GOLDEN, TEMPLATE
from workflows.author.chart import chart_files, chart_names, render
from workflows.author.installation import Installation
from workflows.author.template import template
from workflows.author.workflow import author

PLAIN: Final = a_plan()
GATED: Final = a_plan(vm="Build*Agent_01 (old)", name="agent", namespace="ci", start=False).model_copy(
    update={"approvals": (Gate.POWEROFF, Gate.START)}
)
PROFILED: Final = a_plan().model_copy(
    update={
        "profile": "dmz",
        "pods": PodPlan(
            node_selector={"example.com/zone": "dmz"},
            tolerations=({"key": "dmz", "operator": "Exists"},),
            affinity={"podAntiAffinity": {}},
            network="infra/transfer",
        ),
    }
)
UID: Final = "0c5f8f7e-2c9d-4f5e-9a55-6f1d0a1b2c3d"


def written(plan: Plan, *, attempt: int = 0, owner: str = "") -> str:
    return render(author(plan, Installation(), attempt=attempt, owner=owner))


PATHS: Final = (
    *(CHART / "files" / name for name in chart_names()),
    GOLDEN / "run-plain.yaml",
    GOLDEN / "run-gated-second-try.yaml",
    GOLDEN / "run-profile.yaml",
)


@functools.cache
def texts() -> dict[Path, str]:
    """What the files must contain. It takes a second, so that collecting the tests must not make it."""
    return {
        **{CHART / "files" / name: text for name, text in chart_files().items()},
        GOLDEN / "run-plain.yaml": written(PLAIN, owner=UID),
        GOLDEN / "run-gated-second-try.yaml": written(GATED, attempt=1, owner=UID),
        GOLDEN / "run-profile.yaml": written(PROFILED, owner=UID),
    }


def test_every_file_is_compared() -> None:
    assert set(PATHS) == set(texts())


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_golden(path: Path) -> None:
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "golden files are written by a person, who reads the diff"
        path.write_text(texts()[path])
        pytest.skip(f"{path} written")
    assert path.read_text() == texts()[path], (
        f"{path} is stale: VMFERRY_GOLDEN=write pytest tests/unit/workflows/author -k golden"
    )


def test_module_writes_the_files_of_the_chart(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "workflows.author.chart", "--chart", str(tmp_path)], check=True)
    made, shipped = (
        {str(one.relative_to(at)): one.read_text() for one in at.rglob("*.yaml")}
        for at in (tmp_path, CHART / "files")
    )
    assert made == shipped


@pytest.mark.parametrize("kind", SourceKind)
def test_templates_differ_only_in_image_and_name_of_the_provider(kind: SourceKind) -> None:
    file = CHART / "files" / f"{kind.provider}.yaml"
    as_vmware = file.read_text().replace(f"vmferry-{kind.provider}", "vmferry-vmware")
    as_vmware = as_vmware.replace(f"vmferry/{kind.provider}:", "vmferry/vmware:").replace(
        kind, "VmwareSource"
    )
    assert as_vmware == TEMPLATE.read_text()


def test_rendering_is_deterministic() -> None:
    """Hera gives unnamed volumes random names; no volume is unnamed."""
    assert render(template(Installation())) == render(template(Installation()))
