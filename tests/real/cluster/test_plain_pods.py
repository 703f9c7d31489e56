"""A whole import without Argo and without the controller: its stages as plain pods, one by one."""

from __future__ import annotations

import json

import pytest

from steps.model import names
from steps.model.admission import Admission, Verdict
from steps.model.kinds import CLAIM, CONFIG_MAP, IMAGE, MACHINE, POD, SECRET, SERVICE, STORAGE_CLASS
from steps.targets.cluster.published import Integrity
from tests.real import scenario
from tests.real.cluster.stagepods import StagePods, record_result
from tests.real.cluster.world import World
from tests.real.standins.process import eventually


@pytest.mark.smoke
def test_vm_is_imported_by_plain_pods(alone: World) -> None:
    lab, simulator = alone.lab, alone.vcenter.simulator
    plan, request = alone.request(alone.submit())
    pods = StagePods(lab, alone.chart.template(), plan)

    found = pods.run("preflight").results
    assert lab.find(CLAIM, **{names.LABEL_RUN: plan.run}) == []
    record_result(lab, plan, found["machine"])
    admitted = pods.run("admit").results
    disks = json.loads(admitted["disks"])
    assert disks == json.loads(found["disks"]) == ["disk-0", "disk-1"]
    claims = lab.find(CLAIM, **{names.LABEL_RUN: plan.run})
    assert {one["spec"]["storageClassName"] for one in claims} == {"wffc"}
    assert lab.get(STORAGE_CLASS, "wffc")["volumeBindingMode"] == "WaitForFirstConsumer"  # type: ignore[index]

    admission = Admission.model_validate_json(admitted["admission"])
    # The storage of the lab reports no room: neither its provisioner, nor the stand-in for Longhorn.
    unknown = {one.check for one in admission.findings if one.verdict is Verdict.NOT_CHECKED}
    assert unknown == {"capacity of wffc", "capacity of harvester-longhorn"}
    assert {one.verdict for one in admission.findings if one.check not in unknown} == {Verdict.PASSED}

    pods.run("poweroff")
    assert simulator.vm(scenario.VM)["power"] == "off"
    for disk in disks:
        pods.run("export", disk)
        pods.run("convert", disk)
        serving = pods.begin("serve", disk)
        image = pods.run("image", disk)
        assert image.results["integrity"] == Integrity.SHA512
        assert lab.get(IMAGE, image.results["image"], alone.namespace) is not None
        pods.finish("serve", disk, serving)
    pods.run("build")
    pods.run("start")
    made = lab.get(MACHINE, scenario.VM, alone.namespace)
    assert made is not None
    assert made["status"]["ready"]

    assert pods.run("release-source").results["left"] == "[]"
    pods.run("delete-scratch")
    run = {names.LABEL_RUN: plan.run}
    assert not [one for one in lab.find(SERVICE, **run) if "deletionTimestamp" not in one["metadata"]]
    assert not [one for one in lab.find(CLAIM, **run) if "deletionTimestamp" not in one["metadata"]]
    assert not [one for one in lab.find(POD, **run) if names.LABEL_SCRATCH in one["metadata"]["labels"]]
    assert simulator.leases() == []
    assert alone.proven().firmware == "bios"

    lab.cluster.delete(CONFIG_MAP, request["metadata"]["name"], lab.release)
    eventually(lambda: not lab.find(SECRET, **run), "the run's Secrets to go with their request")
    assert lab.get(CONFIG_MAP, names.machine(plan.run)) is None
