"""The controller in the chart: its options, its rights, its pod."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from controller.operator import compat, health, options, uninstall
from controller.operator.checkpods.objects import SERVICE_ACCOUNT
from controller.operator.options import CheckOptions, Options
from steps.model.plan import ImportLimits, ProxyPlan, ScratchPlan
from steps.model.sources import SourceKind
from tests.real.chart.test_chart import RELEASE, helm, of_kind, rendered, without_helm
from tests.unit.workflows.author.rendered import CHART, Json
from workflows.settings import Profile
from workflows.stages import Limit

pytestmark = without_helm


def test_controller_may_read_only_the_deployments_of_vm_import_controller() -> None:
    role = of_kind("ClusterRole")["vmferry-controller-facts"]
    (rule,) = [one for one in role["rules"] if one["resources"] == ["deployments"]]
    wanted = {*compat.DEPLOYMENTS, compat.FORMER_OPERATOR}
    assert (set(rule["resourceNames"]), rule["verbs"]) == (wanted, ["get"])


def test_the_chart_can_leave_out_the_api_of_vm_import_operator() -> None:
    assert "v2v.kubevirt.io" in repr(rendered())
    without = rendered('{"v2v.enabled": false}')
    assert "v2v.kubevirt.io" not in repr(without)
    (document,) = [
        one
        for one in without
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "vmferry-controller")
    ]
    assert Options.model_validate_json(document["data"]["controller.json"]).v2v.enabled is False


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ((), {"migration.harvesterhci.io", "v2v.kubevirt.io"}),
        (("v2v.installCrds=false",), {"migration.harvesterhci.io"}),
        (("v2v.enabled=false",), {"migration.harvesterhci.io"}),
        (("crds.install=false",), set()),
    ],
)
def test_which_definitions_the_chart_installs(values: tuple[str, ...], groups: set[str]) -> None:
    done = helm("template", "imports", str(CHART), *(f"--set={value}" for value in values))
    assert set(re.findall(r"^  group: (\S+)$", done.stdout, re.MULTILINE)) == groups


def test_settings_of_the_other_dialect_reach_the_controller() -> None:
    values = {"v2v.onFailure": "keepOff", "v2v.initFailure": "final"}
    given = of_kind("ConfigMap", **values)["vmferry-controller"]["data"]["controller.json"]
    parsed = Options.model_validate_json(given).v2v
    assert (str(parsed.on_failure), str(parsed.init_failure)) == ("keepOff", "final")


def test_values_become_options_of_the_controller() -> None:
    values = {
        "namespaces": ["shop"],
        "scratch.storageClass": "fast",
        "import.reuseUnstamped": True,
        "import.format": "raw",
        "controller.crossNamespaceReferences": "same-namespace",
        "controller.recheckSeconds": 30,
        "limits.machines": 3,
        "limits.maxDisks": 8,
        "limits.maxScratchPerNamespace": "",
        "controller.suspendTimeoutSeconds": 60,
        "controller.sharedNetworkNamespaces": ["*"],
    }
    given = of_kind("ConfigMap", **values)["vmferry-controller"]["data"]["controller.json"]
    parsed = Options.model_validate_json(given)  # refuses unknown fields
    assert (parsed.namespace, parsed.namespaces) == (RELEASE, ("shop",))
    assert (parsed.settings.scratch.storage_class, parsed.settings.reuse_unstamped) == ("fast", True)
    assert (str(parsed.format), str(parsed.cross_namespace_references)) == ("raw", "same-namespace")
    assert (parsed.recheck_seconds, parsed.defaults[Limit.MACHINES]) == (30, 3)
    assert (parsed.suspend_timeout_seconds, parsed.shared_network_namespaces) == (60, ("*",))
    wanted = ImportLimits(max_disks=8, max_disk_capacity=64 << 40)
    assert parsed.settings.limits == wanted


def test_two_controllers_are_spread_and_one_stays_during_a_drain() -> None:
    values = {"controller.replicas": 2}
    labels = of_kind("Deployment", **values)["vmferry-controller"]["spec"]["selector"]["matchLabels"]
    (spread,) = pod_of("Deployment", "vmferry-controller", **values)["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["labelSelector"]["matchLabels"]) == (
        "kubernetes.io/hostname",
        labels,
    )
    budget = of_kind("PodDisruptionBudget", **values)["vmferry-controller"]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}


def test_one_controller_does_not_block_a_drain() -> None:
    assert of_kind("PodDisruptionBudget") == {}
    assert "topologySpreadConstraints" not in pod_of("Deployment", "vmferry-controller")


def test_changed_setting_restarts_the_controller() -> None:
    def annotations(**values: Any) -> Json:
        found: Json = of_kind("Deployment", **values)["vmferry-controller"]["spec"]["template"]["metadata"]
        return found["annotations"]  # type: ignore[no-any-return]

    assert annotations() != annotations(**{"controller.recheckSeconds": 30})


def pod_of(kind: str, name: str, **values: Any) -> Json:
    found: Json = of_kind(kind, **values)[name]["spec"]["template"]["spec"]
    return found


OURS: Final = [("Deployment", "vmferry-controller"), ("Job", "vmferry-uninstall")]


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_our_own_pods_are_restricted(kind: str, name: str) -> None:
    """As Pod Security `restricted` requires."""
    pod = pod_of(kind, name)
    (one,) = pod["containers"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def options_of(**values: Any) -> Options:
    given = of_kind("ConfigMap", **values)["vmferry-controller"]["data"]["controller.json"]
    return Options.model_validate_json(given)


def test_default_values_are_the_defaults_of_the_checks() -> None:
    given = options_of(**{"sourceNetwork.guard": False}).checks
    assert given == CheckOptions()


def test_values_reach_the_check_pods() -> None:
    values = {
        "images.registry": "registry.example",
        "images.digests": {"ova": "sha256:" + "a" * 64},
        "images.pullPolicy": "Never",
        "images.pullSecrets": ["one"],
        "sourceProxy.https": "http://proxy:3128",
        "checks": {"atOnce": 3, "atOncePerNamespace": 1, "startSeconds": 9},
    }
    given = options_of(**values).checks
    assert given.images["vmware"] == "registry.example/vmferry/vmware:0.1.0"
    assert given.images["ova"] == "registry.example/vmferry/ova@sha256:" + "a" * 64
    assert (given.pull_policy, given.pull_secrets) == ("Never", ("one",))
    assert (given.at_once, given.at_once_per_namespace, given.start_seconds) == (3, 1, 9)
    assert [row["name"] for row in given.environment] == [
        "https_proxy",
        "VMFERRY_BLOCKED_NETWORKS",
        "VMFERRY_ALLOWED_NETWORKS",
        "VMFERRY_REDIRECT_HOSTS",
    ]


def test_the_controller_connects_to_no_source() -> None:
    (one,) = pod_of("Deployment", "vmferry-controller", **{"sourceProxy.https": "http://proxy:3128"})[
        "containers"
    ]
    assert "env" not in one, "no proxy, and nothing for the guard to judge"
    assert one["resources"]["limits"] == {"memory": "256Mi"}


def test_check_pods_have_an_account_without_rights() -> None:
    assert SERVICE_ACCOUNT in of_kind("ServiceAccount")
    bindings = [one for kind in ("RoleBinding", "ClusterRoleBinding") for one in of_kind(kind).values()]
    assert SERVICE_ACCOUNT not in [row["name"] for one in bindings for row in one["subjects"]]


def test_the_controller_may_create_pods_in_the_release_namespace_only() -> None:
    roles = [one for kind in ("Role", "ClusterRole") for one in of_kind(kind).values()]
    found = [
        (one["kind"], one["metadata"]["name"])
        for one in roles
        for rule in one["rules"]
        if "pods" in rule["resources"] and "create" in rule["verbs"]
    ]
    assert found == [("Role", "vmferry-controller")]


def test_controller_and_hook_have_the_same_image_and_pull_secrets() -> None:
    values = {"images.registry": "registry.example", "images.pullSecrets": ["one"]}
    pods = [pod_of(kind, name, **values) for kind, name in OURS]
    assert {pod["containers"][0]["image"] for pod in pods} == {"registry.example/vmferry/controller:0.1.0"}
    assert [pod["imagePullSecrets"] for pod in pods] == [[{"name": "one"}]] * 2


def test_uninstall_hook_runs_first_and_shows_its_reason() -> None:
    job = of_kind("Job")["vmferry-uninstall"]
    notes = job["metadata"]["annotations"]
    assert notes["helm.sh/hook"] == "pre-delete"
    assert "hook-failed" not in notes["helm.sh/hook-delete-policy"], "its log contains the reason"
    assert notes["helm.sh/hook-output-log-policy"] == "hook-failed"
    assert job["spec"]["backoffLimit"] == 0, "a refusal is not temporary"
    pod = pod_of("Job", "vmferry-uninstall")
    assert pod["serviceAccountName"] == "vmferry-uninstall"
    (module,) = pod["containers"][0]["command"][2:]
    assert module == uninstall.__name__
    mounted = {one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    assert mounted == {str(options.PATH.parent)}


def test_the_controller_writes_in_memory_only() -> None:
    pod = pod_of("Deployment", "vmferry-controller")
    (one,) = pod["containers"]
    assert [one["emptyDir"]["medium"] for one in pod["volumes"] if "emptyDir" in one] == ["Memory"]
    assert {one[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {
        "/healthz",
        "/readyz",
    }


def probes(thing: Any) -> Iterator[Json]:
    """Every probe of every container inside."""
    if isinstance(thing, dict):
        for key, inner in thing.items():
            if key.endswith("Probe"):
                yield inner
            yield from probes(inner)
    elif isinstance(thing, list):
        for inner in thing:
            yield from probes(inner)


def test_a_busy_node_does_not_restart_the_controller() -> None:
    """With the default of one second a probe failed at load 58, and the controller was killed."""
    (one,) = of_kind("Deployment")["vmferry-controller"]["spec"]["template"]["spec"]["containers"]
    found = list(probes(rendered()))
    assert len(found) == 3 + 2 * len(SourceKind), "three of the controller, one of each template's serve"
    assert {probe.get("timeoutSeconds") for probe in found} == {5}
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] >= 120
    assert one["resources"]["requests"]["cpu"] == "100m"


def test_metrics_service_is_optional() -> None:
    assert of_kind("Service") == {}
    service = of_kind("Service", **{"controller.metricsService": True})["vmferry-controller-metrics"]["spec"]
    pod = of_kind("Deployment")["vmferry-controller"]["spec"]["template"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = service["ports"]
    assert {one["name"]: one["containerPort"] for one in pod["spec"]["containers"][0]["ports"]} == {
        port["targetPort"]: health.PORT
    }


def test_profiles_reach_the_controller_and_lack_only_what_nobody_gave(tmp_path: Path) -> None:
    given = {
        "import": {
            "defaultProfile": "dmz",
            "profiles": {
                "dmz": {
                    "scratch": {"storageClass": "fast"},
                    "nodeSelector": {"zone": "dmz"},
                    "tolerations": [{"key": "dmz", "operator": "Exists"}],
                    "affinity": {"nodeAffinity": {}},
                    "network": "infra/transfer",
                    "proxy": {"https": "http://proxy:3128", "noProxy": ".local"},
                },
                "direct": {"proxy": {}},
            },
        },
        "scratch": {"filesystemFactor": 1.5},
    }
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(given))
    done = helm("template", "imports", str(CHART), "-f", str(values), "-s", "templates/controller.yaml")
    assert done.returncode == 0, done.stderr
    (document,) = [
        one for one in YAML(typ="safe").load_all(done.stdout) if one and one["kind"] == "ConfigMap"
    ]
    settings = Options.model_validate_json(document["data"]["controller.json"]).settings
    assert settings.default_profile == "dmz"
    assert settings.profiles["dmz"] == Profile(
        scratch=ScratchPlan(storage_class="fast", filesystem_factor=1.5),
        node_selector={"zone": "dmz"},
        tolerations=({"key": "dmz", "operator": "Exists"},),
        affinity={"nodeAffinity": {}},
        network="infra/transfer",
        proxy=ProxyPlan(https="http://proxy:3128", no_proxy=".local"),
    )
    assert settings.profiles["direct"] == Profile(proxy=ProxyPlan())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("import.defaultProfile=lab", "import.defaultProfile names lab, which is not in import.profiles"),
        ("import.profiles.a.hostNetwork=true", "additional properties 'hostNetwork' not allowed"),
        ("import.profiles.a.network=transfer", "does not match pattern"),
        ("import.profiles.a.proxy.https=http://me:secret@proxy:3128", "does not match pattern"),
        ("import.profiles.A_b.network=", "does not match pattern"),
    ],
)
def test_a_wrong_profile_is_refused_by_the_chart(value: str, words: str) -> None:
    done = helm("template", "imports", str(CHART), f"--set={value}")
    assert done.returncode != 0
    assert words in done.stderr
