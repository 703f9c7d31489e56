"""The chart as Helm renders it. Helm is installed, or built from its Go module (`helm.sh/helm/v3/cmd/helm`).

Without Helm (HELM, .cache/bin or PATH), these tests are skipped with a message.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from controller.operator.limits import PER_SOURCE
from steps.model import hosts, names
from steps.model.contract import StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.runtime import proxy
from steps.runtime.guard import REDIRECT_HOSTS, Guard
from tests.unit.workflows.author.rendered import CHART, PROGRAMS, TEMPLATE, Json, keys, parse
from workflows import argo_names
from workflows.stages import SOURCE_CHECK, Identity, Limit

BUILT: Final = Path(__file__).parents[3] / ".cache" / "bin" / "helm"
HELM: Final = os.environ.get("HELM") or (str(BUILT) if BUILT.exists() else shutil.which("helm"))
RELEASE: Final = "somewhere"

without_helm = pytest.mark.skipif(HELM is None, reason="CHART NOT RENDERED: no helm; set HELM to its path")
pytestmark = without_helm


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A helm that is built without link flags assumes a very old cluster.
    command = [str(HELM), *arguments, "--kube-version", "1.34.0"]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@cache
def rendered(values: str = "{}") -> list[Json]:
    """The chart's objects for some values (JSON)."""
    given = [f"--set-json={key}={json.dumps(value)}" for key, value in json.loads(values).items()]
    done = helm("template", "imports", str(CHART), "--namespace", RELEASE, *given)
    assert done.returncode == 0, done.stderr
    text = re.sub(r"^# Source: .*$", "", done.stdout, flags=re.MULTILINE)
    documents = re.split(r"^---$", text, flags=re.MULTILINE)
    found = [parsed(one) for one in documents if f"\nkind: {CRD}\n" not in one]
    return [one for one in found if one]


@cache
def parsed(document: str) -> Json | None:
    """An object. Most values change few objects, and reading YAML takes longer than Helm does."""
    found: Json | None = YAML(typ="safe").load(document)
    return found


CRD: Final = "CustomResourceDefinition"


def of_kind(kind: str, **values: Any) -> dict[str, Json]:
    found = [one for one in rendered(json.dumps(values)) if one["kind"] == kind]
    return {one["metadata"]["name"]: one for one in found}


def workflow_template(**values: Any) -> Json:
    return of_kind("WorkflowTemplate", **values)["vmferry-vmware"]


def container(name: str, **values: Any) -> Json:
    found = {one["name"]: one for one in workflow_template(**values)["spec"]["templates"]}
    inside: Json = found[name]["container"]
    return inside


def test_helm_lint_passes() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_helm_does_not_change_the_template() -> None:
    """Argo's braces survive, and the chart's default values are the author's defaults."""
    made = workflow_template(**{"sourceNetwork.guard": False})
    assert made["spec"] == parse(TEMPLATE.read_text())["spec"]
    assert workflow_template()["metadata"]["namespace"] == RELEASE


def test_objects_are_in_the_release_namespace_or_cluster_wide() -> None:
    spaces = {one["metadata"].get("namespace") for one in rendered()}
    assert spaces == {RELEASE, None}


def test_values_set_the_images() -> None:
    digest = "sha256:" + "a" * 64
    images = {
        "images.registry": "registry.example:5000/mirror",
        "images.tag": "1.2",
        "images.pullPolicy": "Never",
    }
    (template,) = [
        one
        for one in of_kind("WorkflowTemplate", **images)["vmferry-openstack"]["spec"]["templates"]
        if one["name"] == "start"
    ]
    inits = [one["image"].rpartition("/")[2] for one in template["initContainers"]]
    assert inits == ["target:1.2", "openstack:1.2"]
    assert container("export", **images)["image"] == "registry.example:5000/mirror/vmferry/vmware:1.2"
    assert container("export", **images)["imagePullPolicy"] == "Never"
    pinned = {**images, "images.digests": {"disk": digest}}
    assert container("convert", **pinned)["image"] == f"registry.example:5000/mirror/vmferry/disk@{digest}"
    assert container("serve", **pinned)["image"] == "registry.example:5000/mirror/vmferry/serve:1.2"


def test_other_values_reach_the_template() -> None:
    values = {
        "workflow.keepFailed": 60,
        "workflow.pendingTimeout": "1h",
        "workflow.resources": {"export": {"limits": {"memory": "4Gi"}}},
        "images.pullSecrets": ["one", "two"],
    }
    spec = workflow_template(**values)["spec"]
    assert spec["ttlStrategy"]["secondsAfterFailure"] == 60
    assert {one["pendingTimeout"] for one in spec["templates"] if "pendingTimeout" in one} == {"1h"}
    assert container("export", **values)["resources"] == {"limits": {"memory": "4Gi"}}
    assert container("convert", **values)["resources"]["requests"]["cpu"] == "250m"
    assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]


def test_disks_are_served_over_https_with_a_certificate() -> None:
    plain, steps = templates(), templates(**{"serve.tls.secret": "disks"})
    assert not any("tls" in mounts(step) for step in plain.values())
    assert [name for name, step in steps.items() if "tls" in mounts(step)] == ["serve", "image"]
    serve, image = steps["serve"], steps["image"]
    assert serve["container"]["args"][-2:] == ["--tls", "/run/tls"]
    assert serve["container"]["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert secret_keys(serve) == ("disks", ["tls.crt", "tls.key"])
    assert secret_keys(image) == ("disks", ["ca.crt"]), "only serve has the key"
    origin = image["container"]["args"][image["container"]["args"].index("--origin") + 1]
    assert origin.startswith("https://{{workflow.parameters.run}}-")
    assert "--ca" in image["container"]["args"]
    without = {name: step for name, step in steps.items() if name not in ("serve", "image")}
    assert without == {name: step for name, step in plain.items() if name in without}


def templates(**values: Any) -> Json:
    return {one["name"]: one for one in workflow_template(**values)["spec"]["templates"]}


def mounts(step: Json) -> set[str]:
    return {mount["name"] for mount in step.get("container", {}).get("volumeMounts", [])}


def secret_keys(step: Json) -> tuple[str, list[str]]:
    (secret,) = (volume["secret"] for volume in step["volumes"] if volume["name"] == "tls")
    return secret["secretName"], [item["key"] for item in secret["items"]]


def test_logs_of_steps_are_archived_only_if_somebody_says_so() -> None:
    """Unset, Argo's own setting counts. Set, the log of a step outlives its pod."""
    plain, archiving = (
        of_kind("WorkflowTemplate"),
        of_kind("WorkflowTemplate", **{"workflow.archiveLogs": True}),
    )
    assert [one["spec"].pop("archiveLogs", None) for one in archiving.values()] == [True] * len(plain)
    assert archiving == plain


def test_patch_of_argo_containers_can_be_turned_off() -> None:
    assert "podSpecPatch" not in workflow_template(**{"workflow.patchExecutor": False})["spec"]


PLAIN: Final = {"sourceProxy.https": "http://proxy.corp:3128", "sourceProxy.noProxy": "esxi.corp,10.0.0.0/8"}


def with_proxy(word: str = "proxy", **values: Any) -> Iterator[tuple[str, list[Json]]]:
    """Every container with a variable with that word: its name and those variables."""
    for kind in ("WorkflowTemplate", "Deployment", "Job"):
        for name, one in of_kind(kind, **values).items():
            for container_name, found in containers(one["spec"]):
                proxies = [var for var in found.get("env", []) if word in var["name"].lower()]
                if proxies:
                    yield f"{name}/{container_name}", proxies


def containers(spec: Json) -> Iterator[tuple[str, Json]]:
    for one in spec.get("templates", []):
        if "container" in one:
            yield one["name"], one["container"]
        for init in one.get("initContainers", []):
            yield f"{one['name']}/{init['name']}", init
    for one in spec.get("template", {}).get("spec", {}).get("containers", []):
        yield one["name"], one


def test_only_pods_that_connect_to_a_source_get_its_proxy() -> None:
    assert dict(with_proxy()) == {}
    stages = [stage.name for stage in PROGRAMS if stage.credentials]
    assert stages == ["preflight", "poweroff", "export", "release-source"]
    stages += [f"{stage.name}/{SOURCE_CHECK}" for stage in PROGRAMS if stage.checks_source]
    pods = {
        f"{argo_names.template_name(kind, guest=guest)}/{stage}"
        for kind in SourceKind
        for guest in (False, True)
        for stage in stages
    }
    found = dict(with_proxy(**PLAIN))
    assert set(found) == pods
    for env in found.values():
        environment = {one["name"]: one["value"] for one in env}
        assert str(proxy.for_url("https://vcenter.corp/sdk", environment)) == "proxy.corp:3128"
        assert proxy.for_url("https://esxi.corp/", environment) is None
        assert proxy.for_url("http://files.corp/x.ova", environment) is None


def test_who_talks_to_a_source_is_guarded() -> None:
    found = dict(with_proxy("networks"))
    assert set(found) == set(dict(with_proxy(**PLAIN)))
    values = {"sourceNetwork.blocked": ["10.96.0.0/16"], "sourceNetwork.allowed": ["10.96.0.7", "fd00::/8"]}
    for env in dict(with_proxy("networks", **values)).values():
        guard = Guard.read({one["name"]: one["value"] for one in env})
        assert guard is not None
        guard.check("10.96.0.7", 443)
        with pytest.raises(StepError):
            guard.check("10.96.0.8", 443)
    assert dict(with_proxy("networks", **{"sourceNetwork.guard": False})) == {}


def test_redirects_of_a_source_are_restricted_where_it_is_guarded() -> None:
    for values, listed in (
        ({}, ""),
        ({"sourceNetwork.redirectHosts": ["*.example.com", "cdn"]}, "*.example.com,cdn"),
    ):
        found = dict(with_proxy("redirect", **values))
        assert set(found) == set(dict(with_proxy("networks")))
        assert [var for env in found.values() for var in env] == [
            {"name": REDIRECT_HOSTS, "value": listed}
        ] * len(found)
    assert dict(with_proxy("redirect", **{"sourceNetwork.guard": False})) == {}


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "cdn.example.com",
            "*.example.com",
            "*",
            "192.0.2.1",
            "[2001:db8::1]",
            "https://cdn",
            "a/b",
            "a:443",
        ),
        *("a b", "a,b", "", "*x"),
    ],
)
def test_the_chart_and_the_steps_accept_the_same_hosts(entry: str) -> None:
    done = helm(
        "template", "imports", str(CHART), f"--set-json=sourceNetwork.redirectHosts={json.dumps([entry])}"
    )
    assert (done.returncode == 0) is hosts.is_pattern(entry), done.stderr


def test_a_proxy_with_a_password_comes_from_a_secret() -> None:
    found = dict(with_proxy(**{"sourceProxy.secret": "way-out"}))
    assert set(found) == set(dict(with_proxy(**PLAIN)))
    for env in found.values():
        assert [(one["name"], one["valueFrom"]["secretKeyRef"]) for one in env] == [
            (f"{key}_proxy", {"name": "way-out", "key": key}) for key in ("http", "https")
        ]


def test_proxy_from_both_secret_and_values_is_refused() -> None:
    done = helm("template", str(CHART), "--set", "sourceProxy.secret=a,sourceProxy.https=http://proxy:3128")
    assert done.returncode != 0
    assert "leave sourceProxy.http and sourceProxy.https empty" in done.stderr


@pytest.mark.parametrize(
    "wrong", [{"imagse": {}}, {"images.registri": "x"}, {"limits.machines": 0}, {"namespaces": ["A b"]}]
)
def test_unknown_values_are_refused(wrong: Json) -> None:
    given = [f"--set-json={key}={json.dumps(value)}" for key, value in wrong.items()]
    assert helm("template", str(CHART), *given).returncode != 0


REFUSED: Final = [
    "images.digests.vmwre=sha256:" + "a" * 64,
    "images.digests.vmware=sha512:" + "a" * 128,
    "images.registry=https://registry.example",
    "images.registry=registry.example:port",
    "images.repository=registry.example:5000/vmferry",
    "images.repository=vmferry:1",
    "images.repository=vmferry@sha256",
    "images.tag=v1:2",
    "images.tag=sha256:" + "a" * 64,
    "controller.workflowLink=foo",
    "controller.workflowLink=https://argo.example/workflows/{namespace}",
    "sourceProxy.https=http://user:word@proxy.corp:3128",
    "sourceProxy.https=https://proxy.corp:3128",
    "sourceProxy.http=proxy.corp:3128",
    "sourceProxy.noProxy=a;b",
    "sourceProxy.secret=Proxy",
    "sourceNetwork.blocked[0]=pods",
    "sourceNetwork.guard=maybe",
    "serve.tls.secret=Disks",
    "serve.tls.crt=tls.crt",
    "scratch.filesystemFactor=0.9",
    "scratch.filesystemFactor=much",
    "workflow.resources.export.requests.cpu=1.2.3",
    "workflow.resources.export.requests.memory=1ki",
]
"""As a user writes them after --set; each was accepted once and failed later, or silently."""


@pytest.mark.parametrize("wrong", REFUSED)
def test_invalid_value_is_refused_with_its_path(wrong: str) -> None:
    done = helm("template", str(CHART), "--set", wrong)
    assert done.returncode != 0
    path = wrong.partition("=")[0].replace(".", "/")
    assert path.rpartition("/")[0] in done.stderr.replace(".", "/")


TAKEN: Final = [
    "images.digests.vmware=sha256:" + "a" * 64,
    "images.registry=registry.example:5000/mirror/",
    "images.registry=localhost",
    "images.repository=team/vmferry",
    "images.tag=v1.2_rc-3",
    "controller.workflowLink=https://argo.example/workflows/{namespace}/{name}?tab=workflow",
    "scratch.filesystemFactor=2",
    "workflow.resources.export.requests.cpu=0.5",
    "workflow.resources.export.requests.cpu=2",
    "workflow.resources.export.limits.memory=1Ei",
]


@pytest.mark.parametrize("right", TAKEN)
def test_valid_value_is_accepted(right: str) -> None:
    done = helm("template", str(CHART), "--set", right)
    assert done.returncode == 0, done.stderr


def test_every_image_can_be_pinned() -> None:
    """The schema names the targets of images/Containerfile, so that a typo is found."""
    built = (Path(__file__).parents[3] / "images" / "Containerfile").read_text()
    targets = set(re.findall(r"^FROM python AS (\w+)$", built, flags=re.MULTILINE)) - {"builder", "appliance"}
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["images"]["properties"]["digests"]["properties"]) == targets


@pytest.mark.parametrize("given", ["--set", "--set-json", "--set-string"])
def test_a_fraction_reaches_the_controller_as_a_number(given: str) -> None:
    done = helm("template", str(CHART), given, "scratch.filesystemFactor=1.1")
    assert '"filesystemFactor": 1.1' in done.stdout, done.stderr


def test_a_fraction_of_a_processor_may_be_a_number() -> None:
    share = {"workflow.resources": {"export": {"requests": {"cpu": 0.5}}}}
    assert container("export", **share)["resources"] == {"requests": {"cpu": 0.5}}


# --- limits


def test_limits_have_the_keys_of_the_rows() -> None:
    source = SourcePlan(kind=SourceKind.VMWARE, name="vc.lab", namespace="shop", endpoint="")
    row = {"kind": "VmwareSource", "namespace": "shop", "name": "vc.lab", "machines": 1}
    made = of_kind("ConfigMap", **{"limits.perSource": [row]})[argo_names.LIMITS]
    data, own = made["data"], made["metadata"]["annotations"][PER_SOURCE].split()
    assert set(own) == {argo_names.limit_key(argo_names.row_key(source), limit) for limit in Limit}
    of_source = {limit: data[argo_names.limit_key(argo_names.row_key(source), limit)] for limit in Limit}
    assert of_source == {Limit.MACHINES: "1", Limit.STREAMS: "4"}
    assert {limit: data[argo_names.limit_key(argo_names.DEFAULT, limit)] for limit in Limit} == {
        Limit.MACHINES: "2",
        Limit.STREAMS: "4",
    }


# --- identities


Rule = tuple[str, str, frozenset[str]]


def rules(role: Json) -> set[Rule]:
    """A role's rules as (group, resource, verbs)."""
    return {
        (group, resource, frozenset(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def may(identity: str, **values: Any) -> set[Rule]:
    """All rules of an identity, in any namespace."""
    found: set[Rule] = set()
    for kind in ("Role", "ClusterRole"):
        for binding in (one for one in rendered(json.dumps(values)) if one["kind"].endswith("Binding")):
            if binding["roleRef"]["kind"] == kind and binding["subjects"][0]["name"] == identity:
                found |= rules(of_kind(kind, **values)[binding["roleRef"]["name"]])
    return found


ALLOWED: Final[dict[str, Any]] = {"bootCheck": {"allowed": True}}
"""With it the chart has every identity."""
REPORT: Final = ("argoproj.io", "workflowtaskresults", frozenset({"create", "patch"}))


def test_every_identity_has_a_service_account() -> None:
    assert set(of_kind("ServiceAccount", **ALLOWED)) == {
        "vmferry-controller",
        "vmferry-check",
        "vmferry-uninstall",
        *(argo_names.service_account(identity) for identity in Identity),
    }


@pytest.mark.parametrize("identity", Identity)
def test_every_step_can_report_to_argo_and_none_reads_secrets(identity: Identity) -> None:
    found = may(argo_names.service_account(identity), **ALLOWED)
    assert REPORT in found
    assert not any(resource == "secrets" for _, resource, _ in found)


def test_identity_of_the_data_stages_may_only_report() -> None:
    assert may("vmferry-data") == {REPORT}
    assert {stage.name for stage in PROGRAMS if stage.identity is Identity.DATA} == {
        "preflight",
        "poweroff",
        "export",
        "convert",
        "release-source",
    }


def test_scratch_may_delete_what_holds_scratch_and_nothing_else() -> None:
    """Also the run's finished pods: Argo's podGC does not see those that finished before a retry."""
    delete = frozenset({"list", "delete"})
    kept = {("", resource, delete) for resource in ("persistentvolumeclaims", "services", "pods")}
    assert may("vmferry-scratch") == {REPORT, *kept}


def test_target_deletes_only_claims_in_the_release_namespace() -> None:
    here = rules(of_kind("Role")["vmferry-target"])
    assert {resource for _, resource, verbs in here if "delete" in verbs} == {"persistentvolumeclaims"}
    assert not any(resource == "pods" for _, resource, _ in here)


def test_target_creates_the_pod_that_places_disks_only_where_a_policy_limits_it() -> None:
    policies = ("--api-versions", "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy")
    verbs = frozenset({"get", "list", "create", "delete"})
    for more, enabled, granted in ((policies, True, True), (policies, False, False), ((), True, False)):
        flag = f"guest.enabled={str(enabled).lower()}"
        given = ("--namespace", "vmferry", "--set", f"import.target=harvester,{flag}", *more)
        done = helm("template", "vmferry", str(CHART), *given)
        (role,) = [
            one
            for one in YAML(typ="safe").load_all(done.stdout)
            if one and (one["kind"], one["metadata"]["name"]) == ("Role", "vmferry-target")
        ]
        assert (("", "pods", verbs) in rules(role)) is granted


def test_the_stages_of_all_disks_can_be_left_out() -> None:
    names_ = set(of_kind("WorkflowTemplate"))
    without = set(of_kind("WorkflowTemplate", **{"guest.enabled": False}))
    assert names_ - without == {argo_names.template_name(kind, guest=True) for kind in SourceKind}
    assert "vmferry-guest" in of_kind("NetworkPolicy")
    assert "vmferry-guest" not in of_kind("NetworkPolicy", **{"guest.enabled": False})


def test_identity_of_inspections_may_only_report_and_nobody_connects_to_them() -> None:
    assert may("vmferry-guest") == {REPORT}
    policy = of_kind("NetworkPolicy")["vmferry-guest"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {"migration.harvesterhci.io/stage": "inspect"}
    assert (policy["policyTypes"], policy.get("ingress")) == (["Ingress"], None)


def test_the_mounts_of_all_disks_stay_without_the_patches() -> None:
    """They add no token, and without them the stage would see no disk."""
    made = of_kind("WorkflowTemplate", **{"workflow.patchExecutor": False})["vmferry-vmware-guest"]
    patched = [one["name"] for one in made["spec"]["templates"] if "podSpecPatch" in one]
    assert patched == ["inspect"]


def test_without_the_patches_no_volume_of_a_token_is_named() -> None:
    """With Argo's `initlessPod`, the containers that the patches name do not exist."""
    text = json.dumps(workflow_template(**{"workflow.patchExecutor": False}))
    assert "podSpecPatch" not in text
    assert "api-access" not in text


def test_serve_may_only_read() -> None:
    assert may("vmferry-serve") - {REPORT} == {
        ("harvesterhci.io", "virtualmachineimages", frozenset({"get", "list", "watch"})),
        ("cdi.kubevirt.io", "datavolumes", frozenset({"get", "list", "watch"})),
        ("argoproj.io", "workflows", frozenset({"get"})),
    }


def test_controller_may_not_list_secrets() -> None:
    verbs = {
        verb for _, resource, verbs in may("vmferry-controller") for verb in verbs if resource == "secrets"
    }
    assert verbs == {"get", "create", "update", "patch", "delete"}
    everywhere = of_kind("ClusterRole")["vmferry-controller-imports"]
    assert ("", "secrets", frozenset({"get"})) in rules(everywhere)


def test_uninstall_hook_may_only_list_imports_and_delete_leftovers() -> None:
    assert may("vmferry-uninstall") == {
        ("migration.harvesterhci.io", "virtualmachineimports", frozenset({"get", "list"})),
        ("v2v.kubevirt.io", "virtualmachineimports", frozenset({"get", "list"})),
        ("", "configmaps", frozenset({"list", "delete"})),
    }


def test_operator_role_can_read_all_that_argo_pages_need() -> None:
    """The page asks for cron workflows at every refresh, and shows FAILED TO LOAD DATA if it may not."""
    granted = rules(of_kind("Role")["vmferry-operator"])
    assert ("argoproj.io", "cronworkflows", frozenset({"list", "watch"})) in granted
    assert not any(resource == "secrets" for _, resource, _ in granted)


def test_no_role_has_a_wildcard() -> None:
    granted = [
        rule for kind in ("Role", "ClusterRole") for role in of_kind(kind).values() for rule in role["rules"]
    ]
    assert not any("*" in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]] for rule in granted)


def test_listed_namespaces_replace_cluster_wide_bindings() -> None:
    everywhere = set(of_kind("ClusterRoleBinding"))
    narrow = {"namespaces": ["shop", RELEASE]}
    facts = {"vmferry-controller-facts", "vmferry-target-storage"}
    assert everywhere - set(of_kind("ClusterRoleBinding", **narrow)) == {
        f"vmferry-{identity}-imports" for identity in ("controller", "serve", "target", "uninstall")
    }
    assert set(of_kind("ClusterRoleBinding", **narrow)) == facts
    bound = [
        (one["metadata"]["name"], one["metadata"]["namespace"])
        for one in rendered(json.dumps(narrow))
        if one["kind"] == "RoleBinding"
    ]
    assert ("vmferry-target-imports", "shop") in bound
    assert len(bound) == len(set(bound)), "two bindings of one name"


# --- network


def test_only_image_importers_may_reach_serve() -> None:
    policy = of_kind("NetworkPolicy")["vmferry-serve"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {names.LABEL_STAGE: "serve"}
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": names.PORT}]
    image, pullers, importers = rule["from"]
    assert image == {"podSelector": {"matchLabels": {names.LABEL_STAGE: "image"}}}
    (chosen,) = pullers["namespaceSelector"]["matchExpressions"]
    assert chosen["values"] == ["longhorn-system", "harvester-system", "cdi"]
    assert importers["podSelector"]["matchLabels"] == {"cdi.kubevirt.io": "importer"}
    more = {"serve.networkPolicy.addresses": ["192.168.1.5", "192.168.2.0/24"]}
    (rule,) = of_kind("NetworkPolicy", **more)["vmferry-serve"]["spec"]["ingress"]
    assert [one["ipBlock"]["cidr"] for one in rule["from"][3:]] == ["192.168.1.5/32", "192.168.2.0/24"]


def test_network_policy_can_be_narrowed_and_turned_off() -> None:
    narrow = {"serve.networkPolicy.importerPods": False, "serve.networkPolicy.namespaces": []}
    (rule,) = of_kind("NetworkPolicy", **narrow)["vmferry-serve"]["spec"]["ingress"]
    assert len(rule["from"]) == 1
    assert "vmferry-serve" not in of_kind("NetworkPolicy", **{"serve.networkPolicy.enabled": False})


def test_chart_contains_no_secret() -> None:
    assert of_kind("Secret") == {}
    assert "stringData" not in set(keys(rendered()))
