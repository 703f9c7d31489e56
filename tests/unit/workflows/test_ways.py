"""How the disks of an import get to KubeVirt is decided when it is planned, and said in the plan."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pydantic import ValidationError

from controller.manifests.read import InvalidManifestsError
from controller.manifests.resolve import jobs, refuse_landing
from steps.model.mapping import disk_way
from steps.model.plan import DiskFormat, DiskWay, TargetKind, TargetPlan
from steps.model.sources import SourceKind
from tests.unit.builders import a_disk, a_secret, a_source, an_import
from tests.unit.controller.manifests.test_resolve import NOTHING, given
from workflows import argo_names, ways
from workflows.author.installation import Installation
from workflows.author.workflow import author
from workflows.plan import Invalid, plan
from workflows.settings import Settings, WantedWay


def target(settings: Settings, **spec: Any) -> TargetPlan:
    return plan(an_import(**spec), a_source(), settings).target


def kubevirt(**settings: Any) -> Settings:
    return Settings(target=TargetKind.KUBEVIRT, **settings)


def test_disks_are_pulled_by_default() -> None:
    assert target(kubevirt()).way is DiskWay.PULL
    assert target(kubevirt()).format is DiskFormat.QCOW2


PLAIN: Final = [{"sourceDisk": "disk-1", "as": "volume", "storageClass": "lvm"}, {"sourceDisk": "disk-0"}]


def harvester(**settings: Any) -> Settings:
    return Settings(target=TargetKind.HARVESTER, **{"allow_volumes": True} | settings)


def test_a_row_lands_its_disk_on_a_plain_volume() -> None:
    made = target(harvester(), diskMapping=PLAIN)
    assert (made.way, made.format) == (DiskWay.MIXED, DiskFormat.QCOW2)
    assert "spec.diskMapping" in made.way_reason
    ways_of = {disk.id: disk_way(disk, made) for disk in (a_disk(0), a_disk(1), a_disk(2))}
    assert ways_of == {"disk-0": DiskWay.PULL, "disk-1": DiskWay.LAND, "disk-2": DiskWay.PULL}


@pytest.mark.parametrize(
    "rows", [[], [{"sourceDisk": "disk-1", "as": "image"}], [{"sourceDisk": "x", "as": ""}]]
)
def test_without_such_a_row_nothing_changes(rows: list[dict[str, str]]) -> None:
    assert target(harvester(), diskMapping=rows).way is DiskWay.PULL


def test_an_installation_may_refuse_plain_volumes() -> None:
    with pytest.raises(Invalid) as caught:
        target(harvester(allow_volumes=False), diskMapping=PLAIN)
    (reason,) = caught.value.reasons
    assert "'disk-1'" in reason
    assert "harvester.allowVolumes" in reason


def test_a_class_whose_volumes_cannot_be_given_away_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        target(harvester(pull_classes=("lvm",)), diskMapping=PLAIN)
    assert "kubevirt.pullClasses" in str(caught.value)


def test_kubevirt_has_no_images_and_knows_volumes_only() -> None:
    with pytest.raises(Invalid) as caught:
        target(kubevirt(), diskMapping=[{"sourceDisk": "disk-0", "as": "image"}])
    assert "no images" in str(caught.value)
    assert target(kubevirt(), diskMapping=PLAIN).way is DiskWay.PULL


def test_a_folder_has_only_files() -> None:
    assert target(Settings(), diskMapping=PLAIN).way is DiskWay.PULL


def test_a_local_process_can_plan_plain_volumes_and_not_make_them() -> None:
    manifests = given(an_import(diskMapping=PLAIN), a_source(), a_secret(username="a", password="b"))  # noqa: S106
    resolved = jobs(manifests, NOTHING, harvester(mounts_claims=False))
    with pytest.raises(InvalidManifestsError) as caught:
        refuse_landing(resolved)
    assert ways.EMBEDDED_VOLUME in str(caught.value.faults)
    manifests.imports["default", "web"] = an_import()
    refuse_landing(jobs(manifests, NOTHING, harvester(mounts_claims=False)))


def test_a_word_that_is_no_form_is_refused() -> None:
    with pytest.raises(ValidationError):
        an_import(diskMapping=[{"sourceDisk": "disk-0", "as": "claim"}])


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
    assert reference["name"] == "vmferry-vmware-land-guest"
    made = plan(an_import(guest={"inspect": False}), a_source(), kubevirt(disks=WantedWay.LAND))
    assert author(made, Installation())["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware-land"
    made = plan(an_import(diskMapping=PLAIN), a_source(), harvester())
    assert author(made, Installation())["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware-mixed"
    assert argo_names.template_name(SourceKind.VMWARE) == "vmferry-vmware"


@pytest.mark.parametrize("way", DiskWay)
@pytest.mark.parametrize("kind", SourceKind)
def test_the_name_of_a_template_says_the_way(kind: SourceKind, way: DiskWay) -> None:
    assert argo_names.way_of(argo_names.template_name(kind, way)) is way
    assert argo_names.way_of(argo_names.template_name(kind, way, guest=True)) is way
