"""Attempts of a tenant that need pods and the real Argo (tests/real/tenant/README.md has the list)."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.kinds import (
    CLAIM,
    DATA_VOLUME,
    IMAGE,
    IMPORT,
    MACHINE,
    POD,
    SERVICE,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
    Object,
)
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.place import FAILED, Place, bytes_of, claims_of, place
from tests.real.argo.website import PASSWORD, USER, site
from tests.real.argo.world import RUNNING, Imported, World, a_disk, a_vm
from tests.real.tenant import table
from tests.real.tenant.client import Tenant, admit
from tests.real.tenant.table import Row
from tests.unit.steps.providers.ova.make import build_ova
from workflows.argo_names import LIMITS

pytestmark = pytest.mark.argo
Make = Callable[..., World]
Attempt = Callable[[str, str], AbstractContextManager[Row]]

ASK: Final = """\
import json, sys, time, urllib.error, urllib.request
seen, begun, paths = [], time.time(), ["/", "/disk-0.raw", "/disk-0.json", "/%2e%2e/request/plan.json"]
while time.time() < begun + float(sys.argv[2]):
    for path in paths:
        try:
            with urllib.request.urlopen(sys.argv[1] + path, timeout=2) as answer:
                seen.append([time.time(), f"{answer.status} {path}"])
        except urllib.error.HTTPError as error:
            seen.append([time.time(), str(error.code)])
        except OSError:
            seen.append([time.time(), "no connection"])
    time.sleep(0.2)
print(json.dumps(seen))
"""
"""Asks a server for files for so many seconds, and prints when it answered what."""
ASK_SECONDS: Final = 150


@pytest.fixture
def attempt() -> Attempt:
    return partial(table.attempt, ground="lab")


@pytest.fixture
def tenant(ground: Ground, tmp_path: Path) -> Iterator[Tenant]:
    """A tenant of the lab with a namespace of its own."""
    with place(ground, f"it-tenant-{secrets.token_hex(2)}") as made:
        yield editor(ground, tmp_path, made.namespace)


def editor(ground: Ground, folder: Path, namespace: str) -> Tenant:
    def kubectl(*arguments: str, given: str = "") -> str:
        return ground.kubectl(*arguments, stdin=given or None)

    return admit(kubectl, ground.lab.kubeconfig, folder, namespace)


def a_pod(ground: Ground, tenant: Tenant, name: str, labels: Mapping[str, str], *argv: str) -> Object:
    """A pod of the tenant that runs a Python program, in an image that is in the lab."""
    template = ground.cluster.get(WORKFLOW_TEMPLATE, "vmferry-vmware", RELEASE)
    assert template is not None
    (stage,) = [one for one in template["spec"]["templates"] if one["name"] == "build"]
    same = {key: stage["container"][key] for key in ("image", "imagePullPolicy")}
    containers = [{"name": "main", "command": ["python", "-c", *argv], **same}]
    made = tenant.an_object(POD, name, spec={"restartPolicy": "Never", "containers": containers})
    made["metadata"]["labels"] = dict(labels)
    return tenant.cluster.create(made)


def answers(ground: Ground, tenant: Tenant, pod: str) -> list[tuple[float, str]]:
    """What a pod has printed at its end: times, and what was answered."""

    def is_over() -> bool:
        found = tenant.get(POD, pod) or {}
        return found.get("status", {}).get("phase") in ("Succeeded", "Failed")

    eventually(is_over, f"the end of {pod}", 400)
    text = ground.kubectl("logs", "--namespace", tenant.namespace, pod)
    return [(float(time), str(what)) for time, what in json.loads(text.strip().splitlines()[-1])]


def test_a19_a20_a_disk_that_is_served_for_others(
    ground: Ground, make: Make, tenant: Tenant, attempt: Attempt, tmp_path: Path
) -> None:
    """The pods of the tenant ask from the moment when the Service exists until it has ended."""
    with (
        attempt("A19+F20", "fetch the served disk of another tenant, as a pod called importer") as fetched,
        attempt("A20", "reach it as a pod that has the label of a stage, or none") as reached,
        attempt("A19", "fetch it by an image whose URL is the Service of the run") as by_image,
    ):
        made = make([a_vm(tmp_path, "served", mib=2048)])
        imported = made.begin("served")
        service = eventually(lambda: the_service(ground, imported), imported.describe)
        url = f"http://{service['spec']['clusterIP']}:{names.PORT}"
        stage = {names.LABEL_STAGE: "image", names.LABEL_RUN: imported.run}
        pods = {"importer": {"cdi.kubevirt.io": "importer"}, "stage": stage, "plain": {}}
        for pod, labels in pods.items():
            a_pod(ground, tenant, pod, labels, ASK, url, str(ASK_SECONDS))
        spec = {"displayName": "stolen", "sourceType": "download", "url": f"{url}/disk-0.raw"}
        tenant.cluster.create(tenant.an_object(IMAGE, "stolen", spec=spec))

        seen = {pod: answers(ground, tenant, pod) for pod in pods}
        served = [time for time, what in seen["importer"] if what == "404"]
        kinds = {what for _, what in seen["importer"]}
        assert served, f"the pod never reached the server: {kinds}"
        assert kinds <= {"400", "404", "405", "no connection"}, kinds
        fetched.denied("serve", f"a pod with the label of CDI reaches it: {len(served)} times 404")
        others = {
            pod: [what for time, what in seen[pod] if served[0] <= time <= served[-1]]
            for pod in ("stage", "plain")
        }
        assert all(others.values()), f"no attempt while the disk was served: {others}"
        assert {what for found in others.values() for what in found} == {"no connection"}, others
        counts = ", ".join(f"{pod}: {len(found)} attempts" for pod, found in others.items())
        reached.denied("the NetworkPolicy", f"no connection while the disk was served ({counts})")

        def failure() -> str:
            found = tenant.get(IMAGE, "stolen") or {}
            rows = (found.get("status") or {}).get("conditions") or []
            bad = [
                row for row in rows if row["type"] in ("Imported", "Initialized") and row["status"] == "False"
            ]
            return json.dumps(bad) if bad else ""

        eventually(failure, lambda: str(tenant.get(IMAGE, "stolen")), 240)
        by_image.denied("serve", failure())
        imported.until(RUNNING)
        assert made.all(IMAGE)


def the_service(ground: Ground, imported: Imported) -> Object | None:
    if imported.workflow is None:
        return None
    found = ground.cluster.find(SERVICE, RELEASE, {names.LABEL_RUN: imported.run})
    return found[0] if found else None


def test_a21_objects_with_the_next_names(
    ground: Ground, make: Make, attempt: Attempt, tmp_path: Path
) -> None:
    with attempt(
        "A21", "plant a claim and a DataVolume with the next names and the labels of the import"
    ) as row:
        made = make([a_vm(tmp_path, "trap", disks=2)])
        tenant = editor(ground, tmp_path, made.namespace)
        imported = made.begin("trap", suspend=True)
        raw = eventually(lambda: imported.raw, imported.describe)
        labels = {names.LABEL_UID: raw["metadata"]["uid"], names.LABEL_NAME: "trap"}
        labels[names.LABEL_NAMESPACE] = made.namespace
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = tenant.an_object(CLAIM, "trap-disk-0", spec={**spec, "storageClassName": "wffc"})
        volume = tenant.an_object(DATA_VOLUME, "trap-disk-1", spec={"source": {"blank": {}}, "pvc": spec})
        for planted in (claim, volume):
            planted["metadata"]["labels"] = labels
            tenant.cluster.create(planted)
        imported.change(suspend=False)
        imported.until(RUNNING)
        machine = imported.machine()
        assert machine is not None
        used = claims_of(machine)
        assert not {"trap-disk-0", "trap-disk-1"} & set(used), used
        kept = made.ground.cluster.get(CLAIM, "trap-disk-0", made.namespace)
        assert kept is not None
        assert kept["metadata"]["labels"] == labels
        row.denied("admit", f"the VM has {', '.join(used)}; what was planted is unchanged")


def test_a22_limits_held_by_a_workflow_of_ones_own(
    ground: Ground, make: Make, tenant: Tenant, attempt: Attempt, tmp_path: Path
) -> None:
    with attempt("A22", "hold the places of another tenant by a Workflow of one's own") as row:
        made = make([a_vm(tmp_path, "limited")])
        limits = ground.kubectl("get", "configmap", LIMITS, "-n", RELEASE, "-o", "json")
        for number, key in enumerate(json.loads(limits)["data"]):
            semaphore = {"configMapKeyRef": {"name": LIMITS, "key": key}, "namespace": RELEASE}
            spec = {
                "entrypoint": "hold",
                "templates": [{"name": "hold", "suspend": {}}],
                "synchronization": {"semaphores": [semaphore]},
            }
            for copy in range(4):
                tenant.cluster.create(tenant.an_object(WORKFLOW, f"hold-{number}-{copy}", spec=spec))
        imported = made.begin("limited")
        imported.until(RUNNING)
        ran = [
            one["metadata"]["name"]
            for one in tenant.cluster.find(WORKFLOW, tenant.namespace)
            if (one.get("status") or {}).get("phase") == "Running"
        ]
        assert ran == [], "Argo runs the Workflows of the tenant"
        row.harmless("the import was done; Argo has run no Workflow of the tenant")


def test_a23_deleted_while_the_steps_work(
    ground: Ground, make: Make, attempt: Attempt, tmp_path: Path
) -> None:
    with attempt("A23", "delete the VM and its claims before they are started") as row:
        made = make([a_vm(tmp_path, "pulled")])
        tenant = editor(ground, tmp_path, made.namespace)
        imported = made.begin("pulled", approvals=["start"])
        eventually(lambda: imported.status.step == "approve-start", imported.describe, 400)
        machine = eventually(imported.machine, imported.describe)
        # Harvester refuses to delete a claim that a VM uses.
        tenant.cluster.delete(MACHINE, machine["metadata"]["name"], made.namespace)
        eventually(lambda: imported.machine() is None, "the VM to be deleted", 60)
        for name in claims_of(machine):
            tenant.cluster.delete(CLAIM, name, made.namespace)
        imported.annotate(approve="start")
        ended = imported.until(FAILED, seconds=600)
        # `make` asserts at its end that nothing of the run is left.
        imported.delete(seconds=300)
        assert tenant.get(IMPORT, "pulled") is None
        row.harmless(f"the import fails and leaves nothing: {ended.message}")


def test_f15_a_disk_that_looks_like_another_format(ground: Ground, attempt: Attempt, tmp_path: Path) -> None:
    with attempt(
        "F15", "a raw disk whose first bytes are a qcow2 header with /etc/passwd as its base"
    ) as row:
        (tmp_path / "files").mkdir()
        disk = Path(a_disk(tmp_path, 77)["file"])
        header = tmp_path / "header.qcow2"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw"]
        subprocess.run([*create, header, "1M"], check=True)
        with disk.open("r+b") as file:
            file.write(header.read_bytes()[:4096])
        build_ova(tmp_path / "files" / "trojan.ova", [disk], "virtualbox", tables_last=False, name="trojan")
        with site(tmp_path) as web, place(ground, "it-trojan") as made:
            tenant = editor(ground, tmp_path, made.namespace)
            tenant.secret("login", username=USER, password=PASSWORD, ca__crt=web.certificate)
            tenant.ova("trojan", f"{web.url}/trojan.ova", credentials={"name": "login"})
            tenant.import_("trojan", "trojan", virtualMachineName="trojan")
            imported = made.imported("trojan")
            imported.until(RUNNING, seconds=600)
            found = landed(made, "trojan", disk.stat().st_size)
            assert found == hashlib.sha256(disk.read_bytes()).hexdigest()
            row.harmless("the disk arrived as the bytes that it has; nobody opened the file that it names")


def landed(made: Place, name: str, size: int | None = None) -> str:
    """SHA-256 of the one disk of an imported VM; `size` is the disk's, if its claim may be larger."""
    machine: Any = Imported(made.ground, made.namespace, name).machine()
    (claim,) = claims_of(machine)
    return bytes_of(made.ground, made.namespace, claim, size)
