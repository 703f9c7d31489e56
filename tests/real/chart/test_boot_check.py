"""What the chart has for boot checks: nothing by default; if allowed, an identity, rights and a network."""

from __future__ import annotations

from typing import Any, Final

from tests.real.chart.test_chart import ALLOWED, of_kind, without_helm, workflow_template

pytestmark = without_helm

STAGE: Final = "migration.harvesterhci.io/stage"
ADDED: Final = {"check", "import-checked", "finish-checked"}


def template_names(**values: Any) -> set[str]:
    return {one["name"] for one in workflow_template(**values)["spec"]["templates"]}


def test_by_default_there_is_nothing_of_it() -> None:
    assert not ADDED & template_names()
    assert "vmferry-boot" not in of_kind("ServiceAccount")
    assert not [name for name in of_kind("ClusterRole") if "boot" in name]
    assert "vmferry-egress-check" not in of_kind("NetworkPolicy")


def test_if_allowed_every_template_has_it_and_the_rest_stays() -> None:
    plain, allowed = of_kind("WorkflowTemplate"), of_kind("WorkflowTemplate", **ALLOWED)
    assert set(plain) == set(allowed)
    for name, one in allowed.items():
        parts = {part["name"]: part for part in one["spec"]["templates"]}
        assert set(parts) >= ADDED, name
        rest = [part for part in one["spec"]["templates"] if part["name"] not in ADDED]
        assert rest == plain[name]["spec"]["templates"], name
        assert parts["check"]["container"]["image"].startswith("vmferry/target:")


def test_the_check_follows_the_way_of_the_disks() -> None:
    values = {**ALLOWED, "kubevirt": {"disks": "land"}}
    for name, one in of_kind("WorkflowTemplate", **values).items():
        parts = {part["name"]: part for part in one["spec"]["templates"]}
        tasks = {task["name"] for task in parts["finish-checked"]["dag"]["tasks"]}
        plain = {task["name"] for task in parts["finish"]["dag"]["tasks"]}
        assert tasks - plain == {"check"}, name


def rules(name: str, kind: str = "ClusterRole") -> dict[str, set[str]]:
    """Verbs by resource."""
    found: dict[str, set[str]] = {}
    for rule in of_kind(kind, **ALLOWED)[name]["rules"]:
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


def test_the_identity_can_look_and_release_and_creates_only_its_config_map() -> None:
    tenants = rules("vmferry-boot-imports")
    assert tenants["pods/log"] == {"get"}
    assert tenants["virtualmachineinstances/vnc"] == {"get"}
    assert tenants["virtualmachineinstances/vnc/screenshot"] == {"get"}
    assert tenants["pods"] == {"list"}
    assert tenants["virtualmachines"] == {"get", "patch"}
    assert not [name for name, verbs in tenants.items() if verbs & {"create", "delete", "watch"}]
    assert "secrets" not in tenants
    here = rules("vmferry-boot", "Role")
    assert here == {"workflowtaskresults": {"create", "patch"}, "configmaps": {"get", "create", "patch"}}


def test_no_other_identity_gets_the_console_or_the_screen() -> None:
    for kind in ("Role", "ClusterRole"):
        for name, role in of_kind(kind, **ALLOWED).items():
            resources = {one for rule in role.get("rules") or [] for one in rule["resources"]}
            if name.startswith(("vmferry-target", "vmferry-serve", "vmferry-data", "vmferry-scratch")):
                assert not resources & {"pods/log", "virtualmachineinstances/vnc"}, name


def test_in_listed_namespaces_it_has_its_rights_there_only() -> None:
    values = {**ALLOWED, "namespaces": ["team-a"]}
    assert "vmferry-boot-imports" in of_kind("RoleBinding", **values)
    assert "vmferry-boot-imports" not in of_kind("ClusterRoleBinding", **values)


def test_its_pods_reach_the_metrics_the_vms_and_the_given_networks() -> None:
    values = {"bootCheck": {"allowed": True, "networks": ["192.0.2.0/24"], "kubevirtNamespace": "kv"}}
    policy = of_kind("NetworkPolicy", **values)["vmferry-egress-check"]["spec"]
    assert policy["podSelector"] == {"matchLabels": {STAGE: "check"}}
    to = [peer for rule in policy["egress"] for peer in rule.get("to", [])]
    metrics = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kv"}},
        "podSelector": {"matchExpressions": [{"key": "prometheus.kubevirt.io", "operator": "Exists"}]},
    }
    vms = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"kubevirt.io": "virt-launcher"}}}
    assert metrics in to
    assert vms in to
    assert {"ipBlock": {"cidr": "192.0.2.0/24"}} in to
    blocks = [peer for peer in to if "ipBlock" in peer]
    assert len(blocks) == 1
