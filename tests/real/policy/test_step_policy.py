"""The policy vmferry-steps: with its token, a pod of one run changes nothing of another run.

The API server's own code evaluates the policy as Helm renders it. tests/real/cluster/test_step_tokens.py does
the same with real tokens.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

from controller.operator.act import target_pod
from steps.model import names
from steps.model.kinds import GROUP
from tests.real.chart.test_chart import HELM, RELEASE, helm
from tests.real.policy.judge import POD_NAME, Client, Json, Request, denials
from tests.unit.builders import a_plan
from tests.unit.workflows.author.rendered import CHART, PROGRAMS
from workflows import argo_names
from workflows.stages import Identity
from workflows.status.nodes import node_id

pytestmark = [
    pytest.mark.skipif(HELM is None, reason="POLICY NOT EVALUATED: no helm; set HELM to its path"),
    pytest.mark.skipif(shutil.which("go") is None, reason="POLICY NOT EVALUATED: Go builds the judge"),
]

VICTIM: Final = "vmi-web-01234567-g1"
OTHERS: Final = (
    "vmi-web-89abcdef-g1",
    "vmi-web-01234567-g11",
    # A person chooses the middle of a name, also so that it begins like another run or one of its objects.
    "vmi-web-01234567-g1-89abcdef-g1",
    "vmi-web-01234567-g1-r1-89abcdef-g1",
    "vmi-web-01234567-g1-back-89abcdef-g1",
    "vmi-web-01234567-g1-back-2-89abcdef-g1",
    "vmi-web-01234567-g1-undo-2-89abcdef-g1",
    "vmi-web-01234567-g1-disk-0-89abcdef-g1",
    "vmi-web-01234567-g1-export-7-89abcdef-g1",
    "vmi-web-01234567-g1-machine-89abcdef-g1",
    "vmi-vmi-web-01234567-g1-89abcdef-g1",
    "vmi--89abcdef-g1",
)
TENANT: Final = "tenant"


def rendered_policies(*arguments: str) -> dict[str, Json]:
    """The policies of the chart by name; Helm knows the kinds of a cluster only if it is asked for one."""
    done = helm("template", "imports", str(CHART), "--namespace", RELEASE, *arguments)
    assert done.returncode == 0, done.stderr
    documents = YAML(typ="safe").load_all(re.sub(r"^# Source: .*$", "", done.stdout, flags=re.MULTILINE))
    found = [one for one in documents if one and one["kind"] == "ValidatingAdmissionPolicy"]
    return {one["metadata"]["name"]: one for one in found}


KIND: Final = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "policies.yaml"
    found = rendered_policies("--api-versions", KIND)
    assert set(found) == {"vmferry-steps", "vmferry-controller", "vmferry-workflows"}
    path.write_text("\n---\n".join(json.dumps(one) for one in found.values()))
    return path


def test_a_cluster_without_the_kind_gets_no_policy() -> None:
    assert rendered_policies() == {}


def account(identity: Identity) -> str:
    return f"system:serviceaccount:{RELEASE}:{argo_names.service_account(identity)}"


def pod_name(workflow: str, stage: str, node: str = "") -> str:
    """The name that Argo gives the pod of a node (argo-workflows workflow/util/pod_name.go)."""
    number = node_id(workflow, node or f"{workflow}.{stage}(0)").rpartition("-")[2]
    return f"{workflow}-{stage}-{number}"


def pod(workflow: str, stage: str, identity: Identity | None = None) -> Client:
    """The pod of a stage, with the token of its service account."""
    own = next(one.identity for one in PROGRAMS if one.name == stage)
    return Client(account(identity or own), {POD_NAME: [pod_name(workflow, stage)]})


def thing(name: str, run: str, namespace: str = RELEASE, **more: object) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": {names.LABEL_RUN: run}}
    return {"metadata": metadata, "spec": {}, **more}


def result(workflow: str, stage: str, owner: str = "") -> Json:
    labels = {"workflows.argoproj.io/workflow": owner or workflow}
    name = node_id(workflow, f"{workflow}.{stage}(0)")
    return {"metadata": {"name": name, "namespace": RELEASE, "labels": labels}}


def service(run: str, name: str = "", **spec: object) -> Json:
    given = {"selector": {names.LABEL_RUN: run}, "ports": [{"port": 8080}], **spec}
    return thing(name or names.service(run, "disk-0"), run, spec=given)


def machine(run: str, **metadata: object) -> Json:
    notes = {"annotations": {f"{GROUP}/run": run}}
    return {
        "metadata": {"name": "web", "namespace": TENANT, **notes, **metadata},
        "spec": {"runStrategy": "Halted"},
    }


def results(workflow: str) -> Iterator[tuple[str, Request]]:
    """What Argo's container in each pod writes: (stage, request)."""
    for stage in PROGRAMS:
        found = result(workflow, stage.name)
        yield stage.name, Request("argoproj.io", "workflowtaskresults", found)
        yield stage.name, Request("argoproj.io", "workflowtaskresults", found, found)


def writes_here(run: str, workflow: str) -> Iterator[tuple[str, Request]]:
    """What the steps write in the release namespace."""
    documents = [names.machine(run), names.volumes(workflow)]
    for name in documents:
        yield "admit", Request("", "configmaps", thing(name, run))
    yield "admit", Request("", "configmaps", thing(documents[0], run), thing(documents[0], run))
    claim = thing(names.claim(run, "disk-0"), run)
    yield "admit", Request("", "persistentvolumeclaims", claim)
    yield "admit", Request("", "persistentvolumeclaims", claim, claim)
    yield "admit", Request("", "persistentvolumeclaims", old=claim)
    yield "admit", Request("", "services", service(run))
    yield "delete-scratch", Request("", "persistentvolumeclaims", old=claim)
    yield "delete-scratch", Request("", "services", old=service(run))
    yield "delete-scratch", Request("", "pods", old=thing(pod_name(workflow, "export"), run))


def writes_there(run: str) -> Iterator[tuple[str, Request]]:
    """What the steps write in the namespace of an import."""
    image, volume = thing("image-0a1b2c3d4e5f", run, TENANT), thing("web-disk-0", run, TENANT)
    for kind, group, found in (
        ("virtualmachineimages", "harvesterhci.io", image),
        ("datavolumes", "cdi.kubevirt.io", volume),
        ("persistentvolumeclaims", "", volume),
        ("virtualmachines", "kubevirt.io", machine(run)),
    ):
        yield "build", Request(group, kind, found)
        yield "build", Request(group, kind, found, found)
    yield "build", Request("coordination.k8s.io", "leases", thing(names.owner(run), run, TENANT))
    yield "image", Request("harvesterhci.io", "virtualmachineimages", old=image)
    yield "image", Request("cdi.kubevirt.io", "datavolumes", old=volume)


def judged(policies: Path, client: Client, *requests: Request) -> list[list[str]]:
    return denials(policies, [(client, request) for request in requests])


@pytest.mark.parametrize("run", [VICTIM, *OTHERS])
def test_a_pod_changes_the_objects_of_its_own_run(policies: Path, run: str) -> None:
    wanted = []
    for workflow in (
        run,
        f"{run}-r1",
        f"{run}-r12",
        f"{run}-back",
        f"{run}-back-3",
        f"{run}-undo",
        f"{run}-undo-2",
    ):
        writes = [*results(workflow), *writes_here(run, workflow), *writes_there(run)]
        wanted += [(pod(workflow, stage), request) for stage, request in writes]
    assert not any(denials(policies, wanted))


@pytest.mark.parametrize("other", OTHERS)
def test_a_pod_changes_nothing_of_another_run(policies: Path, other: str) -> None:
    """In both directions, with every identity, even where a Role would not allow it anyway."""
    wanted = []
    for attacker, victim in ((other, VICTIM), (VICTIM, other)):
        writes = [*results(victim), *writes_here(victim, victim)]
        if attacker.rpartition("-g")[0] != victim.rpartition("-g")[0]:  # runs of one import share its VM
            writes += writes_there(victim)
        for workflow in (attacker, f"{attacker}-r1", f"{attacker}-back-2"):
            clients = [pod(workflow, "export", identity) for identity in Identity]
            wanted += [(client, request) for client in clients for _, request in writes]
    found = denials(policies, wanted)
    assert [one for one, denied in zip(wanted, found, strict=True) if not denied] == []


def test_the_boot_check_keeps_what_it_saw_and_changes_only_the_vm_of_its_own_import(policies: Path) -> None:
    client = Client(account(Identity.BOOT), {POD_NAME: [pod_name(VICTIM, "check")]})
    own = thing(names.boot(VICTIM), VICTIM)
    allowed = (
        Request("", "configmaps", own),
        Request("", "configmaps", own, own),
        Request("kubevirt.io", "virtualmachines", machine(VICTIM), machine(VICTIM)),
        Request("argoproj.io", "workflowtaskresults", result(VICTIM, "check")),
    )
    assert not any(judged(policies, client, *allowed))
    document = Request("", "configmaps", thing(names.machine(VICTIM), VICTIM))
    assert all(judged(policies, client, document)), "what later stages read is not its to write"
    assert all(judged(policies, pod(VICTIM, "admit"), Request("", "configmaps", own)))
    for other in OTHERS:
        refused = [
            Request("", "configmaps", thing(names.boot(other), other)),
            Request("", "configmaps", thing(names.boot(other), VICTIM)),
            Request("", "configmaps", own, thing(names.boot(VICTIM), other)),
        ]
        if other.rpartition("-g")[0] != VICTIM.rpartition("-g")[0]:
            refused.append(Request("kubevirt.io", "virtualmachines", machine(other), machine(other)))
        assert all(judged(policies, client, *refused)), other


def test_a_pod_reports_only_the_result_of_its_own_node(policies: Path) -> None:
    found = judged(
        policies, pod(VICTIM, "export"), *(request for stage, request in results(VICTIM) if stage != "export")
    )
    assert all(found)


def test_a_result_cannot_be_given_to_another_workflow(policies: Path) -> None:
    """Argo finds the Workflow of a result by a label."""
    stolen = result(VICTIM, "export", owner=OTHERS[0])
    for request in (
        Request("argoproj.io", "workflowtaskresults", stolen),
        Request("argoproj.io", "workflowtaskresults", stolen, result(VICTIM, "export")),
        Request("argoproj.io", "workflowtaskresults", result(VICTIM, "export"), stolen),
    ):
        assert judged(policies, pod(VICTIM, "export"), request) != [[]]


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {POD_NAME: []},
        {POD_NAME: [""]},
        {POD_NAME: ["debug"]},
        {POD_NAME: [f"{VICTIM}-export"]},
        {POD_NAME: [VICTIM]},
    ],
    ids=["static", "empty", "no-name", "foreign", "no-node", "workflow"],
)
@pytest.mark.parametrize("identity", Identity)
def test_a_token_that_belongs_to_no_pod_of_a_run_changes_nothing(
    policies: Path, identity: Identity, extra: dict[str, list[str]]
) -> None:
    client = Client(account(identity), extra)
    wanted = [
        request for _, request in (*results(VICTIM), *writes_here(VICTIM, VICTIM), *writes_there(VICTIM))
    ]
    assert all(judged(policies, client, *wanted))


def test_a_label_does_not_make_an_object_of_another_run_ones_own(policies: Path) -> None:
    mine, other = VICTIM, OTHERS[0]
    here = [
        ("configmaps", "", thing(names.machine(other), mine), thing(names.machine(other), other)),
        (
            "persistentvolumeclaims",
            "",
            thing(names.claim(other, "disk-0"), mine),
            thing(names.claim(other, "disk-0"), other),
        ),
        ("virtualmachines", "kubevirt.io", machine(mine), machine(other)),
    ]
    for kind, group, new, old in here:
        assert judged(policies, pod(mine, "build"), Request(group, kind, new, old)) != [[]], kind
        if kind != "virtualmachines":
            assert judged(policies, pod(mine, "build"), Request(group, kind, new)) != [[]], (
                f"{kind}: a new one"
            )
    no_label = {"metadata": {"name": "vmferry-limits", "namespace": RELEASE}}
    assert judged(policies, pod(mine, "admit"), Request("", "configmaps", no_label, no_label)) != [[]]


@pytest.mark.parametrize(
    "spec",
    [
        {"externalIPs": ["10.0.0.1"]},
        {"type": "ExternalName", "externalName": "example.org"},
        {"type": "NodePort"},
        {"type": "LoadBalancer"},
        {"selector": {names.LABEL_RUN: OTHERS[0]}},
        {"selector": {}},
    ],
    ids=json.dumps,
)
def test_a_service_leads_only_to_pods_of_the_run(policies: Path, spec: Json) -> None:
    assert judged(policies, pod(VICTIM, "admit"), Request("", "services", service(VICTIM, **spec))) != [[]]


def test_a_claim_that_cdi_made_gets_labels_and_nothing_else(policies: Path) -> None:
    def bare(**metadata: object) -> Json:
        return {
            "metadata": {"name": "web-disk-0", "namespace": TENANT, **metadata},
            "spec": {"volumeName": "pvc-1"},
        }

    def with_label(**metadata: object) -> Json:
        return bare(labels={names.LABEL_RUN: VICTIM}, **metadata)

    def judge(new: Json, old: Json) -> list[str]:
        (found,) = judged(policies, pod(VICTIM, "build"), Request("", "persistentvolumeclaims", new, old))
        return found

    owners = {"ownerReferences": [{"kind": "DataVolume", "name": "web-disk-0", "uid": "1"}]}
    assert judge(with_label(**owners), bare(**owners)) == []
    assert judge(with_label(), bare(**owners)) != []
    assert judge(with_label(finalizers=["a"]), bare()) != []
    assert judge(with_label(annotations={"a": "b"}), bare()) != []
    assert judge({**with_label(), "spec": {"volumeName": "pvc-2"}}, bare()) != []


def test_a_data_volume_belongs_to_one_run_and_is_never_taken_over(policies: Path) -> None:
    mine, bare = thing("web-disk-0", VICTIM, TENANT), thing("web-disk-0", "", TENANT)

    def judge(new: Json | None, old: Json | None) -> list[str]:
        (found,) = judged(policies, pod(VICTIM, "image"), Request("cdi.kubevirt.io", "datavolumes", new, old))
        return found

    for run in (*OTHERS, VICTIM.replace("-g1", "-g7"), ""):
        theirs = thing("web-disk-0", run, TENANT)
        assert judge(theirs, None) != []
        assert judge(None, theirs) != []
        assert judge(mine, theirs) != []
    assert judge(bare, mine) != []


def test_an_equal_image_of_an_earlier_import_is_marked_and_not_changed(policies: Path) -> None:
    other = OTHERS[0]

    def image(run: str, url: str = "http://a", **notes: str) -> Json:
        found = thing("image-0a1b2c3d4e5f", run, TENANT, spec={"url": url})
        found["metadata"]["annotations"] = {
            f"{GROUP}/sha512": "ab",
            **{f"{GROUP}/{key}": text for key, text in notes.items()},
        }
        return found

    def judge(new: Json | None, old: Json) -> list[str]:
        (found,) = judged(
            policies, pod(VICTIM, "image"), Request("harvesterhci.io", "virtualmachineimages", new, old)
        )
        return found

    marks = {"published-for": f"{VICTIM}/disk-0", "published-by": VICTIM}
    assert judge(image(VICTIM, **marks), image(other)) == []
    assert judge(image(VICTIM, "http://b", **marks), image(other)) != []
    assert judge(image(VICTIM, sha512="cd", **marks), image(other)) != []
    assert judge(image(other, **marks), image(other)) != []
    assert judge(None, image(other)) != []
    assert judge(None, image(VICTIM.replace("-g1", "-g7"))) == [], "of an earlier run of the same import"
    unmarked = image(VICTIM)
    del unmarked["metadata"]["labels"]
    assert judge(unmarked, image(VICTIM, **marks)) == []
    assert judge(unmarked, image(other, **marks)) != []


@pytest.mark.parametrize(
    ("resource", "group"),
    [
        ("virtualmachineimages", "harvesterhci.io"),
        ("persistentvolumeclaims", ""),
        ("datavolumes", "cdi.kubevirt.io"),
    ],
)
def test_halt_marks_what_earlier_runs_of_its_import_made_as_stale_and_changes_nothing_else(
    policies: Path, resource: str, group: str
) -> None:
    earlier, other = VICTIM.replace("-g1", "-g7"), OTHERS[0]

    def made(run: str, name: str = "web", **notes: str) -> Json:
        found = thing(name, run, TENANT, spec={"size": 1})
        found["metadata"]["annotations"] = {"kept": "yes"} | {
            f"{GROUP}/{key}": text for key, text in notes.items()
        }
        return found

    def judge(new: Json, old: Json, stage: str = "halt") -> list[str]:
        (found,) = judged(policies, pod(VICTIM, stage), Request(group, resource, new, old))
        return found

    marked, bare = made(earlier, stale="now"), made(earlier)
    assert judge(marked, bare) == []
    assert judge(made(VICTIM, stale="now"), made(VICTIM)) == []
    assert judge(made(other, stale="now"), made(other)) != []
    assert judge(marked, bare, stage="build") != []
    assert judge(made(earlier, stale="now", sha512="cd"), bare) != []
    assert judge(bare, marked) != []
    assert judge({**marked, "spec": {"size": 2}}, bare) != []
    unlabelled = made(earlier, stale="now")
    unlabelled["metadata"]["labels"] = {}
    assert judge(unlabelled, bare) != []
    owned = made(earlier, stale="now")
    owned["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": "a", "uid": "1"}]
    assert judge(owned, bare) != []


def test_halt_stops_the_vm_of_its_own_import_only(policies: Path) -> None:
    def running(run: str) -> Json:
        return {**machine(run), "spec": {"runStrategy": "RerunOnFailure"}}

    def judge(run: str) -> list[str]:
        request = Request("kubevirt.io", "virtualmachines", machine(run), running(run))
        (found,) = judged(policies, pod(f"{VICTIM}-undo", "halt"), request)
        return found

    assert judge(VICTIM) == []
    assert judge(VICTIM.replace("-g1", "-g7")) == []
    assert all(judge(other) for other in OTHERS if not other.startswith("vmi-web-01234567-g11"))


def test_a_pod_creates_no_pods(policies: Path) -> None:
    assert judged(policies, pod(VICTIM, "admit"), Request("", "pods", thing("x", VICTIM))) != [[]]


def test_other_clients_are_not_affected(policies: Path) -> None:
    clients = [
        "kubernetes-admin",
        f"system:serviceaccount:{RELEASE}:vmferry-controller",
        "system:serviceaccount:other:vmferry-data",
    ]
    wanted = [
        request for _, request in (*results(VICTIM), *writes_here(VICTIM, VICTIM), *writes_there(VICTIM))
    ]
    for user in clients:
        assert not any(judged(policies, Client(user), *wanted)), user


def test_the_policy_covers_every_identity_of_the_steps() -> None:
    policy = rendered_policies("--api-versions", KIND)["vmferry-steps"]
    (condition,) = policy["spec"]["matchConditions"]
    assert all(f"'{account(identity)}'" in condition["expression"] for identity in Identity)


def vm_with(run: str, *volumes: Json, domain: Json | None = None, **more: object) -> Json:
    """The VM of a run over these volumes; `more` are fields of its template's spec."""
    spec = {"domain": domain or {"devices": {}}, "volumes": list(volumes), **more}
    return {**machine(run), "spec": {"runStrategy": "Halted", "template": {"spec": spec}}}


def judge_one(policies: Path, client: Client, request: Request) -> list[str]:
    (found,) = judged(policies, client, request)
    return found


DISK: Final[Json] = {"name": "disk-0", "persistentVolumeClaim": {"claimName": "web-disk-0"}}
READS_MORE: Final[dict[str, Json]] = {
    "a secret": vm_with(VICTIM, DISK, {"name": "x", "secret": {"secretName": "db"}}),
    "a config map": vm_with(VICTIM, DISK, {"name": "x", "configMap": {"name": "a"}}),
    "a service account": vm_with(VICTIM, {"name": "x", "serviceAccount": {"serviceAccountName": "admin"}}),
    "cloud-init": vm_with(VICTIM, DISK, {"name": "x", "cloudInitNoCloud": {"secretRef": {"name": "a"}}}),
    "a disk of the node": vm_with(VICTIM, {"name": "x", "hostDisk": {"path": "/etc"}}),
    "access credentials": vm_with(VICTIM, DISK, accessCredentials=[{"sshPublicKey": {}}]),
    "a host device": vm_with(VICTIM, DISK, domain={"devices": {"hostDevices": [{"name": "a"}]}}),
    "a GPU": vm_with(VICTIM, DISK, domain={"devices": {"gpus": [{"name": "a"}]}}),
}


@pytest.mark.parametrize("what", READS_MORE)
def test_a_vm_that_reads_more_than_its_disks_is_refused(what: str, policies: Path) -> None:
    client = pod(VICTIM, "build")
    good = Request("kubevirt.io", "virtualmachines", vm_with(VICTIM, DISK))
    assert judge_one(policies, client, good) == []
    made = Request("kubevirt.io", "virtualmachines", READS_MORE[what])
    assert any("without credentials" in one for one in judge_one(policies, client, made))
    changed = Request("kubevirt.io", "virtualmachines", READS_MORE[what], vm_with(VICTIM, DISK))
    assert any("without credentials" in one for one in judge_one(policies, client, changed))


def test_a_hook_sidecar_is_refused(policies: Path) -> None:
    made = vm_with(VICTIM, DISK)
    made["spec"]["template"]["metadata"] = {"annotations": {"hooks.kubevirt.io/hookSidecars": "[]"}}
    request = Request("kubevirt.io", "virtualmachines", made)
    assert any("without credentials" in one for one in judge_one(policies, pod(VICTIM, "build"), request))


def test_what_a_person_has_added_to_the_vm_does_not_stop_its_start(policies: Path) -> None:
    before = READS_MORE["cloud-init"]
    after = {**before, "spec": {**before["spec"], "runStrategy": "Always"}}
    started = Request("kubevirt.io", "virtualmachines", after, before)
    assert judge_one(policies, pod(VICTIM, "start"), started) == []
    larger = vm_with(VICTIM, *before["spec"]["template"]["spec"]["volumes"], domain={"cpu": {"cores": 4}})
    rebuilt = Request("kubevirt.io", "virtualmachines", larger, before)
    assert judge_one(policies, pod(VICTIM, "build"), rebuilt) == []


def test_the_owner_of_objects_elsewhere_is_created_and_nothing_else(policies: Path) -> None:
    def judge(new: Json | None, old: Json | None = None) -> list[str]:
        request = Request("coordination.k8s.io", "leases", new, old)
        (found,) = judged(policies, pod(VICTIM, "build"), request)
        return found

    mine = thing(names.owner(VICTIM), VICTIM, TENANT)
    assert judge(mine) == []
    assert judge(thing(names.owner(VICTIM), VICTIM)) != []  # in the release namespace
    assert judge(thing("kube-scheduler", VICTIM, TENANT)) != []
    assert judge(thing(names.owner(OTHERS[0]), VICTIM, TENANT)) != []
    assert judge(mine, mine) != []
    assert judge(None, mine) != []


def test_the_controller_deletes_no_other_lease_elsewhere(policies: Path) -> None:
    def judge(name: str, run: str, namespace: str = TENANT) -> list[str]:
        client = Client(f"system:serviceaccount:{RELEASE}:vmferry-controller")
        request = Request("coordination.k8s.io", "leases", old=thing(name, run, namespace))
        (found,) = judged(policies, client, request)
        return found

    assert judge(names.owner(VICTIM), VICTIM) == []
    assert judge("vmferry-controller", "", RELEASE) == []
    assert judge(names.owner(VICTIM), OTHERS[0]) != []
    assert judge(names.owner(VICTIM), "") != []
    assert judge("kube-scheduler", "kube-scheduler", "kube-system") != []
    assert judge("web-owner", "web") != []


def test_the_pod_of_a_dry_run_asks_about_the_objects_of_its_own_run(policies: Path) -> None:
    """The requests of `admit` are dry runs, which the policy judges like others."""
    plan = a_plan().model_copy(update={"run": VICTIM})
    client = Client(account(Identity.TARGET), {POD_NAME: [target_pod.pod_name(plan)]})
    mine = [Request("kubevirt.io", "virtualmachines", machine(VICTIM))]
    mine += [Request("", "persistentvolumeclaims", thing("web-disk-0", VICTIM, TENANT))]
    mine += [Request("harvesterhci.io", "virtualmachineimages", thing("image-0a1b2c3d4e5f", VICTIM, TENANT))]
    assert not any(judged(policies, client, *mine))
    theirs = [Request("kubevirt.io", "virtualmachines", machine(OTHERS[0]))]
    theirs += [Request("", "configmaps", thing(names.request(VICTIM), VICTIM))]
    assert all(judged(policies, client, *theirs))
