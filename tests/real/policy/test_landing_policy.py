"""The policy for disks that land on their volumes: what `hand-over` may do to a volume, and `admit` to a pod.

The API server's own code evaluates the policy as Helm renders it, with objects that the steps make.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.kinds import POD, Object
from steps.model.mapping import shape
from steps.model.plan import DiskWay, ImportRef, TargetKind
from steps.targets.landing.placement import Placement
from tests.real.chart.test_chart import RELEASE, helm
from tests.real.policy.judge import POD_NAME, Client, Json, Request
from tests.real.policy.test_step_policy import (
    KIND,
    OTHERS,
    TENANT,
    VICTIM,
    account,
    judged,
    pod_name,
    pytestmark,
    rendered_policies,
    thing,
)
from tests.unit.builders import a_machine, a_plan
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.workflows.author.rendered import CHART
from workflows.stages import Identity

__all__ = ["pytestmark"]


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "policies.yaml"
    found = rendered_policies("--api-versions", KIND, "--set", "kubevirt.disks=land")
    path.write_text("\n---\n".join(json.dumps(one) for one in found.values()))
    return path


def client(run: str, stage: str, identity: Identity = Identity.TARGET) -> Client:
    return Client(account(identity), {POD_NAME: [pod_name(run, stage)]})


def hand_over(run: str) -> Client:
    return client(run, "hand-over")


def admit(run: str) -> Client:
    return client(run, "admit")


# --- volumes


def a_volume(claim: str, namespace: str = RELEASE, uid: str = "uid-1", **spec: Any) -> Json:
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "name": claim,
        "namespace": namespace,
        "uid": uid,
    }
    return {
        "metadata": {
            "name": "pvc-1",
            "annotations": {"pv.kubernetes.io/provisioned-by": "rbd.csi.ceph.com"},
            "finalizers": ["kubernetes.io/pv-protection"],
        },
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "ceph",
            "csi": {"driver": "rbd.csi.ceph.com", "volumeHandle": "1"},
            "claimRef": reference,
            **spec,
        },
    }


def moved(run: str = VICTIM, **spec: Any) -> tuple[Json, Json]:
    """The volume before and after its hand-over."""
    before = a_volume(names.claim(run, "disk-0"))
    return before, a_volume("web-disk-0", TENANT, "uid-2", **spec)


def update(before: Json, after: Json) -> Request:
    return Request("", "persistentvolumes", after, before)


@pytest.mark.parametrize("run", [VICTIM, *OTHERS])
def test_hand_over_gives_the_volume_of_its_own_run_away(policies: Path, run: str) -> None:
    assert judged(policies, hand_over(run), update(*moved(run))) == [[]]


@pytest.mark.parametrize("other", OTHERS)
def test_the_volume_of_another_run_stays(policies: Path, other: str) -> None:
    assert judged(policies, hand_over(other), update(*moved(VICTIM))) != [[]]
    assert judged(policies, hand_over(VICTIM), update(*moved(other))) != [[]]


@pytest.mark.parametrize(
    ("claim", "namespace"),
    [
        ("database", TENANT),
        (names.claim(VICTIM, "disk-0"), TENANT),
        ("database", RELEASE),
        (names.notes(VICTIM, "disk-0"), RELEASE),
        (f"{names.claim(VICTIM, 'disk-0')}-x", RELEASE),
    ],
)
def test_a_volume_that_no_disk_of_the_run_landed_on_stays(policies: Path, claim: str, namespace: str) -> None:
    _, after = moved()
    assert judged(policies, hand_over(VICTIM), update(a_volume(claim, namespace), after)) != [[]]


def test_a_volume_of_nobody_stays(policies: Path) -> None:
    before, after = moved()
    del before["spec"]["claimRef"]
    assert judged(policies, hand_over(VICTIM), update(before, after)) != [[]]


@pytest.mark.parametrize(
    "change",
    [
        lambda volume: volume["spec"].update(persistentVolumeReclaimPolicy="Retain"),
        lambda volume: volume["spec"].update(csi={"driver": "rbd.csi.ceph.com", "volumeHandle": "2"}),
        lambda volume: volume["spec"].update(mountOptions=["exec"]),
        lambda volume: volume["spec"].pop("storageClassName"),
        lambda volume: volume["spec"].pop("claimRef"),
        lambda volume: volume["spec"]["claimRef"].pop("uid"),
        lambda volume: volume["spec"]["claimRef"].update(namespace=RELEASE),
        lambda volume: volume["spec"]["claimRef"].update(kind="Secret"),
        lambda volume: volume["metadata"].update(labels={names.LABEL_RUN: VICTIM}),
        lambda volume: volume["metadata"].update(annotations={}),
        lambda volume: volume["metadata"].update(finalizers=[]),
        lambda volume: volume["metadata"].update(ownerReferences=[{"uid": "1"}]),
    ],
)
def test_nothing_but_its_claim_changes(policies: Path, change: Callable[[Json], object]) -> None:
    before, after = moved()
    change(after)
    assert judged(policies, hand_over(VICTIM), update(before, after)) != [[]]


def test_no_other_step_changes_a_volume(policies: Path) -> None:
    for stage in ("admit", "build", "start", "halt", "convert", "export"):
        for identity in Identity:
            assert judged(policies, client(VICTIM, stage, identity), update(*moved())) != [[]], stage


def test_volumes_are_neither_created_nor_deleted(policies: Path) -> None:
    before, after = moved()
    for request in (
        Request("", "persistentvolumes", after),
        Request("", "persistentvolumes", old=before),
    ):
        assert judged(policies, hand_over(VICTIM), request) != [[]]


# --- claims


def test_the_claims_of_a_landing_belong_to_its_run(policies: Path) -> None:
    for name in (names.claim(VICTIM, "disk-0"), names.notes(VICTIM, "disk-0")):
        claim = thing(name, VICTIM)
        for request in (
            Request("", "persistentvolumeclaims", claim),
            Request("", "persistentvolumeclaims", old=claim),
        ):
            assert judged(policies, admit(VICTIM), request) == [[]]
        own_label = thing(name, OTHERS[0])
        assert judged(policies, admit(OTHERS[0]), Request("", "persistentvolumeclaims", own_label)) != [[]]


# --- the pod that places the disks


def placement_pod(run: str = VICTIM) -> Object:
    """The pod as `admit` creates it, with what the API server adds."""
    plan = a_plan(kind=TargetKind.KUBEVIRT, way=DiskWay.LAND).model_copy(
        update={"run": run, "import_": ImportRef(name="web", namespace=TENANT, uid="6f1d")}
    )
    cluster = FakeCluster(namespaces={RELEASE})
    own = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "own",
            "namespace": RELEASE,
            "labels": {names.LABEL_RUN: run, names.LABEL_STAGE: "admit"},
        },
        "spec": {"containers": [{"name": "main", "image": "vmferry/target:1"}], "tolerations": [{}]},
    }
    cluster.put(own)
    request = {"name": names.request(run), "namespace": RELEASE, "uid": "request"}
    cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": request})
    claims = {names.claim(run, "disk-0"): "Block", names.notes(run, "disk-0"): "Filesystem"}
    Placement(plan, cluster, RELEASE).ensure(claims, shape(plan, a_machine()), {"uid": "request"})
    found = copy.deepcopy(cluster.peek(POD, names.placement(run), RELEASE))
    assert found is not None
    found["spec"]["serviceAccountName"] = "default"
    return found


@pytest.mark.parametrize("run", [VICTIM, *OTHERS])
def test_admit_creates_the_pod_that_places_the_disks(policies: Path, run: str) -> None:
    made = Request("", "pods", placement_pod(run))
    assert judged(policies, admit(run), made) == [[]]
    assert judged(policies, hand_over(run), made) != [[]]


@pytest.mark.parametrize("other", OTHERS)
def test_no_pod_is_created_for_another_run(policies: Path, other: str) -> None:
    assert judged(policies, admit(other), Request("", "pods", placement_pod(VICTIM))) != [[]]


def _first(found: Object) -> Json:
    container: Json = found["spec"]["containers"][0]
    return container


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["metadata"].update(name="x"),
        lambda one: one["metadata"].update(namespace=TENANT),
        lambda one: one["spec"].update(serviceAccountName="vmferry-data"),
        lambda one: one["spec"].update(automountServiceAccountToken=True),
        lambda one: one["spec"].pop("automountServiceAccountToken"),
        lambda one: one["spec"].update(hostNetwork=True),
        lambda one: one["spec"].update(hostPID=True),
        lambda one: one["spec"].update(hostIPC=True),
        lambda one: one["spec"].update(initContainers=[{"name": "x"}]),
        lambda one: one["spec"]["containers"].append({"name": "x", "command": ["python", "-c", ""]}),
        lambda one: one["spec"]["volumes"].append({"name": "s", "secret": {"secretName": "x"}}),
        lambda one: one["spec"]["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
        lambda one: one["spec"]["volumes"].append({"name": "p", "projected": {"sources": []}}),
        lambda one: _first(one).update(command=["python", "-c", "import socket"]),
        lambda one: _first(one).pop("command"),
        lambda one: _first(one).update(args=["x"]),
        lambda one: _first(one).update(env=[{"name": "PYTHONSTARTUP", "value": "/volumes/x"}]),
        lambda one: _first(one).update(envFrom=[{"secretRef": {"name": "x"}}]),
        lambda one: _first(one).update(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}),
        lambda one: _first(one)["securityContext"].update(privileged=True),
    ],
)
def test_that_pod_can_do_nothing_but_mount_claims(policies: Path, change: Callable[[Object], object]) -> None:
    made = placement_pod()
    change(made)
    assert judged(policies, admit(VICTIM), Request("", "pods", made)) != [[]]


def test_that_pod_is_deleted_by_its_own_run(policies: Path) -> None:
    gone = Request("", "pods", old=placement_pod())
    assert judged(policies, admit(VICTIM), gone) == [[]]
    assert judged(policies, admit(OTHERS[0]), gone) != [[]]


# --- the chart


HARVESTER: Final = "harvesterhci.io/v1beta1"


@pytest.mark.parametrize(
    ("disks", "target", "apis", "granted"),
    [
        ("pull", "", [KIND], False),
        ("land", "", [], True),
        ("auto", "", [KIND], True),
        ("auto", "", [], False),  # nothing would limit the rights
        ("auto", "", [KIND, HARVESTER], False),
        ("auto", "harvester", [KIND], False),
        ("auto", "kubevirt", [KIND, HARVESTER], True),
        ("land", "", [KIND, HARVESTER], True),
    ],
)
def test_the_rights_exist_only_if_disks_may_land(
    disks: str, target: str, apis: list[str], granted: bool
) -> None:
    found = rendered(f"kubevirt.disks={disks},import.target={target}", *apis)
    effective = "pull" if disks == "auto" and not granted else disks
    assert re.search(rf'"disks": ?"{effective}"', found), "the controller knows what applies"
    for word in ("vmferry-target-volumes", "name: vmferry-vmware-land", "name: vmferry-ovirt-land"):
        assert (word in found) is granted, word
    assert "name: vmferry-vmware-mixed" not in found


@pytest.mark.parametrize(("allowed", "granted"), [("false", False), ("true", True)])
def test_plain_volumes_of_harvester_have_a_value_of_their_own(allowed: str, granted: bool) -> None:
    found = rendered(f"harvester.allowVolumes={allowed}")
    for word in ("vmferry-target-volumes", "name: vmferry-vmware-mixed", "name: vmferry-ovirt-mixed"):
        assert (word in found) is granted, word
    assert "name: vmferry-vmware-land" not in found


def test_disks_land_by_default_where_the_target_is_kubevirt() -> None:
    assert "vmferry-target-volumes" in rendered("import.target=kubevirt", KIND)


def rendered(value: str, *apis: str) -> str:
    known = [part for api in apis for part in ("--api-versions", api)]
    done = helm("template", "imports", str(CHART), "--namespace", RELEASE, "--set", value, *known)
    assert done.returncode == 0, done.stderr
    return done.stdout
