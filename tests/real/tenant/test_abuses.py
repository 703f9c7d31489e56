"""The abuses of the list in `tests/real/tenant/__init__.py` that need no pod of a step."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from functools import partial
from typing import Any, Final

import pytest

from controller.operator.checkpods import objects as checkpods
from controller.operator.checkpods.check import Owner
from controller.operator.observe.secret import CONSENT
from steps.model import names
from steps.model.grants import ALLOWED
from steps.model.kinds import CONFIG_MAP, EVENT, IMPORT, SECRET, SOURCES, WORKFLOW, Kind, Object
from steps.model.sources import SourceKind
from steps.runtime.program import PLAN
from tests.real.tenant.client import Tenant, eventually, refused
from tests.real.tenant.conftest import Attempt
from tests.real.tenant.ground import HEALTH, RELEASE, Ground
from tests.unit.workflows.status.situations import exited, failed

OVA: Final = SOURCES[SourceKind.OVA]
MIB: Final = 1 << 20
EXPRESSIONS: Final = (
    '{{workflow.serviceAccountName}} {{=sprig.env("X")}} $(HOSTNAME) $(touch /tmp/x) `id` ${HOME}'
)


@pytest.fixture(scope="module")
def victim(ground: Ground) -> Tenant:
    return ground.tenant()


@pytest.fixture(scope="module")
def running(ground: Ground, victim: Tenant) -> Object:
    """An import of the victim that runs."""
    victim.secret("login", **a_login("the victim"))
    victim.ova("web", f"{ground.web.url}/victim.ovf", credentials={"name": "login"})
    made = victim.import_("precious", "web")
    ground.started(made)
    return made


def a_login(user: str) -> dict[str, str]:
    return {"username": user, "password": f"{user}'s"}


def started(ground: Ground, tenant: Tenant, name: str = "mine", **spec: Any) -> Object:
    """An import of the tenant that runs."""
    if tenant.get(OVA, "web") is None:
        tenant.ova("web", f"{ground.web.url}/{tenant.namespace}.ovf")
    made = tenant.import_(name, "web", **spec)
    ground.started(made)
    return made


def reconciled(tenant: Tenant, name: str) -> None:
    """Wait for a reconcile of a running import that began after now: it removes an unknown gate."""
    tenant.annotate(IMPORT, name, approve="marker")

    def is_done() -> bool:
        notes = (tenant.get(IMPORT, name) or {})["metadata"].get("annotations") or {}
        return "migration.harvesterhci.io/approve" not in notes

    eventually(is_done, f"a reconcile of {name}")


def test_a1_a_status_of_ones_own(ground: Ground, attempt: Attempt, victim: Tenant, running: Object) -> None:
    with attempt("A1", "write a status that names another tenant's Workflow") as row:
        tenant, workflow = ground.tenant(), ground.started(running)
        forged = {
            "importStatus": "VMMigrationFailed",
            "workflow": {"name": workflow["metadata"]["name"], "namespace": RELEASE, "generation": 1},
        }
        tenant.ova("web", f"{ground.web.url}/a1.ovf")
        reference = {"kind": "OvaSource", "name": "web"}
        spec = {"virtualMachineName": "a1", "sourceCluster": reference}
        made = tenant.cluster.create(tenant.an_object(IMPORT, "forged", spec=spec, status=forged))
        assert "status" not in made
        changed = tenant.cluster.patch(IMPORT, "forged", {"status": forged}, tenant.namespace)
        assert (changed or {}).get("status", {}).get("importStatus") != "VMMigrationFailed"
        said = refused(lambda: tenant.cluster.patch_status(IMPORT, "forged", forged, tenant.namespace))
        before = ground.objects(running["metadata"]["uid"])
        own = ground.started(made)
        assert own["metadata"]["name"] != workflow["metadata"]["name"]
        assert ground.objects(running["metadata"]["uid"]) == before
        row.denied("the API server and RBAC", said)


def test_a2_the_accounts_of_vmferry(ground: Ground, attempt: Attempt) -> None:
    with attempt("A2", "impersonate vmferry's accounts, create their tokens, use the same names") as row:
        tenant = ground.tenant()
        said = ""
        for account in ("vmferry-controller", "vmferry-target", "vmferry-data", "vmferry-serve"):
            user = f"--as=system:serviceaccount:{RELEASE}:{account}"
            tenant.refusal("get", "secrets", "-n", RELEASE, user)
            said = tenant.refusal("create", "token", account, "-n", RELEASE)
        assert (
            tenant.kubectl(
                "create", "serviceaccount", "vmferry-controller", "-n", tenant.namespace
            ).returncode
            == 0
        )
        same = f"--as=system:serviceaccount:{tenant.namespace}:vmferry-controller"
        for what in (("get", "secrets", "-n", RELEASE), ("get", "virtualmachineimports", "-A")):
            tenant.refusal(*what, same)
        row.denied("RBAC", said)


def test_a3_the_names_that_come_next(
    ground: Ground, attempt: Attempt, victim: Tenant, running: Object
) -> None:
    with attempt("A3", "create the objects that another tenant's next run will use") as row:
        tenant, current = ground.tenant(), ground.started(running)
        labels = current["metadata"]["labels"]
        run = labels[names.LABEL_RUN].replace("-g1", "-g2")
        labels = {key: text for key, text in labels.items() if key.startswith("migration.")}
        labels[names.LABEL_RUN] = run
        planted: list[tuple[Kind, str, dict[str, Any]]] = [
            (CONFIG_MAP, names.request(run), {"data": {PLAN: "{}"}}),
            (SECRET, names.credentials(run), {"data": {"password": "eA=="}}),
            (WORKFLOW, run, {"spec": {}}),
        ]
        said = ""
        for kind, name, fields in planted:
            there = tenant.an_object(kind, name, **fields)
            there["metadata"] |= {"namespace": RELEASE, "labels": labels}
            said = refused(partial(tenant.cluster.create, there))
            here = tenant.an_object(kind, name, **fields)
            here["metadata"]["labels"] = labels
            tenant.cluster.create(here)
        victim.cluster.patch(IMPORT, "precious", {"spec": {"cpus": 2}}, victim.namespace)
        reconciled(victim, "precious")
        for kind, name, fields in planted:
            found = tenant.get(kind, name) or {}
            assert {key: found.get(key) for key in fields} == fields, "the tenant's own object is unchanged"
        row.denied("RBAC", f"{said}; in the own namespace they stay unread")


def test_a4_a_workflow_of_ones_own_with_our_labels(
    ground: Ground, attempt: Attempt, victim: Tenant, running: Object
) -> None:
    with attempt("A4", "a Workflow in the own namespace with the labels of another tenant's import") as row:
        tenant, current = ground.tenant(), ground.started(running)
        own = tenant.an_object(WORKFLOW, current["metadata"]["name"], spec=current["spec"])
        own["metadata"]["labels"] = current["metadata"]["labels"]
        own["status"] = {"phase": "Failed", "message": "forged", "nodes": {}}
        tenant.cluster.create(own)
        before = victim.status("precious")
        reconciled(victim, "precious")
        after = victim.status("precious")
        assert (after.import_status, after.workflow) == (before.import_status, before.workflow)
        assert "forged" not in after.message
        row.harmless(f"the status of the victim stays {victim.summary('precious').reason}")


def test_a5_a_finalizer_of_ones_own(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("A5", "keep a deleted import with a finalizer of one's own") as row:
        tenant = ground.tenant()
        tenant.ova("web", f"{ground.web.url}/a5.ovf")
        made = tenant.import_("held", "web", metadata={"finalizers": ["tenant.example/hold"]})
        workflow, uid = ground.started(made), made["metadata"]["uid"]
        tenant.cluster.delete(IMPORT, "held", tenant.namespace)
        eventually(lambda: (ground.workflow(uid) or {}).get("spec", {}).get("shutdown") == "Stop", "the stop")
        ground.play(workflow, failed("export", 143, disk="disk-0"), exited(), phase="Failed")

        def finalizers() -> list[str]:
            return list((tenant.get(IMPORT, "held") or {})["metadata"]["finalizers"])

        eventually(lambda: finalizers() == ["tenant.example/hold"], lambda: str(finalizers()))
        eventually(lambda: not ground.objects(uid), lambda: f"left: {ground.objects(uid)}")
        last = ""
        for number in range(5):
            change = {"metadata": {"annotations": {"tenant.example/n": str(number)}}}
            last = (tenant.cluster.patch(IMPORT, "held", change, tenant.namespace) or {})["metadata"][
                "resourceVersion"
            ]
        ground.assert_serves(victim)  # the controller had its time
        now = (tenant.get(IMPORT, "held") or {})["metadata"]["resourceVersion"]
        assert now == last, "the controller writes to an import that it has released"
        assert ground.objects(uid) == {}
        tenant.cluster.patch(IMPORT, "held", {"metadata": {"finalizers": None}}, tenant.namespace)
        row.harmless("the run is gone, vmferry's finalizer too; after that vmferry wrote nothing")


def test_a6_our_finalizer_removed(ground: Ground, attempt: Attempt, victim: Tenant, running: Object) -> None:
    with attempt("A6", "remove vmferry's finalizer from a running import and delete it") as row:
        tenant = ground.tenant()
        made = started(ground, tenant)
        uid, kept = made["metadata"]["uid"], ground.objects(running["metadata"]["uid"])
        tenant.cluster.patch(IMPORT, "mine", {"metadata": {"finalizers": None}}, tenant.namespace)
        tenant.cluster.delete(IMPORT, "mine", tenant.namespace)

        def is_gone() -> bool:
            # While it exists, the controller may have added the finalizer again.
            found = tenant.get(IMPORT, "mine")
            if found is not None and found["metadata"].get("finalizers"):
                tenant.cluster.patch(IMPORT, "mine", {"metadata": {"finalizers": None}}, tenant.namespace)
            return found is None and not ground.objects(uid)

        eventually(is_gone, lambda: f"left: {ground.objects(uid)}")
        assert ground.objects(running["metadata"]["uid"]) == kept
        row.harmless(f"all objects of the run went; the {len(kept)} of another tenant are the same")


def test_a7_owners_of_another_namespace(
    ground: Ground, attempt: Attempt, victim: Tenant, running: Object
) -> None:
    with attempt("A7", "owner references from an import to objects of vmferry and of another tenant") as row:
        tenant, uid = ground.tenant(), running["metadata"]["uid"]
        kept = ground.objects(uid)
        owners: list[Object] = []
        for name in (*ground.of(CONFIG_MAP, uid), "vmferry-controller", "vmferry-limits"):
            found = ground.admin.get(CONFIG_MAP, name, RELEASE)
            assert found is not None
            reference = CONFIG_MAP.owner_reference(name, found["metadata"]["uid"])
            owners.append({**reference, "controller": not owners, "blockOwnerDeletion": True})
        tenant.import_("owned", "absent", metadata={"ownerReferences": owners})
        tenant.cluster.delete(IMPORT, "owned", tenant.namespace)
        eventually(lambda: tenant.get(IMPORT, "owned") is None, "the import's deletion")
        again = tenant.import_("owned", "absent", metadata={"ownerReferences": owners})
        eventually(lambda: tenant.get(IMPORT, "owned") is None, "the collection of the import")
        assert ground.objects(uid) == kept
        for owner in owners:
            assert (ground.admin.get(CONFIG_MAP, owner["name"], RELEASE) or {})["metadata"]["uid"] == owner[
                "uid"
            ]
        row.harmless(f"Kubernetes collected the tenant's import {again['metadata']['name']} and nothing else")


def test_a8_the_same_name_again_and_again(ground: Ground, attempt: Attempt) -> None:
    with attempt("A8", "delete and create an import of the same name many times") as row:
        tenant, uids = ground.tenant(), []
        for _ in range(4):
            made = started(ground, tenant, "phoenix")
            uids.append(made["metadata"]["uid"])
            if len(uids) == 4:
                break
            tenant.cluster.delete(IMPORT, "phoenix", tenant.namespace)

            def is_gone() -> bool:
                tenant.cluster.patch(IMPORT, "phoenix", {"metadata": {"finalizers": None}}, tenant.namespace)
                return tenant.get(IMPORT, "phoenix") is None

            eventually(is_gone, "the deletion")

        def left() -> list[Object]:
            return [found for uid in uids[:-1] if (found := ground.objects(uid))]

        eventually(lambda: not left(), lambda: f"left: {left()}")
        (workflow,) = ground.of(WORKFLOW, uids[-1])
        assert nothing_of_deleted_imports(ground, tenant)
        row.harmless(f"4 imports, 4 runs; only {workflow} is left")


def nothing_of_deleted_imports(ground: Ground, tenant: Tenant) -> bool:
    """Whether every object that belongs to the namespace of the tenant is of an import that exists."""
    mine = {names.LABEL_NAMESPACE: tenant.namespace}
    alive = {one["metadata"]["uid"] for one in tenant.cluster.find(IMPORT, tenant.namespace)}
    found = [one for kind in (CONFIG_MAP, SECRET, WORKFLOW) for one in ground.admin.find(kind, RELEASE, mine)]
    return all(one["metadata"]["labels"][names.LABEL_UID] in alive for one in found)


def test_a9_a_hostile_secret(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("A9", "a Secret with our own file names, another type, or 1 MiB") as row:
        tenant = ground.tenant()
        tenant.secret("named", **a_login("u"), plan__json="{}", run="x", ca__key="x")
        tenant.ova("named", f"{ground.web.url}/silent/{tenant.namespace}.ovf", credentials={"name": "named"})
        pod = checkpods.name_of(Owner(OVA, tenant.namespace, "named"))
        made = eventually(lambda: ground.admin.get(SECRET, pod, RELEASE), "the check of the source")
        assert set(made["data"]) == {"username", "password", PLAN}
        assert made["data"][PLAN] != (tenant.get(SECRET, "named") or {})["data"][PLAN]
        tenant.cluster.delete(OVA, "named", tenant.namespace)

        typed = tenant.an_object(SECRET, "typed", type="kubernetes.io/service-account-token")
        typed["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "editor"}
        tenant.cluster.create(typed)
        tenant.ova("typed", f"{ground.web.url}/typed.ovf", credentials={"name": "typed"})
        eventually(lambda: tenant.reason("typed") == "SecretInvalid", lambda: str(tenant.source("typed")))

        tenant.secret("large", username="u", password=b"p" * (MIB - 2000))
        tenant.ova("large", f"{ground.web.url}/large.ovf", credentials={"name": "large"})
        eventually(lambda: tenant.reason("large"), lambda: str(tenant.source("large")))
        assert not [one for one in ground.web.paths() if one.startswith(("/typed", "/large"))]
        ground.assert_serves(victim)
        row.denied(
            "the controller", f"only username and password were used; {tenant.source('large').message}"
        )


def test_a12_annotations_that_shout(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("A12", "huge gates, retries, and a progress that the tenant changes again and again") as row:
        tenant = ground.tenant()
        started(ground, tenant)
        tenant.annotate(IMPORT, "mine", approve="x" * 200_000)

        def events() -> list[Object]:
            return [
                one
                for one in tenant.cluster.find(EVENT, tenant.namespace)
                if one["reason"] == "ApprovalUnknown"
            ]

        eventually(events, "the Event")
        assert all(len(one["message"]) <= 1024 for one in events())
        wanted = ("get", "virtualmachineimports.migration.harvesterhci.io/mine", "-n", tenant.namespace)
        command = [str(tenant.kube), "kubectl", *wanted, "--watch", "-o", "name"]
        environment = {"KUBECONFIG": str(tenant.kubeconfig), "HOME": "/nonexistent"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            watching.stdout.readline()
            for number in range(20):
                change = {"metadata": {"annotations": {"vmimport.v2v.kubevirt.io/progress": f"{number}00"}}}
                tenant.cluster.patch(IMPORT, "mine", change, tenant.namespace)

            def progress() -> str:
                notes = (tenant.get(IMPORT, "mine") or {})["metadata"]["annotations"]
                return str(notes.get("vmimport.v2v.kubevirt.io/progress"))

            eventually(lambda: progress() == "0", progress)
            reconciled(tenant, "mine")
            ground.assert_serves(victim)
            watching.terminate()
            seen = len(watching.stdout.readlines())
        # 20 writes of the tenant, and one more for the marker, with at most one answer to each.
        assert seen <= 2 * 21 + 4, f"{seen} changes after 21 of the tenant"
        row.harmless(f"the longest Event has 1024 characters; 21 changes by the tenant, {seen} in all")


def test_a13_credentials_of_somebody_else(
    ground: Ground, attempt: Attempt, victim: Tenant, running: Object
) -> None:
    with attempt("A13", "a source with the credentials of another tenant, a run, a check or Helm") as row:
        tenant, uid = ground.tenant(), running["metadata"]["uid"]
        helm = victim.an_object(
            SECRET, "sh.helm.release.v1.vmferry.v1", data={"username": "eA==", "password": "eA=="}
        )
        helm["metadata"]["namespace"] = RELEASE
        ground.admin.create(helm)
        copies = ground.of(SECRET, uid)
        assert copies, "the run has copies of the victim's credentials"
        targets = [(RELEASE, name) for name in (*copies, helm["metadata"]["name"], "there-is-none")]
        targets += [(victim.namespace, "login"), (victim.namespace, "there-is-none"), ("kube-system", "none")]
        messages = set()
        for number, (namespace, name) in enumerate(targets):
            source = f"thief-{number}"
            own = f"{tenant.namespace}/OvaSource/{source}"
            bait = tenant.an_object(SECRET, f"bait-{number}", data={})
            bait["metadata"]["annotations"] = {CONSENT: own}  # the consent that the tenant can write
            tenant.cluster.create(bait)
            where = {"name": name, "namespace": namespace}
            tenant.ova(source, f"{ground.web.url}/thief/{number}.ovf", credentials=where)
            assert tenant.until_not_ready(source) == "SecretNotPermitted"
            said = tenant.source(source).message
            messages.add(said.replace(name, "NAME").replace(namespace, "SPACE").replace(source, "SOURCE"))
        assert len(messages) == 1, "the answer shows which Secrets exist"
        assert not [path for path in ground.web.paths() if path.startswith("/thief")]
        row.denied(
            "the controller", f"the same for {len(targets)} Secrets, absent ones too: {messages.pop()}"
        )


def test_a14_a_grant_for_a_similar_name(
    ground: Ground, attempt: Attempt, victim: Tenant, running: Object
) -> None:
    with attempt(
        "A14", "use a source that allows a similar name; write the grant in the own namespace"
    ) as row:
        tenant = ground.tenant()
        mine = tenant.namespace
        allowed = f"{mine}x, x{mine}, {mine.upper()}, {mine[:-1]}, {mine}/, '{mine}', {mine[:-1]}*"
        victim.annotate(OVA, "web", **{ALLOWED.rpartition("/")[2]: allowed})
        decoy = tenant.an_object(OVA, "web", spec={"url": f"{ground.web.url}/decoy.ovf"})
        decoy["metadata"]["annotations"] = {ALLOWED: "*"}
        tenant.cluster.create(decoy)
        reference = {"namespace": victim.namespace}
        made = tenant.import_("thief", "web", reference=reference, metadata={"annotations": {ALLOWED: "*"}})
        eventually(lambda: tenant.summary("thief").reason, "an answer")
        reconciled_once = tenant.summary("thief")
        assert reconciled_once.reason == "SourceNotPermitted"
        ground.assert_serves(victim)
        assert ground.workflow(made["metadata"]["uid"]) is None
        row.denied("the controller", reconciled_once.message)


def test_a15_expressions_in_names(ground: Ground, attempt: Attempt) -> None:
    with attempt("A15", "expressions of Argo, Kubernetes and a shell in names") as row:
        tenant = ground.tenant()
        tenant.ova("web", f"{ground.web.url}/a15.ovf")
        texts: dict[str, Any] = {
            "virtualMachineName": EXPRESSIONS,
            "folder": EXPRESSIONS,
            "targetVirtualMachineName": "fine",
        }
        rows = [{"sourceNetwork": EXPRESSIONS, "destinationNetwork": "elsewhere/net"}]
        made = tenant.import_("words", "web", networkMapping=rows, **texts)
        workflow = ground.started(made)
        spec = json.dumps(workflow["spec"])
        assert not [
            part for part in ("sprig", "HOSTNAME", "touch", "`id`", "serviceAccountName") if part in spec
        ]
        assert "{{" not in json.dumps(workflow["metadata"]), "Argo would replace it"
        tenant.import_("rehearsed", "web", networkMapping=rows, dryRun=True, **texts)
        eventually(
            lambda: tenant.status("rehearsed").planned or tenant.summary("rehearsed").reason == "NotPossible",
            lambda: str(tenant.summary("rehearsed")),
        )
        pods = [
            json.dumps(pod["spec"])
            for pod in list(ground.kubelet.started)
            if tenant.namespace in checkpods.annotation(pod, checkpods.OWNER)
        ]
        assert pods
        assert not [pod for pod in pods if "HOSTNAME" in pod or "sprig" in pod]
        row.harmless(f"nothing of it in the Workflow's spec or in {len(pods)} check pods")


def test_a16_a_source_that_moves(ground: Ground, attempt: Attempt) -> None:
    with attempt("A16", "change the address of a source while an import uses it") as row:
        tenant = ground.tenant()
        tenant.secret("login", **a_login("the first one"))
        tenant.ova("web", f"{ground.web.url}/a16.ovf", credentials={"name": "login"})
        made = started(ground, tenant)
        uid = made["metadata"]["uid"]

        def endpoint() -> str:
            (request,) = [
                one
                for one in ground.admin.find(CONFIG_MAP, RELEASE, {names.LABEL_UID: uid})
                if PLAN in one["data"]
            ]
            return str(json.loads(request["data"][PLAN])["source"]["endpoint"])

        before = endpoint()
        elsewhere = f"{ground.web.url}/moved/a16.ovf"
        tenant.cluster.patch(OVA, "web", {"spec": {"url": elsewhere}}, tenant.namespace)
        eventually(lambda: "/moved/a16.ovf" in ground.web.paths(), "the check of the new address")
        reconciled(tenant, "mine")
        assert endpoint() == before
        row.harmless(f"the run keeps {before}")


def test_a18_names_of_others(ground: Ground, attempt: Attempt) -> None:
    with attempt("A18", "learn of others from messages about a contested VM, and from the metrics") as row:
        owner, tenant = ground.tenant(), ground.tenant()
        for one in (owner, tenant):
            one.login(ground.simulator)
            one.vcenter("vc", ground.simulator)
        first = owner.import_("crown-jewels", "vc", SourceKind.VMWARE, virtualMachineName="contested")
        ground.started(first)
        second = tenant.import_("curious", "vc", SourceKind.VMWARE, virtualMachineName="contested")
        eventually(
            lambda: tenant.summary("curious").reason == "VirtualMachineTaken",
            lambda: str(tenant.summary("curious")),
        )
        seen = tenant.everything()
        secrets = ("crown-jewels", owner.namespace, first["metadata"]["uid"])
        assert not [text for text in secrets if text in seen]
        with urllib.request.urlopen(f"{HEALTH}/metrics", timeout=30) as answer:  # noqa: S310 - our own
            metrics = answer.read().decode()
        assert "vmferry_imports" in metrics
        assert not [text for text in (*secrets, tenant.namespace) if text in metrics]
        assert ground.workflow(second["metadata"]["uid"]) is None
        row.harmless(tenant.summary("curious").message)
