"""The real Argo makes the pods of disks that land: it puts the mode of each volume into the patch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import pytest

from steps.model import names
from steps.model.kinds import POD, WORKFLOW, Object
from steps.model.landing import LandingDisk, MixedDisk
from tests.real.controller.apiserver import ApiServer
from tests.real.landing.conftest import RELEASE, wait_for
from tests.unit.workflows.author.rendered import CHART, Json, parse
from workflows.mounts import FINAL_CLAIMS

RUN: Final = "vmi-web-0a1b2c3d-g1"
"""A run whose VM is in the release namespace: its disks land on claims with other names than its own."""
ROWS: Final = (
    LandingDisk.of("disk-0", "claim-of-a-device", "Block", landed=False),
    LandingDisk.of("disk-1", "claim-with-files", "Filesystem", landed=False),
    LandingDisk.of("disk-2", "claim-that-is-lost", "Filesystem", landed=True),
)


OTHER: Final = "vmi-other-9f8e7d6c-g2"
INJECTED: Final = (
    {"claim": f"{OTHER}-disk-0"},
    {"claim": "final-claim"},
    {"claim": 'x"}}],"hostNetwork":true,"volumes":[{"name":"disk","hostPath":{"path":"/"'},
    {"mounts": 'env": [], "image": "evil", "volumeMounts'},
    {"path": 'subPath": "../..", "mountPath'},
    {"mounts": "volumeMounts", "path": "devicePath"},
)
"""What somebody who may change the status of a Workflow could write into a row of `admit`."""


def the_disks_alone(
    file: str = "vmware-land.yaml",
    rows: Sequence[Json] | None = None,
    run: str = RUN,
    *,
    final: bool = False,
) -> Json:
    """The shipped template, from the disks on: what comes before needs a node."""
    spec = parse((CHART / "files" / file).read_text())["spec"]
    (task,) = next(
        [task for task in one["dag"]["tasks"] if task["name"] == "disks"]
        for one in spec["templates"]
        if one["name"] == "transfer"
    )
    listed = json.dumps([row.model_dump() for row in ROWS] if rows is None else rows)
    alone = {key: value for key, value in task.items() if key != "depends"} | {"withParam": listed}
    parameters = {"run": run, "source": "default", FINAL_CLAIMS: json.dumps(final)}
    declared = spec["arguments"]["parameters"]
    given = [{**one, "value": parameters.get(one["name"], one.get("value"))} for one in declared]
    return {
        "apiVersion": WORKFLOW.api_version,
        "kind": WORKFLOW.kind,
        "metadata": {"name": run, "namespace": RELEASE},
        "spec": {
            **{key: value for key, value in spec.items() if key != "onExit"},
            "entrypoint": "alone",
            "arguments": {
                "parameters": [
                    {**one, "value": parameters.get(one["name"], one.get("value"))} for one in given
                ]
            },
            "templates": [*spec["templates"], {"name": "alone", "dag": {"tasks": [alone]}}],
        },
    }


def pods_of(argo: ApiServer, run: str) -> dict[tuple[str, str], Object]:
    """The pods of a run by stage and disk."""
    found = argo.connect().find(POD, RELEASE, {names.LABEL_RUN: run})
    labelled = [one["metadata"]["labels"] | {"pod": one} for one in found]
    return {(one[names.LABEL_STAGE], one[names.LABEL_DISK]): one["pod"] for one in labelled}


def claims_of(pod: Object) -> dict[str, str]:
    volumes = pod["spec"]["volumes"]
    found = ((one["name"], one.get("persistentVolumeClaim")) for one in volumes)
    return {name: claim["claimName"] for name, claim in found if claim}


def test_each_disk_of_a_mixed_vm_has_the_pods_of_its_way(argo: ApiServer) -> None:
    """Two of the disks were copied before, as far as Argo knows: for them the stages after the copy run."""
    run = "vmi-mixed-0a1b2c3d-g1"
    lands = LandingDisk.of("disk-1", f"{run}-disk-1", "Block", landed=False)
    copied = {"landed": "true"}
    rows = (
        MixedDisk.on_scratch("disk-0", f"{run}-disk-0"),
        MixedDisk.on_volume(lands, f"{run}-disk-1-notes"),
        MixedDisk.on_scratch("disk-2", f"{run}-disk-2").model_copy(update=copied),
        MixedDisk.on_volume(lands, f"{run}-disk-3-notes").model_copy(update={"disk": "disk-3", **copied}),
    )
    workflow = the_disks_alone("vmware-mixed.yaml", [row.model_dump() for row in rows], run)
    argo.kubectl("create", "-f", "-", given=json.dumps(workflow))
    expected = {
        *(("export", "disk-0"), ("export", "disk-1")),
        *(("serve", "disk-2"), ("image", "disk-2"), ("hand-over", "disk-3")),
    }
    wait_for(lambda: set(pods_of(argo, run)) >= expected, "Argo makes no pods")
    made = pods_of(argo, run)
    assert set(made) == expected
    served, lands_here = made["export", "disk-0"], made["export", "disk-1"]
    assert claims_of(served) == {"scratch": f"{run}-disk-0"}
    assert claims_of(lands_here) == {"scratch": f"{run}-disk-1-notes", "disk": f"{run}-disk-1"}
    for pod, devices in ((served, []), (lands_here, [{"name": "disk", "devicePath": "/disk"}])):
        (main,) = [one for one in pod["spec"]["containers"] if one["name"] == "main"]
        assert (main.get("volumeDevices") or []) == devices
        mounted = [one["mountPath"] for one in main["volumeMounts"]]
        assert mounted.count("/scratch") == 1
        assert "/disk" not in mounted
        assert pod["spec"]["securityContext"]["runAsUser"] == 107
    assert made["serve", "disk-2"]["spec"]["securityContext"]["runAsUser"] == 107


def test_each_pod_mounts_its_volume_by_its_mode(argo: ApiServer) -> None:
    argo.kubectl("create", "-f", "-", given=json.dumps(the_disks_alone(final=True)))
    expected = {("export", "disk-0"), ("export", "disk-1"), ("hand-over", "disk-2")}
    wait_for(lambda: set(pods_of(argo, RUN)) >= expected, "Argo makes no pods")
    made = pods_of(argo, RUN)
    assert set(made) == expected, "a disk that was handed over is not copied again"
    for row, place in ((ROWS[0], "volumeDevices"), (ROWS[1], "volumeMounts")):
        spec = made["export", row.disk]["spec"]
        (main,) = [one for one in spec["containers"] if one["name"] == "main"]
        mounts = {one["name"]: one for one in main.get("volumeMounts") or []}
        devices = {one["name"]: one for one in main.get("volumeDevices") or []}
        known = devices if place == "volumeDevices" else mounts
        assert known["disk"] == {"name": "disk", row.path: "/disk"}
        assert "disk" not in (mounts if place == "volumeDevices" else devices)
        claims = claims_of(made["export", row.disk])
        assert claims == {"disk": row.claim, "scratch": names.notes(RUN, row.disk)}
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (107, 107)
        assert spec["automountServiceAccountToken"] is False
    handing = made["hand-over", "disk-2"]["spec"]
    assert not [one for one in handing["volumes"] if "persistentVolumeClaim" in one]
    assert handing["securityContext"]["runAsUser"] == 10001


def exported(argo: ApiServer, run: str, workflow: Json) -> list[Object]:
    """The pods of `export`, once Argo has made a pod for each disk or has refused it."""
    argo.kubectl("create", "-f", "-", given=json.dumps(workflow))
    disks = len(json.loads(workflow["spec"]["templates"][-1]["dag"]["tasks"][0]["withParam"]))

    def decided() -> bool:
        found = argo.connect().get(WORKFLOW, run, RELEASE)
        nodes = ((found or {}).get("status") or {}).get("nodes") or {}
        tries = [one for one in nodes.values() if one["templateName"] == "export" and one["type"] == "Pod"]
        made = {name for name, _ in pods_of(argo, run)}
        refused = [one for one in tries if one["phase"] == "Error"]
        return len(made and pods_of(argo, run)) + len(refused) >= disks

    wait_for(decided, "Argo decides nothing")
    return [pod for (stage, _), pod in pods_of(argo, run).items() if stage == "export"]


@pytest.mark.parametrize("file", ["vmware-land", "vmware-mixed", "vmware-land-guest"])
def test_a_row_of_a_person_mounts_only_what_is_of_the_run(argo: ApiServer, file: str) -> None:
    run = f"vmi-row-{file.removeprefix('vmware-')}-0a1b2c3d-g1"
    rows = []
    for number, change in enumerate(INJECTED):
        disk = f"disk-{number}"
        row = LandingDisk.of(disk, f"{run}-{disk}", "Filesystem", landed=False)
        if "mixed" in file:
            row = MixedDisk.on_volume(row, f"{run}-{disk}-notes")
        rows.append(row.model_dump() | change)
    if "mixed" in file:
        rows.append(MixedDisk.on_scratch("disk-6", f"{OTHER}-disk-0").model_dump())
        rows.append({**rows[0], "disk": "disk-7", "scratch": f"{OTHER}-disk-0-notes", "volume": 'disk"}'})
    made = exported(argo, run, the_disks_alone(f"{file}.yaml", rows, run))
    assert made
    for pod in made:
        disk = pod["metadata"]["labels"][names.LABEL_DISK]
        allowed = {f"{run}-{disk}", f"{run}-{disk}-notes"}
        assert set(claims_of(pod).values()) <= allowed
        assert not [one for one in pod["spec"]["volumes"] if "hostPath" in one]
        assert not pod["spec"].get("hostNetwork")
        (main,) = [one for one in pod["spec"]["containers"] if one["name"] == "main"]
        assert main["image"].startswith("vmferry/")
        assert not [one for one in main["volumeMounts"] if "subPath" in one]


def test_in_the_release_namespace_a_claim_of_another_run_is_not_mounted(argo: ApiServer) -> None:
    run = "vmi-final-0a1b2c3d-g1"
    rows = [
        LandingDisk.of(f"disk-{number}", claim, "Block", landed=False).model_dump()
        for number, claim in enumerate(("web-disk-0", f"{OTHER}-disk-0", f"{OTHER}-disk-0-notes"))
    ]
    made = exported(argo, run, the_disks_alone(rows=rows, run=run, final=True))
    found = {pod["metadata"]["labels"][names.LABEL_DISK]: claims_of(pod)["disk"] for pod in made}
    assert found == {"disk-0": "web-disk-0", "disk-1": f"{run}-disk-1", "disk-2": f"{run}-disk-2"}
