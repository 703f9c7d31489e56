"""With the token of a step of one run, every write to another run is denied by the real API server.

The tokens are those that the kubelet mounts: bound to a pod that has the name that Argo gives it. The pods
themselves never start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from steps.model import names
from steps.model.kinds import POD, Object
from tests.real.cluster.chart import Chart
from tests.real.cluster.lab import KUBECTL, CommandError, Lab, command
from tests.real.cluster.stagepods import pod_name
from workflows import argo_names
from workflows.stages import Identity, stage_named
from workflows.status.nodes import node_id

MINE: Final = "vmi-web-01234567-g1"
OTHERS: Final = ("vmi-web-89abcdef-g1", "vmi-web-01234567-g1-89abcdef-g1", "vmi-web-01234567-g11")
"""Another import; one whose name a person chose to look like this run; and a later run of the same import."""
STAGES: Final = {
    Identity.DATA: "preflight",
    Identity.SERVE: "serve",
    Identity.TARGET: "admit",
    Identity.SCRATCH: "delete-scratch",
    Identity.BOOT: "check",
}
DENIED: Final = "vmferry-steps"


@dataclass(frozen=True)
class Token:
    """A client with one token and nothing else."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, given: Object | None = None) -> str:
        argv = [str(KUBECTL), "--kubeconfig", str(self.kubeconfig), *arguments]
        return command(argv, given=json.dumps(given) if given else "")

    def refusal(self, *arguments: str, given: Object | None = None) -> str:
        """Why the request is refused; empty if it is not."""
        try:
            self.kubectl(*arguments, given=given)
        except CommandError as error:
            return str(error)
        return ""


def token_of(lab: Lab, folder: Path, identity: Identity, pod: str = "") -> Token:
    """A client with a token of an identity, of a pod or, without one, of none."""
    bound = []
    if pod:
        found = lab.get(POD, pod)
        assert found is not None
        bound = [
            "--bound-object-kind=Pod",
            f"--bound-object-name={pod}",
            f"--bound-object-uid={found['metadata']['uid']}",
        ]
    account = argo_names.service_account(identity)
    token = lab.kubectl("create", "token", account, "--namespace", lab.release, *bound).strip()
    config: dict[str, Any] = YAML(typ="safe").load(lab.place.kubeconfig.read_text())
    config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
    path = folder / f"{identity}-{pod or 'no-pod'}.json"
    path.write_text(json.dumps(config))
    return Token(path)


@pytest.fixture(scope="module")
def tokens(chart: Chart, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Identity, Token]]:
    lab, folder = chart.lab, tmp_path_factory.mktemp("tokens")
    chart.install(bootCheck={"allowed": True})
    lab.apply(*(a_pod(lab, identity, stage) for identity, stage in STAGES.items()))
    yield {
        identity: token_of(lab, folder, identity, pod_name(MINE, stage)) for identity, stage in STAGES.items()
    }
    lab.reset()
    chart.install()


def a_pod(lab: Lab, identity: Identity, stage: str) -> Object:
    """A pod that no node accepts."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(MINE, stage),
            "namespace": lab.release,
            "labels": {names.LABEL_RUN: MINE},
        },
        "spec": {
            "serviceAccountName": argo_names.service_account(identity),
            "automountServiceAccountToken": False,
            "nodeSelector": {"vmferry.test/nowhere": "true"},
            "containers": [{"name": "main", "image": "none", "securityContext": restricted}],
        },
    }


def an_object(lab: Lab, kind: str, name: str, run: str, **fields: object) -> Object:
    version = "argoproj.io/v1alpha1" if kind == "WorkflowTaskResult" else "v1"
    metadata = {"name": name, "namespace": lab.release, "labels": {names.LABEL_RUN: run}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def result(lab: Lab, run: str, stage: str) -> Object:
    # The same node as in `pod_name`.
    made = an_object(lab, "WorkflowTaskResult", node_id(run, f"{run}..{stage}(0)"), run)
    made["metadata"]["labels"]["workflows.argoproj.io/workflow"] = run
    return made


def claim(lab: Lab, run: str) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return an_object(lab, "PersistentVolumeClaim", names.claim(run, "disk-0"), run, spec=spec)


def service(lab: Lab, run: str) -> Object:
    spec = {"selector": {names.LABEL_RUN: run}, "ports": [{"port": 80}]}
    return an_object(lab, "Service", names.service(run, "disk-0"), run, spec=spec)


def document(lab: Lab, run: str) -> Object:
    return an_object(lab, "ConfigMap", names.machine(run), run, data={"machine.json": "{}"})


def writes(lab: Lab, identity: Identity, run: str) -> list[tuple[str, Object]]:
    """What the Role of an identity allows: (verb, object)."""
    found = [("create", result(lab, run, STAGES[identity]))]
    if identity is Identity.TARGET:
        found += [("create", one) for one in (document(lab, run), claim(lab, run), service(lab, run))]
        found += [("patch", document(lab, run)), ("patch", claim(lab, run))]
    if identity is Identity.BOOT:
        found += [(verb, an_object(lab, "ConfigMap", names.boot(run), run)) for verb in ("create", "patch")]
    if identity is Identity.SCRATCH:
        found += [("delete", claim(lab, run)), ("delete", service(lab, run))]
        found += [("delete", an_object(lab, "Pod", pod_name(run, "export"), run))]
    return found


def refusal(token: Token, lab: Lab, verb: str, thing: Object) -> str:
    where = ("--namespace", lab.release)
    if verb == "create":
        return token.refusal("create", "--dry-run=server", "--validate=false", "-f", "-", given=thing)
    which = f"{thing['kind'].lower()}/{thing['metadata']['name']}"
    if verb == "delete":
        return token.refusal("delete", "--dry-run=server", "--wait=false", which, *where)
    change = json.dumps({"metadata": {"annotations": {"changed": "yes"}}})
    return token.refusal("patch", which, "--type=merge", "--patch", change, "--dry-run=server", *where)


@pytest.fixture(scope="module")
def things(chart: Chart, tokens: dict[Identity, Token]) -> Iterator[None]:
    """The objects that tokens try to change, of every run."""
    lab = chart.lab
    for run in (MINE, *OTHERS):
        export = a_pod(lab, Identity.DATA, "export")
        export["metadata"] |= {"name": pod_name(run, "export"), "labels": {names.LABEL_RUN: run}}
        seen = an_object(lab, "ConfigMap", names.boot(run), run)
        lab.apply(document(lab, run), claim(lab, run), service(lab, run), seen, export)
    yield
    lab.reset()


@pytest.mark.parametrize("identity", Identity)
def test_a_step_writes_what_belongs_to_its_run(
    chart: Chart, tokens: dict[Identity, Token], things: None, identity: Identity
) -> None:
    for verb, thing in writes(chart.lab, identity, MINE):
        said = refusal(tokens[identity], chart.lab, verb, thing)
        assert said == "" or "AlreadyExists" in said, f"{verb} {thing['kind']}"


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("identity", Identity)
def test_a_step_writes_nothing_that_belongs_to_another_run(
    chart: Chart, tokens: dict[Identity, Token], things: None, identity: Identity, other: str
) -> None:
    for verb, thing in writes(chart.lab, identity, other):
        said = refusal(tokens[identity], chart.lab, verb, thing)
        assert DENIED in said, f"{verb} {thing['kind']}: {said}"


@pytest.mark.parametrize("identity", Identity)
def test_a_token_without_a_pod_writes_nothing(
    chart: Chart, things: None, tmp_path: Path, identity: Identity
) -> None:
    token = token_of(chart.lab, tmp_path, identity)
    for verb, thing in writes(chart.lab, identity, MINE):
        assert DENIED in refusal(token, chart.lab, verb, thing), f"{verb} {thing['kind']}"


def test_the_stages_of_the_table_have_these_identities() -> None:
    assert {stage_named(stage).identity: stage for stage in STAGES.values()} == STAGES
