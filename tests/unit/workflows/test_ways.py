"""How the disks of an import get to KubeVirt is decided when it is planned, and said in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from controller.manifests.read import InvalidManifestsError
from controller.manifests.resolve import jobs
from steps.model.plan import DiskFormat, DiskWay, TargetKind, TargetPlan
from steps.model.sources import SourceKind
from tests.unit.builders import a_source, an_import
from tests.unit.controller.manifests.test_resolve import NOTHING, given
from workflows import argo_names, ways
from workflows.author.installation import Installation
from workflows.author.workflow import author
from workflows.plan import plan
from workflows.settings import Settings, WantedWay


def target(settings: Settings, **spec: Any) -> TargetPlan:
    return plan(an_import(**spec), a_source(), settings).target


def kubevirt(**settings: Any) -> Settings:
    return Settings(target=TargetKind.KUBEVIRT, **settings)


def test_disks_are_pulled_by_default() -> None:
    assert target(kubevirt()).way is DiskWay.PULL
    assert target(kubevirt()).format is DiskFormat.QCOW2


@pytest.mark.parametrize("kind", [TargetKind.HARVESTER, TargetKind.DIRECTORY])
def test_other_targets_know_no_ways(kind: TargetKind) -> None:
    made = target(Settings(target=kind, disks=WantedWay.LAND))
    assert (made.way, made.way_reason) == (DiskWay.PULL, "")


def test_a_landed_disk_is_raw() -> None:
    made = target(kubevirt(disks=WantedWay.LAND))
    assert (made.way, made.format) == (DiskWay.LAND, DiskFormat.RAW)
    assert "kubevirt.disks" in made.way_reason


@pytest.mark.parametrize(
    ("source", "way"),
    [
        (SourceKind.VMWARE, DiskWay.LAND),
        (SourceKind.OVIRT, DiskWay.LAND),
        (SourceKind.OPENSTACK, DiskWay.PULL),
        (SourceKind.OVA, DiskWay.PULL),
    ],
)
def test_auto_lands_what_can_be_decoded_while_it_arrives(source: SourceKind, way: DiskWay) -> None:
    chosen = ways.choose(kubevirt(disks=WantedWay.AUTO), source, ())
    assert chosen.way is way
    assert chosen.why


@pytest.mark.parametrize(
    "spec",
    [{"storageClass": "tenant"}, {"diskMapping": [{"sourceDisk": "disk-0", "storageClass": "tenant"}]}],
)
def test_auto_pulls_to_classes_whose_volumes_cannot_be_given_away(spec: dict[str, Any]) -> None:
    made = target(kubevirt(disks=WantedWay.AUTO, pull_classes=("tenant",)), **spec)
    assert made.way is DiskWay.PULL
    assert "tenant" in made.way_reason
    assert target(kubevirt(disks=WantedWay.AUTO, pull_classes=("tenant",))).way is DiskWay.LAND


@pytest.mark.parametrize("wanted", [WantedWay.AUTO, WantedWay.PULL])
def test_a_local_process_pulls_and_says_why(wanted: WantedWay) -> None:
    made = target(kubevirt(disks=wanted, mounts_claims=False))
    assert (made.way, made.way_reason) == (DiskWay.PULL, ways.NO_PODS)


def test_a_local_process_refuses_to_land_and_says_why() -> None:
    manifests = given(an_import(), a_source())
    with pytest.raises(InvalidManifestsError) as caught:
        jobs(manifests, NOTHING, kubevirt(disks=WantedWay.LAND, mounts_claims=False))
    assert ways.EMBEDDED_LAND in str(caught.value.faults)


def test_the_way_chooses_the_template() -> None:
    made = plan(an_import(), a_source(), kubevirt(disks=WantedWay.LAND))
    reference = author(made, Installation())["spec"]["workflowTemplateRef"]
    assert reference["name"] == "vmferry-vmware-land"
    assert argo_names.template_name(SourceKind.VMWARE) == "vmferry-vmware"
