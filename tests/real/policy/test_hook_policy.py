"""The policy vmferry-hooks: with its token, the pod of a hook reports to its own Workflow and to no other.

The API server's own code evaluates the policy as Helm renders it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.real.chart.test_chart import HELM, RELEASE
from tests.real.policy.judge import POD_NAME, Client, Json, Request, denials
from tests.real.policy.test_step_policy import KIND, rendered_policies

pytestmark = [
    pytest.mark.skipif(HELM is None, reason="POLICY NOT EVALUATED: no helm; set HELM to its path"),
    pytest.mark.skipif(shutil.which("go") is None, reason="POLICY NOT EVALUATED: Go builds the judge"),
]

OWN: Final = "vmferry-hook-0123456789abcdef0123"
OTHER: Final = "vmferry-hook-0123456789abcdef0124"
VICTIM: Final = "vmi-web-01234567-g1"


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "policies.yaml"
    found = rendered_policies("--api-versions", KIND, "--set", "hooks.allowed=true")
    assert "vmferry-hooks" in found
    path.write_text("\n---\n".join(json.dumps(one) for one in found.values()))
    return path


def hook(pod: str = f"{OWN}-check-123") -> Client:
    extra = {POD_NAME: [pod]} if pod else {}
    return Client(f"system:serviceaccount:{RELEASE}:vmferry-hook", extra)


def result(workflow: str) -> Json:
    labels = {"workflows.argoproj.io/workflow": workflow}
    return {"metadata": {"name": f"{workflow}-123", "namespace": RELEASE, "labels": labels}}


def request(new: Json | None, old: Json | None = None) -> Request:
    return Request("argoproj.io", "workflowtaskresults", new, old)


def test_a_hook_reports_to_its_own_workflow(policies: Path) -> None:
    made, changed = denials(
        policies, [(hook(), request(result(OWN))), (hook(), request(result(OWN), result(OWN)))]
    )
    assert (made, changed) == ([], [])


@pytest.mark.parametrize(
    ("client", "what"),
    [
        (hook(), request(result(VICTIM))),
        (hook(), request(result(OTHER))),
        (hook(), request(result(OWN), result(VICTIM))),
        (hook(), request(None, result(OWN))),
        (hook(""), request(result(OWN))),
        (hook(""), request(result(""))),
        (hook(f"{VICTIM}-preflight-123"), request(result(VICTIM))),
    ],
    ids=["import", "other hook", "taken over", "deleted", "no pod", "no pod, no label", "pod of a step"],
)
def test_it_reports_to_no_other(policies: Path, client: Client, what: Request) -> None:
    (found,) = denials(policies, [(client, what)])
    assert found == ["a hook of vmferry may report only to its own Workflow"]


def test_others_are_not_concerned(policies: Path) -> None:
    (found,) = denials(policies, [(Client("system:serviceaccount:tenant:own"), request(result(OWN)))])
    assert found == []
