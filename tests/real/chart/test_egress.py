"""Which connections the chart lets each pod open, for every combination of its values."""

from __future__ import annotations

import ipaddress
import itertools
import json
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.contract import StepError
from steps.runtime import guard
from tests.networkpolicy import Peer, may_connect
from tests.real.chart.test_chart import RELEASE, helm, of_kind, rendered, without_helm
from tests.real.chart.test_notes import api_server, chart
from tests.unit.workflows.author.rendered import CHART, PROGRAMS, Json

__all__ = ["chart"]
pytestmark = without_helm

CHECK: Final = "verify"
"""The stage label of the pods that check a source. They are not part of a Workflow."""
SOURCE_STAGES: Final = {stage.name for stage in PROGRAMS if stage.credentials or stage.checks_source}
OTHER_STAGES: Final = {"inspect", *(stage.name for stage in PROGRAMS)} - SOURCE_STAGES
UNKNOWN: Final = "a-stage-of-a-later-version"
STAGES: Final = sorted({*SOURCE_STAGES, *OTHER_STAGES, CHECK, UNKNOWN})

NODE: Final = Peer("192.168.1.5")
NAME_SERVER: Final = Peer("10.42.0.7", "kube-system", {"k8s-app": "kube-dns"})
SERVE: Final = Peer("10.42.0.9", RELEASE, {names.LABEL_STAGE: "serve"})
SOURCE: Final = Peer("192.0.2.10")

Connection = tuple[Peer, int, str]
API_SERVER: Final = (NODE, 6443, "TCP")
DNS: Final = (NAME_SERVER, 53, "UDP")
DISK: Final = (SERVE, names.PORT, "TCP")
HTTPS: Final = (SOURCE, 443, "TCP")

FORBIDDEN: Final[dict[str, Connection]] = {
    "the metadata service of a cloud": (Peer("169.254.169.254"), 80, "TCP"),
    "the same over IPv6": (Peer("fd00:ec2::254"), 80, "TCP"),
    "loopback": (Peer("127.0.0.1"), 8080, "TCP"),
    "a pod of another namespace": (Peer("10.42.0.8", "shop"), 80, "TCP"),
    "a pod in the release namespace": (Peer("10.42.0.10", RELEASE), 80, "TCP"),
    "another port of serve": (SERVE, 22, "TCP"),
    "serve of another namespace": (Peer("10.42.0.11", "shop", SERVE.labels), names.PORT, "TCP"),
    "a Service": (Peer("10.43.0.1"), 443, "TCP"),
    "another port of the name server": (NAME_SERVER, 9153, "TCP"),
    "a pod that looks like a name server": (Peer("10.42.0.12", "shop", NAME_SERVER.labels), 53, "UDP"),
    "a name server outside": (SOURCE, 53, "UDP"),
}
"""What no pod may reach with the default values."""


def policies(**values: Any) -> list[Json]:
    return [
        one for one in of_kind("NetworkPolicy", **values).values() if "Egress" in one["spec"]["policyTypes"]
    ]


def of_stage(stage: str) -> dict[str, str]:
    return {names.LABEL_STAGE: stage}


def of_component(component: str) -> dict[str, str]:
    common = {"app.kubernetes.io/name": "vmferry", "app.kubernetes.io/instance": "imports"}
    return common | {"app.kubernetes.io/component": component}


PODS: Final = {**{stage: of_stage(stage) for stage in STAGES}, "controller": of_component("controller")}
CONNECTS_TO_SOURCES: Final = {*SOURCE_STAGES, CHECK}


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_reaches_only_what_its_stage_needs(pod: str) -> None:
    made, labels = policies(), PODS[pod]
    assert may_connect(made, labels, *HTTPS) is (pod in CONNECTS_TO_SOURCES)
    assert may_connect(made, labels, *DNS) is (pod in {*CONNECTS_TO_SOURCES, "image"})
    assert may_connect(made, labels, *DISK) is (pod == "image")
    assert may_connect(made, labels, *API_SERVER)
    assert may_connect(made, labels, NODE, 10250) is (pod in CONNECTS_TO_SOURCES)
    reached = [what for what, connection in FORBIDDEN.items() if may_connect(made, labels, *connection)]
    assert reached == []


def test_the_rules_apply_to_each_container_with_credentials() -> None:
    (row,) = of_kind("NetworkPolicy")["vmferry-egress-sources"]["spec"]["podSelector"]["matchExpressions"]
    assert (row["key"], row["operator"]) == (names.LABEL_STAGE, "In")
    assert set(row["values"]) == {*SOURCE_STAGES, CHECK}


def test_a_check_does_not_reach_the_api_server_where_the_networks_of_sources_are_named() -> None:
    made = policies(**{"egress.sources": [{"cidr": "192.0.2.0/24"}]})
    assert may_connect(made, of_stage(CHECK), *HTTPS)
    assert not may_connect(made, of_stage(CHECK), *API_SERVER)
    assert may_connect(made, of_stage("preflight"), *API_SERVER), "Argo's executor reports there"


def test_the_uninstall_hook_reaches_the_api_server_only() -> None:
    made, labels = policies(), of_component("uninstall")
    assert may_connect(made, labels, *API_SERVER)
    assert not any(may_connect(made, labels, *one) for one in (HTTPS, DNS, DISK, *FORBIDDEN.values()))


def test_the_labels_are_those_of_the_pods() -> None:
    """A selector that matches no pod would restrict nothing."""
    controller = of_kind("Deployment")["vmferry-controller"]["spec"]["template"]["metadata"]["labels"]
    uninstall = of_kind("Job")["vmferry-uninstall"]["spec"]["template"]["metadata"]["labels"]
    assert of_component("controller").items() <= controller.items()
    assert of_component("uninstall").items() <= uninstall.items()
    stages = {
        template["metadata"]["labels"][names.LABEL_STAGE]
        for made in of_kind("WorkflowTemplate").values()
        for template in made["spec"]["templates"]
        if "container" in template
    }
    assert stages == {*SOURCE_STAGES, *OTHER_STAGES}


def test_pods_of_others_in_the_namespace_are_not_restricted() -> None:
    assert may_connect(policies(), {"app": "grafana"}, *HTTPS)


def test_incoming_connections_are_not_restricted() -> None:
    assert {tuple(one["spec"]["policyTypes"]) for one in policies()} == {("Egress",)}


def test_sources_may_be_in_every_network_that_the_guard_does_not_refuse() -> None:
    values = {
        "sourceNetwork.blocked": ["10.96.0.0/12", "fd00:10::/64"],
        "sourceNetwork.allowed": ["10.96.0.7"],
    }
    (rule,) = [
        rule
        for rule in of_kind("NetworkPolicy", **values)["vmferry-egress-sources"]["spec"]["egress"]
        if rule["ports"] == [{"protocol": "TCP"}]
    ]
    everything, everything6, allowed = (one["ipBlock"] for one in rule["to"])
    assert (everything["cidr"], everything6["cidr"]) == ("0.0.0.0/0", "::/0")
    assert {*everything["except"], *everything6["except"]} == {*guard.ALWAYS, "10.96.0.0/12", "fd00:10::/64"}
    assert allowed == {"cidr": "10.96.0.7/32"}


@pytest.mark.parametrize(
    ("blocked", "allowed", "address", "reached"),
    [
        (["10.96.0.0/12"], [], "10.96.0.7", False),
        (["10.96.0.0/12"], ["10.96.0.7"], "10.96.0.7", True),
        (["10.96.0.0/12"], ["10.96.0.7"], "10.96.0.8", False),
        ([], [], "10.42.0.8", True),
        ([], [], "169.254.169.254", False),
        ([], ["169.254.169.254/32"], "169.254.169.254", True),
        (["192.168.1.5"], [], "192.168.1.5", False),
        (["fd00:10::/64"], [], "fd00:10::1", False),
        (["fd00:10::1"], [], "fd00:10::1", False),
        (["fd00:10::/64"], [], "fd00:11::1", True),
    ],
)
def test_guard_and_policy_judge_an_address_in_the_same_way(
    blocked: list[str], allowed: list[str], address: str, *, reached: bool
) -> None:
    made = policies(**{"sourceNetwork.blocked": blocked, "sourceNetwork.allowed": allowed})
    assert may_connect(made, of_stage("export"), Peer(address), 443) is reached
    assert is_allowed_by_the_guard(blocked, allowed, address) is reached


def is_allowed_by_the_guard(blocked: list[str], allowed: list[str], address: str) -> bool:
    found = guard.Guard.read({guard.BLOCKED: ",".join(blocked), guard.ALLOWED: ",".join(allowed)})
    assert found is not None
    try:
        found.check(address, 443)
    except StepError:
        return False
    return True


# --- values


APIS: Final[list[dict[str, Any]]] = [
    {},
    {"egress.apiServer.ports": [443, 6443]},
    {"egress.apiServer.addresses": ["192.168.1.5", "192.168.2.0/24"]},
    {"egress.apiServer.ports": [443], "egress.apiServer.addresses": ["fd00::5"]},
]
NAME_SERVERS: Final[list[dict[str, Any]]] = [
    {},
    {"egress.nameServers": [{"ipBlock": {"cidr": "192.168.1.5/32"}}]},
    {"egress.nameServers": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "coredns"}}}]},
    {"egress.nameServers": []},
]
NETWORKS: Final[list[dict[str, Any]]] = [
    {},
    {"egress.sources": [{"cidr": "10.0.0.0/8", "except": ["10.42.0.0/16"]}, {"cidr": "2001:db8::/32"}]},
    {"sourceNetwork.blocked": [], "sourceNetwork.guard": False},
    {"sourceNetwork.blocked": ["10.96.0.0/12", "fd00:10::/64", "10.1.2.3"], "sourceNetwork.allowed": ["::1"]},
]
MORE: Final[list[dict[str, Any]]] = [
    {},
    {"egress.extra.sources": [{"to": [{"podSelector": {"matchLabels": {"app": "squid"}}}]}]},
    {"egress.extra.steps": [{"to": [{"ipBlock": {"cidr": "10.5.0.0/16"}}], "ports": [{"port": 9000}]}]},
]


GROUPS: Final = (APIS, NAME_SERVERS, NETWORKS, MORE)
COMBINATIONS: Final = [
    *(
        {key: value for part in parts for key, value in part.items()}
        for parts in itertools.product(*((group[0], group[1]) for group in GROUPS))
    ),
    *(one for group in GROUPS for one in group[2:]),
]
"""Each first value of a group with each of the others, and each further value alone."""


@pytest.mark.parametrize("values", COMBINATIONS, ids=lambda values: " ".join(values) or "defaults")
def test_every_combination_of_values_gives_policies_that_the_api_accepts(values: dict[str, Any]) -> None:
    made = policies(**values)
    assert {one["metadata"]["name"] for one in made} == {
        f"vmferry-egress-{name}" for name in ("steps", "sources", "image", "controller", "uninstall")
    }
    for one in made:
        assert one["spec"]["egress"], "a policy without rules forbids everything"
        for rule in one["spec"]["egress"]:
            check_rule(rule)
    api = Peer("fd00::5" if "fd00::5" in str(values) else "192.168.1.5")
    port = (values.get("egress.apiServer.ports") or [6443])[0]
    for pod in ("convert", "serve", "controller", "preflight"):
        assert may_connect(made, PODS[pod], api, port), pod
    assert not may_connect(made, PODS["convert"], Peer("192.0.2.10"), 8443)


def check_rule(rule: Json) -> None:
    """As the API server checks it (k8s.io/kubernetes, pkg/apis/networking/validation)."""
    assert set(rule) <= {"to", "ports"}
    for port in rule.get("ports", []):
        assert port.get("protocol", "TCP") in ("TCP", "UDP")
        assert 1 <= port.get("port", 1) <= 65535
    for peer in rule.get("to", []):
        block = peer.get("ipBlock")
        assert ("ipBlock" in peer) is (set(peer) == {"ipBlock"})
        if block:
            network = ipaddress.ip_network(block["cidr"])
            for one in map(ipaddress.ip_network, block.get("except", [])):
                assert one.version == network.version
                assert one != network
                assert one.subnet_of(network)  # type: ignore[arg-type]  # the versions are equal


def test_addresses_of_the_api_server_can_be_named() -> None:
    values = {"egress.apiServer.addresses": ["192.168.1.5"], "egress.apiServer.ports": [6443]}
    made = policies(**values)
    assert may_connect(made, of_stage("convert"), *API_SERVER)
    assert not may_connect(made, of_stage("convert"), Peer("192.168.1.6"), 6443)


def test_name_servers_can_be_outside_pods() -> None:
    made = policies(**{"egress.nameServers": [{"ipBlock": {"cidr": "169.254.20.10/32"}}]})
    assert may_connect(made, of_stage("image"), Peer("169.254.20.10"), 53, "UDP")
    assert not may_connect(made, of_stage("image"), *DNS)
    anywhere = policies(**{"egress.nameServers": []})
    assert may_connect(anywhere, of_stage("image"), Peer("192.0.2.53"), 53, "UDP")
    assert not may_connect(anywhere, of_stage("image"), Peer("192.0.2.53"), 443)


def test_more_rules_apply_to_their_pods_only() -> None:
    squid, store = (
        Peer("10.42.0.20", RELEASE, {"app": "squid"}),
        Peer("10.42.0.21", "minio", {"app": "minio"}),
    )
    values = {
        "egress.extra.sources": [{"to": [{"podSelector": {"matchLabels": squid.labels}}]}],
        "egress.extra.steps": [
            {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": store.labels}}]}
        ],
    }
    made = policies(**values)
    assert {pod for pod in PODS if may_connect(made, PODS[pod], squid, 3128)} == CONNECTS_TO_SOURCES
    assert {pod for pod in PODS if may_connect(made, PODS[pod], store, 9000)} == {*STAGES} - {CHECK}


def test_the_policies_can_be_turned_off() -> None:
    assert policies(**{"egress.enabled": False}) == []
    assert [one for one in rendered(json.dumps({"egress.enabled": False})) if one["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(
    "values",
    [
        {"egress.apiServer.ports": ["https"]},
        {"egress.apiServer.ports": [0]},
        {"egress.apiServer.addresses": ["api.example.com"]},
        {"egress.sources": ["10.0.0.0/8"]},
        {"egress.sources": [{"cidr": "10.0.0.0"}]},
        {"egress.extra.sources": [{"from": []}]},
        {"egress.nameServers": ["10.43.0.10"]},
        {"egress.destinations": []},
    ],
)
def test_values_that_would_fail_in_the_cluster_are_refused(values: dict[str, Any]) -> None:
    given = [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]
    done = helm("template", "imports", str(CHART), "--namespace", RELEASE, *given)
    assert done.returncode != 0
    assert "egress" in done.stderr


# --- the cluster


def in_cluster(template: str, *objects: Json, chart: Path = CHART) -> str:
    """A template that Helm renders with the API of a cluster that has these objects."""
    with api_server(list(objects)) as address:
        done = helm(
            *("template", "imports", str(chart), "--namespace", RELEASE, "--dry-run=server"),
            *("--kube-apiserver", address, "--show-only", template),
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


SLICE: Final = {
    "kind": "EndpointSlice",
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
}
"""As in a cluster whose API server is behind a load balancer."""


def test_the_ports_of_the_api_server_are_those_of_the_cluster() -> None:
    found = in_cluster("templates/egress.yaml", SLICE)
    assert "port: 443\n" in found
    assert "port: 6443\n" not in found
    assert "port: 6443\n" in in_cluster("templates/egress.yaml")


def test_the_notes_name_the_ports_of_the_api_server(chart: Path) -> None:
    assert "NetworkPolicies allow the API server at port 443." in in_cluster(
        "templates/shown.yaml", SLICE, chart=chart
    )
