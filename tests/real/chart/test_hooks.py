"""What the chart has for hooks: nothing by default; if allowed, an identity and a node at each point."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from steps.model.names import LABEL_HOOK
from tests.real.chart.test_chart import of_kind, rendered, without_helm
from tests.unit.workflows.author.rendered import Json

pytestmark = without_helm

ALLOWED: Final[dict[str, Any]] = {"hooks": {"allowed": True}}
BOTH: Final[dict[str, Any]] = {**ALLOWED, "bootCheck": {"allowed": True}}
SELECTED: Final = {"matchExpressions": [{"key": LABEL_HOOK, "operator": "Exists"}]}


def test_by_default_there_is_nothing_of_it() -> None:
    assert "vmferry-hook" not in of_kind("ServiceAccount")
    assert not [name for kind in ("Role", "NetworkPolicy") for name in of_kind(kind) if "hook" in name]
    for one in of_kind("WorkflowTemplate").values():
        assert "hooks" not in [row["name"] for row in one["spec"]["arguments"]["parameters"]]


@pytest.mark.parametrize("values", [ALLOWED, BOTH], ids=["hooks", "hooks and boot check"])
def test_if_allowed_every_template_has_the_points_and_the_rest_stays(values: dict[str, Any]) -> None:
    base = {key: value for key, value in values.items() if key != "hooks"}
    plain, allowed = of_kind("WorkflowTemplate", **base), of_kind("WorkflowTemplate", **values)
    assert set(plain) == set(allowed)
    for name, one in allowed.items():
        parts = {part["name"]: part for part in one["spec"]["templates"]}
        assert len(parts) == len(one["spec"]["templates"]), name
        entrypoints = {part for part in parts if part.startswith("import") and part.endswith("-hooked")}
        more = {"import-checked-hooked"} if "bootCheck" in values else set()
        assert entrypoints == {"import-hooked"} | more, name
        rest = [part for part in one["spec"]["templates"] if part in plain[name]["spec"]["templates"]]
        assert rest == plain[name]["spec"]["templates"], name
        assert one["spec"]["arguments"]["parameters"][-1] == {"name": "hooks", "value": ""}
        tasks = [task for part in parts.values() for task in part.get("dag", {}).get("tasks", [])]
        assert {task["template"] for task in tasks} <= set(parts), name


def test_the_identity_of_hooks_has_no_right_without_admission_policies() -> None:
    roles = [
        binding["roleRef"]["name"]
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for binding in of_kind(kind, **ALLOWED).values()
        if any(subject["name"] == "vmferry-hook" for subject in binding["subjects"])
    ]
    assert roles == []


def test_the_controller_may_only_read_hooks_and_only_here() -> None:
    holders = [
        (one["kind"], one["metadata"]["name"], rule["verbs"])
        for one in rendered(json.dumps(ALLOWED))
        if one["kind"] in ("Role", "ClusterRole")
        for rule in one.get("rules") or []
        if "importhooks" in rule["resources"]
    ]
    assert holders == [("Role", "vmferry-controller-hooks", ["get"])]


def test_nobody_connects_to_a_hook_and_it_reaches_what_the_value_says() -> None:
    policies = of_kind("NetworkPolicy", **ALLOWED)
    assert policies["vmferry-hook"]["spec"] == {"podSelector": SELECTED, "policyTypes": ["Ingress"]}
    blocks = egress({"allowed": True})
    assert blocks[0]["cidr"] == "0.0.0.0/0"
    assert "169.254.0.0/16" in blocks[0]["except"]
    assert egress({"allowed": True, "networks": [{"cidr": "192.0.2.0/24"}]}) == [{"cidr": "192.0.2.0/24"}]


def egress(hooks: dict[str, Any]) -> list[Json]:
    spec = of_kind("NetworkPolicy", hooks=hooks)["vmferry-egress-hooks"]["spec"]
    assert spec["podSelector"] == SELECTED
    return [peer["ipBlock"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer]


def test_the_settings_of_the_controller_follow_the_value() -> None:
    for allowed in (False, True):
        data = of_kind("ConfigMap", hooks={"allowed": allowed})["vmferry-controller"]["data"]
        assert json.loads(data["controller.json"])["settings"]["hooks"] is allowed
