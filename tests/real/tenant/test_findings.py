"""At least one attempt of a tenant for each finding F1 to F25 that needs no pod of a step.

F15 and F20 need pods: `tests/real/argo/test_tenant_attempts.py`.
"""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from controller.operator.checkpods import objects as checkpods
from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import CONFIG_MAP, EVENT, IMPORT, MACHINE, SECRET, SOURCES, WORKFLOW, Object
from steps.model.sources import SourceKind
from tests.real.simulator import Simulator
from tests.real.tenant.client import Tenant, eventually, refused
from tests.real.tenant.conftest import Attempt
from tests.real.tenant.ground import ADDRESS, HEALTH, RELEASE, Ground
from tests.real.tenant.test_abuses import OVA, started
from tests.unit.steps.providers.ova.make import Wanted, descriptor
from tests.unit.workflows.status.situations import exited, failed, node, upto
from workflows.api.conditions import find
from workflows.status.leftovers import SOURCE_LEFTOVERS
from workflows.status.packed import pack

VMWARE: Final = SourceKind.VMWARE
VCENTERS: Final = SOURCES[VMWARE]
CONTROLLER_LIMIT: Final = 256 << 20
"""Memory of the controller's container: values.yaml."""
NAMES: Final = (
    "../../kube-system/secrets/db-admin",
    "x?watch=true&timeoutSeconds=86400",
    "x#y",
    "..%2f..%2fkube-system%2fsecrets%2fdb-admin",
    "line\nbreak",
)
HIGHEST_DISKS: Final = 256


@pytest.fixture(scope="module")
def victim(ground: Ground) -> Tenant:
    return ground.tenant()


@pytest.fixture
def vcenter(ground: Ground, tmp_path: Path) -> Iterator[Simulator]:
    """A vCenter for one test, whose calls are only those of that test."""
    inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
    with Simulator.start(inventory, tmp_path, listen=f"{ADDRESS}:0") as made:
        yield made


def at_a_vcenter(ground: Ground, simulator: Simulator, name: str = "mine") -> tuple[Tenant, Object, Object]:
    """A tenant with an import of a VM of a vCenter, and its Workflow."""
    tenant = ground.tenant()
    tenant.login(simulator)
    tenant.vcenter("vc", simulator)
    made = tenant.import_(name, "vc", VMWARE)
    return tenant, made, ground.started(made)


def test_f1_names_as_paths(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("F1", "names that change the path of a request, in every reference") as row:
        tenant = ground.tenant()
        tenant.ova("web", f"{ground.web.url}/f1.ovf")
        for number, name in enumerate(NAMES):
            tenant.ova(f"secret-{number}", f"{ground.web.url}/f1-{number}.ovf", credentials={"name": name})
            tenant.ova(
                f"space-{number}",
                f"{ground.web.url}/f1-{number}.ovf",
                credentials={"name": "x", "namespace": name},
            )
            tenant.import_(f"source-{number}", name)
            tenant.import_(f"class-{number}", "web", storageClass=f"../../../../api/v1/namespaces/{name}")
            rows = [{"sourceNetwork": "n", "destinationNetwork": name}]
            tenant.import_(f"network-{number}", "web", networkMapping=rows)
        said = set()
        for number in range(len(NAMES)):
            for source in (f"secret-{number}", f"space-{number}"):
                assert tenant.until_not_ready(source) == "Invalid"
            for name in (f"source-{number}", f"class-{number}", f"network-{number}"):
                said.add(tenant.until(name, "Invalid"))
        assert all("not a valid" in one or "invalid destination" in one for one in said), said
        assert not [path for path in ground.web.paths() if path.startswith("/f1-")]
        ground.assert_serves(victim)
        row.denied("the controller", f"{5 * len(NAMES)} objects refused before a request; {min(said)}")


def test_f2_a_secret_of_the_cluster(ground: Ground, attempt: Attempt) -> None:
    with attempt("F2", "a source that sends a Secret of kube-system to the tenant's server") as row:
        tenant = ground.tenant()
        data = {"username": "cm9vdA==", "password": "VE9QLVNFQ1JFVA=="}
        metadata = {"name": "db-admin", "namespace": "kube-system"}
        ground.admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        where = {"name": "db-admin", "namespace": "kube-system"}
        tenant.ova("thief", f"{ground.web.url}/f2/x.ovf", credentials=where)
        eventually(lambda: tenant.reason("thief"), lambda: str(tenant.source("thief")))
        assert tenant.reason("thief") == "SecretNotPermitted"
        assert ground.web.logins("/f2") == []
        row.denied("the controller", tenant.source("thief").message)


def test_f3_the_internal_network(ground: Ground, attempt: Attempt) -> None:
    with attempt(
        "F3", "sources at the API server, a metadata service, a Service, and a redirect there"
    ) as row:
        tenant = ground.tenant()
        ground.web.redirects["/f3/jump.ovf"] = f"{HEALTH}/metrics"
        urls = {
            "api": "https://127.0.0.1:6443/version.ovf",
            "metadata": "http://169.254.169.254/latest/meta-data.ovf",
            "service": "http://10.43.0.1/x.ovf",
            "mapped": "http://[::ffff:127.0.0.1]:8080/metrics.ovf",
            "decimal": "http://2130706433:8080/metrics.ovf",
            "jump": f"{ground.web.url}/f3/jump.ovf",
        }
        for name, url in urls.items():
            tenant.ova(name, url, redirectHosts=["*"])
        for name in urls:
            tenant.until_not_ready(name)
        messages = {name: tenant.source(name).message for name in urls}
        assert all("sourceNetwork" in one or "not allowed" in one for one in messages.values()), messages
        assert not [one for one in messages.values() if "vmferry_imports" in one or "gitVersion" in one]
        row.denied("the guard", messages["jump"])


def test_f4_an_answer_without_end(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("F4", "sources whose answer never ends") as row:
        tenant = ground.tenant()
        login = {"username": "u", "password": "p", "project_name": "p", "domain_name": "d"}
        tenant.secret("login", **login)
        spec = {"endpoint": f"{ground.web.url}/endless/v3", "credentials": {"name": "login"}}
        tenant.cluster.create(tenant.an_object(SOURCES[SourceKind.OPENSTACK], "cloud", spec=spec))
        spec = {"endpoint": f"{ground.web.url}/endless/sdk", "dc": "x", "credentials": {"name": "login"}}
        tenant.cluster.create(tenant.an_object(VCENTERS, "vc", spec=spec))
        for name, kind in (("cloud", SourceKind.OPENSTACK), ("vc", VMWARE)):
            tenant.until_not_ready(name, kind)
        ground.assert_serves(victim)
        ground.assert_alive()
        reasons = f"{tenant.reason('cloud', SourceKind.OPENSTACK)}, {tenant.reason('vc', VMWARE)}"
        row.denied("the check pod", f"{reasons}; the controller runs, at most {ground.memory() >> 20} MiB")


def test_f5_the_run_of_another_import(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F5", "take another import's run over: its status, its request, its Workflow") as row:
        _, made, workflow = at_a_vcenter(ground, vcenter)
        tenant, uid, name = ground.tenant(), made["metadata"]["uid"], workflow["metadata"]["name"]
        before, said = ground.objects(uid), ""
        tenant.import_("thief", "absent")
        status = {"workflow": {"name": f"{name}-r7", "namespace": RELEASE, "generation": 1}}
        said = refused(lambda: tenant.cluster.patch_status(IMPORT, "thief", status, tenant.namespace))
        request = names.request(workflow["metadata"]["labels"][names.LABEL_RUN])
        refused(lambda: tenant.cluster.patch(CONFIG_MAP, request, {"data": {"plan.json": "{}"}}, RELEASE))
        refused(lambda: tenant.cluster.get(SECRET, names.credentials(name), RELEASE))
        refused(lambda: tenant.cluster.delete(WORKFLOW, name, RELEASE))
        assert ground.objects(uid) == before
        row.denied("RBAC", said)


def test_f6_slow_sources(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("F6", "many sources that never answer, in front of an honest one") as row:
        tenant = ground.tenant()
        count = 12
        for number in range(count):
            tenant.ova(f"slow-{number}", f"{ground.web.url}/silent/{tenant.namespace}-{number}.ovf")
        eventually(
            lambda: [path for path in ground.web.paths() if tenant.namespace in path], "the first slow check"
        )
        victim.ova("quick", f"{ground.web.url}/quick.ovf")
        eventually(
            lambda: victim.source("quick").status == "clusterReady", lambda: str(victim.source("quick"))
        )
        open_ones = [number for number in range(count) if not tenant.source(f"slow-{number}").status]
        assert len(open_ones) >= count - 4, "the honest source waited for the slow ones"
        for number in range(count):
            tenant.cluster.delete(OVA, f"slow-{number}", tenant.namespace)
        row.harmless(
            f"the honest source is ready while {len(open_ones)} of {count} slow ones have no verdict"
        )


def test_f7_a_source_of_another_namespace(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F7", "power off a VM of another tenant's source with forcePowerOff") as row:
        owner, _, _ = at_a_vcenter(ground, vcenter)
        tenant, said = ground.tenant(), []
        for source in ("vc", "there-is-none"):
            made = tenant.import_(
                source, source, VMWARE, reference={"namespace": owner.namespace}, forcePowerOff=True
            )
            tenant.until(source, "SourceNotPermitted")
            assert ground.objects(made["metadata"]["uid"]) == {}
            said.append(tenant.summary(source).message.replace(source, "NAME"))
        assert said[0] == said[1], "the answer shows which sources exist"
        row.denied("the controller", said[0])


def test_f8_leftovers_of_a_source_that_is_away(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F8", "delete the import and its source's Secret while the source is away") as row:
        tenant, made, workflow = at_a_vcenter(ground, vcenter)
        uid, run = made["metadata"]["uid"], workflow["metadata"]["labels"][names.LABEL_RUN]
        vcenter.go_away("refuse")
        ground.play(
            workflow, *upto("export"), failed("export", 30, disk="disk-0"), exited("null"), phase="Failed"
        )
        eventually(lambda: find(tenant.status("mine").import_conditions, SOURCE_LEFTOVERS), "the condition")
        tenant.cluster.delete(IMPORT, "mine", tenant.namespace)
        eventually(lambda: tenant.get(IMPORT, "mine") is None, "the deletion")
        kept = ground.admin.get(CONFIG_MAP, names.request(run), RELEASE)
        assert kept is not None, "the controller forgot what the source holds"
        assert kept["metadata"]["labels"][names.LABEL_LEFTOVERS] == "true"
        tenant.cluster.delete(SECRET, "vcenter", tenant.namespace)
        vcenter.come_back()
        cleanup = eventually(lambda: cleanup_of(ground, run), "the repeated cleanup", 420)
        ground.play(cleanup, exited("[]"), phase="Failed")
        eventually(lambda: not ground.objects(uid), lambda: f"left: {ground.objects(uid)}")
        row.harmless(
            f"{cleanup['metadata']['name']} asked the source again, with the copy of the credentials"
        )


def cleanup_of(ground: Ground, run: str) -> Object | None:
    """The Workflow that only releases the source."""
    found = ground.admin.find(WORKFLOW, RELEASE, {names.LABEL_RUN: run})
    return next((one for one in found if "-back" in one["metadata"]["name"]), None)


def test_f9_a_deletion_while_the_controller_is_away(
    ground: Ground, attempt: Attempt, vcenter: Simulator
) -> None:
    with attempt(
        "F9", "delete a running import while the controller is away for longer than its timeout"
    ) as row:
        tenant, made, workflow = at_a_vcenter(ground, vcenter)
        ground.play(workflow, *upto("export"), node("export", "Running", "disk-0"))
        with ground.without_controller():
            tenant.cluster.delete(IMPORT, "mine", tenant.namespace)
            since = datetime.fromisoformat(
                (tenant.get(IMPORT, "mine") or {})["metadata"]["deletionTimestamp"]
            )
            eventually(
                lambda: datetime.now(UTC) - since > timedelta(seconds=21), "the time-out of a deletion"
            )
        found = eventually(
            lambda: stopped(ground, made["metadata"]["uid"]),
            "the Workflow was not stopped before it was dropped",
        )
        ground.play(found, *upto("export"), failed("export", 143, disk="disk-0"), exited(), phase="Failed")
        eventually(lambda: tenant.get(IMPORT, "mine") is None, "the deletion")
        row.harmless("the controller stopped the Workflow first, and its exit handler ran")


def stopped(ground: Ground, uid: str) -> Object | None:
    found = ground.workflow(uid)
    return found if found and found["spec"].get("shutdown") == "Stop" else None


def test_f10_a_wrong_password(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F10", "a wrong password in three sources, again and again") as row:
        tenant = ground.tenant()
        tenant.login(vcenter, password="wrong")  # noqa: S106
        for number in range(3):
            tenant.vcenter(f"vc-{number}", vcenter)

        def refusals() -> list[str]:
            return [tenant.source(f"vc-{number}", VMWARE).message for number in range(3)]

        eventually(
            lambda: all("the account is not locked" in one for one in refusals()), lambda: str(refusals())
        )
        logins = len(vcenter.calls("Login"))
        assert logins <= 2
        row.denied("the controller", f"{logins} log-ins; {refusals()[0]}")


def test_f11_sessions_of_others(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F11", "a second source at another tenant's vCenter, to end its sessions") as row:
        owner, tenant = ground.tenant(), ground.tenant()
        vcenter.hold("RetrievePropertiesEx")
        for one in (owner, tenant):
            one.login(vcenter)
        owner.vcenter("vc", vcenter)
        assert vcenter.held(120) != [], "the check of the owner is at work"
        tenant.vcenter("vc", vcenter)
        ground.tenant()  # takes longer than a check would need to start
        assert len(vcenter.sessions()) == 1, "both checks are logged in at once"
        vcenter.release()
        for one in (owner, tenant):
            one.until_ready("vc", VMWARE)
        assert len(vcenter.calls("Login")) == 2, "no session was ended, so nobody had to log in again"
        row.harmless("checks with one account run one after another; both sources are ready")


def test_f12_a_source_that_goes_away(
    ground: Ground, attempt: Attempt, vcenter: Simulator, victim: Tenant
) -> None:
    with attempt("F12", "take the own source away while imports run") as row:
        tenant, made, workflow = at_a_vcenter(ground, vcenter)
        ground.play(workflow, *upto("export"), node("export", "Running", "disk-0"))
        vcenter.go_away("refuse")
        eventually(
            lambda: tenant.summary("mine").reason == "SourceNotReady", lambda: str(tenant.summary("mine"))
        )
        assert tenant.summary("mine").status == "Unknown"
        assert stopped(ground, made["metadata"]["uid"]) is None
        ground.assert_serves(victim)
        said = tenant.summary("mine").message
        vcenter.come_back()
        eventually(
            lambda: tenant.summary("mine").reason != "SourceNotReady", lambda: str(tenant.summary("mine"))
        )
        row.harmless(f"the import waits and continues: {said}")


def test_f13_what_a_failed_import_keeps(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F13", "fail, then delete the Secret: does a copy of the credentials stay?") as row:
        tenant, _, workflow = at_a_vcenter(ground, vcenter)
        ground.play(workflow, *upto("build"), failed("build", 19), exited(), phase="Failed")
        eventually(
            lambda: tenant.status("mine").import_status == "VMMigrationFailed",
            lambda: str(tenant.summary("mine")),
        )
        copy = names.credentials(workflow["metadata"]["labels"][names.LABEL_RUN])
        assert ground.admin.get(SECRET, copy, RELEASE) is not None
        tenant.cluster.delete(SECRET, "vcenter", tenant.namespace)
        tenant.annotate(VCENTERS, "vc", retry="now")
        eventually(lambda: ground.admin.get(SECRET, copy, RELEASE) is None, "the end of the copy", 420)
        row.harmless(f"{copy} went with the Secret")


def test_f14_scratch_without_end(ground: Ground, attempt: Attempt) -> None:
    what = f"archives of blank disks: {HIGHEST_DISKS} of 64 TiB, and one of 65 TiB"
    with attempt("F14", what) as row:
        tenant = ground.tenant()
        for name, capacities in (("many", [64 << 40] * HIGHEST_DISKS), ("huge", [65 << 40])):
            images = {f"d{number}.vmdk": b"x" for number in range(len(capacities))}
            text = descriptor(Wanted(), images, capacities)
            # A disk without a file is blank: it costs the tenant nothing.
            text = re.sub(rb' ovf:fileRef="file\d+"', b"", re.sub(rb"<File [^>]*/>", b"", text))
            ground.web.files[f"/f14/{name}.ovf"] = text
            tenant.ova(name, f"{ground.web.url}/f14/{name}.ovf")
            tenant.import_(name, name, dryRun=True)

        def planned(name: str) -> str:
            found = find(tenant.status(name).import_conditions, "Planned")
            return found.message if found and found.status == "False" else ""

        eventually(lambda: planned("many") and planned("huge"), lambda: tenant.everything()[:2000])
        assert "limits.maxDisks" in planned("many"), planned("many")
        assert "65 TiB; a disk has at most 64 TiB" in planned("huge"), planned("huge")
        row.denied("preflight", f"{planned('many')} / {planned('huge')}")


def test_f16_f17_results_of_steps(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F16+F17", "forge the result of another run's step; rewrite the orders of all runs") as row:
        _, _, workflow = at_a_vcenter(ground, vcenter)
        tenant, name = ground.tenant(), workflow["metadata"]["name"]
        kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTaskResult"}
        metadata = {
            "name": f"{name}-1",
            "namespace": RELEASE,
            "labels": {"workflows.argoproj.io/workflow": name},
        }
        said = tenant.refusal("create", "-f", "-", given=json.dumps({**kind, "metadata": metadata}))
        for what in ("vmferry-limits", "vmferry-controller"):
            tenant.refusal("patch", "configmap", what, "-n", RELEASE, "--patch", '{"data": {"x": "y"}}')
        # The same names in the own namespace are no orders of anybody.
        here = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "vmferry-limits", "namespace": tenant.namespace},
        }
        tenant.cluster.create({**here, "data": {"default.machines": "0"}})
        row.denied("RBAC", said)


def test_f18_what_a_workflow_runs(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F18", "change what the pods of another tenant's Workflow run") as row:
        _, _, workflow = at_a_vcenter(ground, vcenter)
        tenant, name = ground.tenant(), workflow["metadata"]["name"]
        changes: tuple[Object, ...] = (
            {"status": {"storedWorkflowTemplateSpec": {"templates": []}}},
            {"spec": {"podSpecPatch": "{}"}},
            {"spec": {"shutdown": "Terminate"}},
        )
        said = ""
        for change in changes:
            said = refused(partial(tenant.cluster.patch, WORKFLOW, name, change, RELEASE))
        template = {"metadata": {"labels": {"x": "y"}}}
        tenant.refusal(
            "patch",
            "workflowtemplate",
            "vmferry-vmware",
            "-n",
            RELEASE,
            "--type=merge",
            "--patch",
            json.dumps(template),
        )
        row.denied("RBAC", said)


def test_f19_an_approval_in_packed_nodes(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt(
        "F19", "approve a gate of a Workflow whose nodes Argo has packed; approve one of others"
    ) as row:
        tenant = ground.tenant()
        tenant.login(vcenter)
        tenant.vcenter("vc", vcenter)
        made = tenant.import_("gated", "vc", VMWARE, approvals=["poweroff"])
        workflow = ground.started(made)
        name = workflow["metadata"]["name"]
        gate = node("approve-poweroff", "Running", kind="Suspend", templateName="approve-poweroff")
        nodes = {"0": {**gate, "name": f"{name}.approve-poweroff"}}
        ground.admin.patch(
            WORKFLOW, name, {"status": {"phase": "Running", "compressedNodes": pack(nodes)}}, RELEASE
        )
        tenant.annotate(IMPORT, "gated", approve="poweroff")

        def events() -> list[str]:
            found = tenant.cluster.find(EVENT, tenant.namespace)
            return [one["message"] for one in found if one["reason"] == "Approved"]

        eventually(events, lambda: str(tenant.summary("gated")))
        other = ground.tenant()
        change = {"metadata": {"annotations": {"migration.harvesterhci.io/approve": "poweroff"}}}
        said = refused(lambda: other.cluster.patch(IMPORT, "gated", change, tenant.namespace))
        row.denied("RBAC", f"{said}; the own gate: {events()[0]}")


def test_f21_work_without_bound(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("F21", "5000 rows of a mapping, and texts of 100 KiB") as row:
        tenant = ground.tenant()
        tenant.ova("web", f"{ground.web.url}/f21.ovf")
        rows = [{"sourceNetwork": f"n{n}", "destinationNetwork": f"other/n{n}"} for n in range(5000)]
        with pytest.raises(StepError, match="must have at most 1024 items"):
            tenant.import_("too-many", "web", networkMapping=rows)
        tenant.import_("rows", "web", networkMapping=rows[:1024])
        tenant.import_("text", "web", folder="x" * 100_000, storageClass="y" * 100_000)
        for name in ("rows", "text"):
            tenant.until(name, "Invalid")
            assert len(json.dumps((tenant.get(IMPORT, name) or {})["status"])) < 20_000
        ground.assert_serves(victim)
        row.denied("the controller", tenant.summary("rows").message)


def test_f22_one_vm_twice(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F22", "import a VM that another tenant imports, also under another spelling") as row:
        owner, _, _ = at_a_vcenter(ground, vcenter)
        tenant = ground.tenant()
        tenant.login(vcenter)
        tenant.vcenter("vc", vcenter, endpoint=vcenter.url.replace("https://", "HTTPS://"))
        vm = f"{owner.namespace}-mine"
        made = tenant.import_("twin", "vc", VMWARE, virtualMachineName=vm, forcePowerOff=True)
        eventually(
            lambda: tenant.summary("twin").reason == "VirtualMachineTaken",
            lambda: str(tenant.summary("twin")),
        )
        assert ground.workflow(made["metadata"]["uid"]) is None
        row.denied("the controller", tenant.summary("twin").message)


def test_f23_finalizers_that_stay(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt("F23", "leave finalizers behind: finished imports") as row:
        tenant, _, workflow = at_a_vcenter(ground, vcenter)
        outputs = {"exitCode": "0"}
        ground.play(workflow, *upto("start"), node("start", outputs=outputs), exited(), phase="Succeeded")
        eventually(
            lambda: tenant.status("mine").import_status == "virtualMachineRunning",
            lambda: str(tenant.summary("mine")),
        )
        eventually(
            lambda: not (tenant.get(IMPORT, "mine") or {})["metadata"].get("finalizers"),
            "the end of the finalizer",
        )
        assert tenant.get(MACHINE, "mine") is None
        row.harmless("a finished import has no finalizer of vmferry")


def test_f24_the_smaller_ones(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt(
        "F24", "names that control a terminal; silent connections; an approval under another name"
    ) as row:
        tenant = ground.tenant()
        tenant.ova("web", f"{ground.web.url}/f24.ovf")
        hostile = "vm\x1b[2J\r\u2028\u009b31m"
        tenant.import_("terminal", "web", virtualMachineName=hostile)
        started(ground, tenant, "words", virtualMachineName=hostile + "2")
        with ExitStack() as stack:
            for _ in range(90):
                stack.enter_context(socket.create_connection(("127.0.0.1", 8080), 10))
            ground.assert_alive()
            with urllib.request.urlopen(f"{HEALTH}/readyz", timeout=30) as answer:  # noqa: S310 - our own
                assert answer.status == 200
        log = ground.log().decode()
        assert not [char for char in ("\x1b", "\r", "\u2028", "\u009b") if char in log]
        note = "migration.harvesterhci.io/approve=poweroff"
        done = tenant.kubectl(
            "annotate",
            "virtualmachineimports.migration.harvesterhci.io",
            "words",
            "-n",
            tenant.namespace,
            "--field-manager=the-owner",
            note,
        )
        assert done.returncode == 0, done.stderr
        ground.assert_serves(victim)
        row.harmless(
            "no control character in the log; 90 silent connections delay nobody; a gate that is not there"
        )


def test_f25_the_rest(ground: Ground, attempt: Attempt) -> None:
    with attempt("F25", "a file of the pod as a source") as row:
        tenant = ground.tenant()
        for number, url in enumerate(("file:///etc/passwd", "FILE:///run/source/password", "/etc/passwd")):
            tenant.ova(f"file-{number}", url)
            assert tenant.until_not_ready(f"file-{number}") == "Invalid"
        pods = [
            pod
            for pod in ground.kubelet.started
            if tenant.namespace in checkpods.annotation(pod, checkpods.OWNER)
        ]
        assert pods == []
        row.denied("the controller", tenant.source("file-0").message)
