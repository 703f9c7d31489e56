"""The chart's NetworkPolicies for outgoing connections, enforced: what pods with our labels can connect to.

Each connection is tried by a real pod. Without the policies all succeed, so a refusal is the policy's.
"""

from __future__ import annotations

import json
import socketserver
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.kinds import POD, Kind, Object
from tests.networkpolicy import Peer, may_connect
from tests.real.cluster.chart import NAME, Chart
from tests.real.cluster.lab import Lab
from tests.real.standins.process import eventually
from tests.serving import serving

POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
SPACE: Final = "egress"
"""A namespace of somebody else."""
SERVING: Final = "egress-serving"
"""A second pod with the label of `serve`: no policy restricts a pod that connects to itself."""
OTHER_PORT: Final = 9000
ENFORCED_SECONDS: Final = 90.0

LISTENER: Final = """\
import socketserver, sys, threading
class Silent(socketserver.BaseRequestHandler):
    def handle(self): pass
socketserver.ThreadingTCPServer.allow_reuse_address = True
servers = [socketserver.ThreadingTCPServer(("", int(port)), Silent) for port in sys.argv[1:]]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
"""
CONNECT: Final = """\
import json, socket, sys
QUERY = bytes.fromhex("abcd01000001000000000000") + b"\\x04host\\x03lab\\x05local\\0\\0\\1\\0\\1"
def attempt(host, port, protocol):
    try:
        if protocol == "UDP":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
                wire.settimeout(5)
                wire.connect((host, port))
                wire.send(QUERY)
                wire.recv(4096)
        else:
            socket.create_connection((host, port), 5).close()
    except OSError as error:
        return type(error).__name__
    return ""
print(json.dumps([attempt(*one) for one in json.loads(sys.argv[1])]))
"""

Connection = tuple[Peer, int, str]


@dataclass(frozen=True)
class Ground:
    """Pods with the labels of stages, and what they try to connect to."""

    lab: Lab
    pods: Mapping[str, Mapping[str, str]]
    """Labels by the pod's name."""
    connections: Mapping[str, Connection]

    def observed(self, pod: str) -> dict[str, str]:
        """For each connection what happened: empty, or the name of the error."""
        wanted = [(peer.address, port, protocol) for peer, port, protocol in self.connections.values()]
        where = ("--namespace", self.lab.release, "exec", pod, "--", "python", "-c", CONNECT)
        results = json.loads(self.lab.kubectl(*where, json.dumps(wanted)))
        return dict(zip(self.connections, results, strict=True))

    def reached(self, pod: str) -> set[str]:
        return {what for what, error in self.observed(pod).items() if not error}

    def judged(self, pod: str) -> set[str]:
        """What the policies in the cluster allow, by the words of the Kubernetes API."""
        policies = self.lab.find(POLICY)
        return {
            what
            for what, (peer, port, protocol) in self.connections.items()
            if may_connect(policies, self.pods[pod], peer, port, protocol)
        }


SOURCE: Final = {"a source"}
API: Final = {"the API server"}
DNS: Final = {"the name server", "the name server over TCP"}
NODE: Final = {"the kubelet"}
"""In no network that the guard refuses: `sourceNetwork.blocked` can name the nodes."""
EXPECTED: Final[dict[str, set[str]]] = {
    **dict.fromkeys(
        ("preflight", "poweroff", "export", "build", "start", "release-source", "verify"),
        SOURCE | API | DNS | NODE,
    ),
    **dict.fromkeys(("admit", "convert", "serve", "halt", "delete-scratch", "unknown"), API),
    "image": API | DNS | {"serve"},
}
"""By the label of the stage. Init containers of `build` and `start` read the source. `verify` reaches the API
server where that is in the networks of the sources."""


def component(name: str) -> dict[str, str]:
    common = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME}
    return common | {"app.kubernetes.io/component": name}


@pytest.fixture(scope="module")
def source(lab: Lab) -> Iterator[int]:
    """The port of a server on the host, where the sources of the tests listen."""
    with serving(socketserver.ThreadingTCPServer((lab.host, 0), socketserver.BaseRequestHandler)) as server:
        yield server.server_address[1]


@pytest.fixture(scope="module")
def ground(lab: Lab, chart: Chart, source: int) -> Iterator[Ground]:
    labels: dict[str, dict[str, str]] = {
        f"egress-{stage}": {names.LABEL_STAGE: stage} for stage in EXPECTED
    } | {"egress-uninstall": component("uninstall")}
    lab.make_namespace(SPACE)
    serving_labels = labels["egress-serve"]
    for pod, given in [*labels.items(), (SERVING, serving_labels)]:
        lab.apply(listener(chart, pod, lab.release, given))
    lab.apply(listener(chart, "other", SPACE, {}))
    for pod in labels:
        address(lab, pod, lab.release)
    serving = Peer(address(lab, SERVING, lab.release), lab.release, serving_labels)
    other = address(lab, "other", SPACE)
    node = Peer(lab.node)
    yield Ground(
        lab,
        labels,
        {
            "a source": (Peer(lab.host), source, "TCP"),
            "the API server": (node, 6443, "TCP"),
            "the kubelet": (node, 10250, "TCP"),
            "the name server": (node, 53, "UDP"),
            "the name server over TCP": (node, 53, "TCP"),
            "serve": (serving, names.PORT, "TCP"),
            "another port of serve": (serving, OTHER_PORT, "TCP"),
            "a pod of another namespace": (Peer(other, SPACE), names.PORT, "TCP"),
        },
    )
    for pod in (*labels, SERVING):
        lab.kubectl("--namespace", lab.release, "delete", "pod", pod, "--wait=false")
    lab.kubectl("delete", "namespace", SPACE, "--timeout=100s")


def listener(chart: Chart, name: str, namespace: str, labels: Mapping[str, str]) -> Object:
    """A pod that accepts connections at two ports, as restricted as a stage's."""
    spec = chart.template()["spec"]
    (stage,) = [one for one in spec["templates"] if one["name"] == "build"]
    same = {key: stage["container"][key] for key in ("image", "imagePullPolicy", "securityContext")}
    command = ["python", "-c", LISTENER, str(names.PORT), str(OTHER_PORT)]
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": spec["securityContext"],
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "command": command, **same}],
        },
    }


def address(lab: Lab, pod: str, namespace: str) -> str:
    """The address of a pod when it runs."""

    def look() -> str:
        status: dict[str, Any] = (lab.get(POD, pod, namespace) or {}).get("status", {})
        return str(status.get("podIP", "")) if status.get("phase") == "Running" else ""

    return eventually(look, f"{pod} to run", ENFORCED_SECONDS)


def test_pods_reach_what_their_stage_needs_and_nothing_else(ground: Ground) -> None:
    for stage, expected in EXPECTED.items():
        pod = f"egress-{stage}"
        assert ground.judged(pod) == expected, pod
        settled(ground, pod, expected)
    settled(ground, "egress-uninstall", API)


def test_a_check_reaches_no_api_server_where_the_networks_of_sources_are_named(
    ground: Ground, chart: Chart
) -> None:
    chart.install(**{"egress.sources": [{"cidr": f"{ground.lab.host}/32"}]})
    try:
        settled(ground, "egress-verify", SOURCE | DNS)
        settled(ground, "egress-preflight", SOURCE | DNS | API)
    finally:
        chart.install()


def test_without_the_policies_every_connection_succeeds(ground: Ground, chart: Chart) -> None:
    """So each refusal above was the policy's, not that of a server or of the network."""
    chart.install(**{"egress.enabled": False, "serve.networkPolicy.enabled": False})
    try:
        for pod in ground.pods:
            settled(ground, pod, set(ground.connections))
    finally:
        chart.install()
        settled(ground, "egress-convert", API)


def test_the_controller_works_under_its_policy(ground: Ground) -> None:
    """It reaches the API server and nothing else, no name server either: it connects to no source itself."""
    where = ("--namespace", ground.lab.release, "exec", "deployment/vmferry-controller", "--")
    wanted = [(peer.address, port, protocol) for peer, port, protocol in ground.connections.values()]
    results = json.loads(ground.lab.kubectl(*where, "python", "-c", CONNECT, json.dumps(wanted)))
    reached = {what for what, error in zip(ground.connections, results, strict=True) if not error}
    assert reached == API


def settled(ground: Ground, pod: str, expected: set[str]) -> None:
    """Wait until exactly these connections of a pod succeed: rules follow a change after a moment."""
    try:
        eventually(lambda: ground.reached(pod) == expected, pod, ENFORCED_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{pod} reaches {ground.observed(pod)}, expected {expected}") from None
