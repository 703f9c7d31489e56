"""Identity by object: what a step of run A can change with the token of its pod, of A itself and of run B.

The tokens are real and bound to pods that have the names that Argo gives them; RBAC and the policy of the
chart are those of a real API server. No node accepts the pods. One row of the table for each identity and
object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from steps.model import names
from steps.model.kinds import (
    API_VERSION,
    CLAIM,
    CONFIG_MAP,
    GROUP,
    IMAGE,
    IMPORT,
    KINDS,
    MACHINE,
    POD,
    SECRET,
    SERVICE,
    WORKFLOW,
    Kind,
    Object,
)
from steps.runtime.cluster import Cluster
from tests.real.cluster.stagepods import pod_name
from tests.real.tenant.client import refused, with_token
from tests.real.tenant.conftest import Attempt
from tests.real.tenant.ground import RELEASE, Ground
from workflows import argo_names
from workflows.stages import Identity
from workflows.status.nodes import node_id

RESULT: Final = Kind("argoproj.io/v1alpha1", "WorkflowTaskResult", "workflowtaskresults")
MINE: Final = "vmi-mine-01234567-g1"
OTHER: Final = "vmi-other-89abcdef-g1"
SPACES: Final = {MINE: "step-mine", OTHER: "step-other"}
"""The namespaces of the two imports."""
STAGES: Final = {
    Identity.DATA: "preflight",
    Identity.SERVE: "serve",
    Identity.TARGET: "admit",
    Identity.SCRATCH: "delete-scratch",
    Identity.GUEST: "inspect",
    Identity.BOOT: "check",
}
assert set(STAGES) == set(Identity)  # also where the tests below are skipped
POLICY: Final = "vmferry-steps"


@dataclass(frozen=True)
class Thing:
    """An object of a run, and how a step could change it."""

    title: str
    kind: Kind
    make: Callable[[str], Object]
    """The object of a run."""

    def name(self, run: str) -> str:
        return str(self.make(run)["metadata"]["name"])

    def namespace(self, run: str) -> str:
        return str(self.make(run)["metadata"]["namespace"])


def an_object(kind: Kind, name: str, run: str, namespace: str = RELEASE, **fields: object) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {names.LABEL_RUN: run}}
    metadata["annotations"] = {f"{GROUP}/run": run}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}


def result(run: str) -> Object:
    made = an_object(RESULT, node_id(run, f"{run}..export(0)"), run)
    made["metadata"]["labels"]["workflows.argoproj.io/workflow"] = run
    return made


def claim(run: str) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return an_object(CLAIM, names.claim(run, "disk-0"), run, spec=spec)


def volume(run: str) -> Object:
    return {**claim(run), "metadata": an_object(CLAIM, "web-disk-0", run, SPACES[run])["metadata"]}


def service(run: str) -> Object:
    spec = {"selector": {names.LABEL_RUN: run}, "ports": [{"port": 80}]}
    return an_object(SERVICE, names.service(run, "disk-0"), run, spec=spec)


def pod(run: str, identity: Identity = Identity.DATA, stage: str = "export") -> Object:
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {
        "serviceAccountName": argo_names.service_account(identity),
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "none", "securityContext": restricted}],
    }
    return an_object(POD, pod_name(run, stage), run, spec=spec)


def image(run: str) -> Object:
    spec = {"displayName": "x", "sourceType": "download", "url": "http://x"}
    return an_object(IMAGE, "image-0a1b2c3d4e5f", run, SPACES[run], spec=spec)


def machine(run: str) -> Object:
    return an_object(MACHINE, "web", run, SPACES[run], spec={"runStrategy": "Halted"})


def an_import(run: str) -> Object:
    made = an_object(IMPORT, "web", run, SPACES[run], spec={"virtualMachineName": "web"})
    return {**made, "apiVersion": API_VERSION}


THINGS: Final = (
    Thing("results", RESULT, result),
    Thing("request", CONFIG_MAP, lambda run: an_object(CONFIG_MAP, names.request(run), run, data={})),
    Thing("machine.json", CONFIG_MAP, lambda run: an_object(CONFIG_MAP, names.machine(run), run, data={})),
    Thing("volumes.json", CONFIG_MAP, lambda run: an_object(CONFIG_MAP, names.volumes(run), run, data={})),
    Thing("credentials", SECRET, lambda run: an_object(SECRET, names.credentials(run), run, data={})),
    Thing("address", SECRET, lambda run: an_object(SECRET, names.address(run), run, data={})),
    Thing("Workflow", WORKFLOW, lambda run: an_object(WORKFLOW, run, run, spec={})),
    Thing("scratch claim", CLAIM, claim),
    Thing("Service", SERVICE, service),
    Thing("pod", POD, pod),
    Thing("image", IMAGE, image),
    Thing("volume", CLAIM, volume),
    Thing("VM", MACHINE, machine),
    Thing("import", IMPORT, an_import),
)


@pytest.fixture(scope="module")
def known() -> Iterator[None]:
    """The client knows the kind of the results, which vmferry itself never writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, (RESULT.api_version, RESULT.kind), RESULT)
        yield


@pytest.fixture(scope="module")
def clients(ground: Ground, known: None) -> dict[Identity, Cluster]:
    """A client for each identity, with the token of a pod of `MINE`."""
    for space in SPACES.values():
        ground.server.make_namespace(space)
    made = {}
    for identity, stage in STAGES.items():
        holder = ground.admin.create(pod(MINE, identity, stage))
        bound = [
            "--bound-object-kind=Pod",
            f"--bound-object-name={holder['metadata']['name']}",
            f"--bound-object-uid={holder['metadata']['uid']}",
        ]
        account = argo_names.service_account(identity)
        token = ground.server.kubectl("create", "token", account, "-n", RELEASE, *bound).strip()
        path = ground.server.folder / f"step-{identity}.kubeconfig"
        made[identity] = with_token(ground.server.kubeconfig, path, RELEASE, token).cluster
    return made


@pytest.fixture(scope="module")
def things(ground: Ground, clients: dict[Identity, Cluster]) -> None:
    """Every object of run B exists, so that a change of it is not refused because it is absent."""
    for thing in THINGS:
        ground.admin.create(thing.make(OTHER))


def by_whom(said: str) -> str:
    if POLICY in said or "a pod of vmferry" in said or "a step of vmferry" in said:
        return "the policy vmferry-steps"
    return "RBAC" if " cannot " in said else said


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.title.replace(" ", "-"))
@pytest.mark.parametrize("identity", Identity)
def test_a_step_changes_nothing_of_another_run(
    ground: Ground,
    clients: dict[Identity, Cluster],
    things: None,
    attempt: Attempt,
    identity: Identity,
    thing: Thing,
) -> None:
    number = f"{list(Identity).index(identity)}{THINGS.index(thing):02}"
    with attempt(f"S{number}", f"{identity} of run A changes of run B: {thing.title}") as row:
        client, name, namespace = clients[identity], thing.name(OTHER), thing.namespace(OTHER)
        before = ground.admin.get(thing.kind, name, namespace)
        assert before is not None
        fresh = thing.make(OTHER)
        fresh["metadata"]["name"] = f"{name}-2"
        change = {"metadata": {"annotations": {"changed": "yes"}}}
        stolen = {"metadata": {"labels": {names.LABEL_RUN: MINE}, "annotations": {f"{GROUP}/run": MINE}}}
        refusals = {
            "create": refused(lambda: client.create(fresh)),
            "patch": refused(lambda: client.patch(thing.kind, name, change, namespace)),
            "take over": refused(lambda: client.patch(thing.kind, name, stolen, namespace)),
            "delete": refused(lambda: client.delete(thing.kind, name, namespace)),
        }
        found = {verb: by_whom(said) for verb, said in refusals.items()}
        assert set(found.values()) <= {"RBAC", "the policy vmferry-steps"}, found
        after = ground.admin.get(thing.kind, name, namespace)
        assert (after or {})["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        who = sorted(set(found.values()))
        row.denied(" and ".join(who), ", ".join(f"{verb}: {by}" for verb, by in found.items()))


OWN: Final = {
    (Identity.TARGET, "machine.json"),
    (Identity.TARGET, "volumes.json"),
    (Identity.TARGET, "scratch claim"),
    (Identity.TARGET, "Service"),
    (Identity.TARGET, "image"),
    (Identity.TARGET, "volume"),
    (Identity.TARGET, "VM"),
}
"""What a step creates of its own run: so the refusals above are not those of everything."""


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.title.replace(" ", "-"))
@pytest.mark.parametrize("identity", Identity)
def test_a_step_creates_what_belongs_to_its_run(
    clients: dict[Identity, Cluster], identity: Identity, thing: Thing
) -> None:
    made = thing.make(MINE)
    if thing.kind == RESULT:
        made["metadata"]["name"] = node_id(MINE, f"{MINE}..{STAGES[identity]}(0)")
        clients[identity].create(made)
    elif (identity, thing.title) in OWN:
        clients[identity].create(made)
    else:
        assert by_whom(refused(lambda: clients[identity].create(made))) in (
            "RBAC",
            "the policy vmferry-steps",
        )
