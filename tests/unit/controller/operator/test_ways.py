"""How the disks get to KubeVirt: a setting of the installation, kept in the request of each run."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from controller.operator.options import Options
from steps.model import names
from steps.model.kinds import CONFIG_MAP, WORKFLOW, WORKFLOW_TEMPLATE
from steps.model.plan import ClusterTarget, DiskWay, Plan
from steps.runtime.program import PLAN
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import failed, upto
from workflows.settings import WantedWay


def a_world(wanted: WantedWay, *, installed: bool = True, **spec: Any) -> World:
    world = World(**spec)
    use(world, wanted)
    for name in (
        ("vmferry-vmware-land", "vmferry-vmware-land-guest", "vmferry-vmware-guest") if installed else ()
    ):
        world.cluster.put(
            {
                "apiVersion": WORKFLOW_TEMPLATE.api_version,
                "kind": WORKFLOW_TEMPLATE.kind,
                "metadata": {"name": name, "namespace": "vmferry"},
            }
        )
    return world


def use(world: World, wanted: WantedWay) -> None:
    """`helm upgrade` with another value."""
    settings = world.options.settings.model_copy(update={"disks": wanted})
    update = {"target": ClusterTarget.KUBEVIRT, "settings": settings}
    world.options = world.options.model_copy(update=update)


def plan_of(world: World) -> Plan:
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert request is not None
    return Plan.model_validate_json(request["data"][PLAN])


@pytest.mark.parametrize(
    ("wanted", "template"),
    [
        (WantedWay.PULL, "vmferry-vmware"),
        (WantedWay.LAND, "vmferry-vmware-land-guest"),
        (WantedWay.AUTO, "vmferry-vmware-land-guest"),
    ],
)
def test_the_value_chooses_the_template_of_a_run(wanted: WantedWay, template: str) -> None:
    world = a_world(wanted)
    world.look()
    assert world.workflow()["spec"]["workflowTemplateRef"]["name"] == template
    assert plan_of(world).target.way_reason


def test_a_template_that_the_chart_did_not_install_is_named() -> None:
    world = a_world(WantedWay.LAND, installed=False)
    world.look()
    assert world.workflows() == []
    assert "vmferry-vmware-land-guest does not exist" in world.status.model_dump_json()


def test_landing_needs_no_cdi() -> None:
    world = a_world(WantedWay.LAND)
    world.cluster.kinds = {kind for kind in world.cluster.kinds if kind.group != "cdi.kubevirt.io"}
    world.look()
    assert len(world.workflows()) == 1


def test_a_retry_in_the_other_way_is_a_new_run() -> None:
    """Nothing that was copied in one way is of use for the other."""
    world = a_world(WantedWay.LAND)
    world.look()
    world.found()
    first = world.run
    world.argo(*upto("export"), failed("export", 16, "qcow2", "disk-0"), phase="Failed")
    world.look()
    use(world, WantedWay.PULL)
    world.annotate(retry="true")
    world.look(3)
    assert world.run != first
    assert plan_of(world).target.way is DiskWay.PULL
    assert world.cluster.peek(CONFIG_MAP, names.request(first), "vmferry") is None


def test_a_retry_in_the_same_way_resumes() -> None:
    world = a_world(WantedWay.LAND)
    world.look()
    world.found()
    first = world.run
    world.argo(*upto("export"), failed("export", 13, "full", "disk-0"), phase="Failed")
    world.look()
    world.annotate(retry="true")
    world.look(3)
    assert world.run == first
    assert world.workflow()["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware-land-guest"


def test_a_cleanup_uses_a_template_that_every_chart_has() -> None:
    """The value may have changed since, and the templates of landed disks are gone then."""
    world = a_world(WantedWay.LAND)
    world.look()
    world.found()
    world.argo(*upto("export"), phase="Running")
    world.cluster.drop(WORKFLOW_TEMPLATE, "vmferry-vmware-land-guest", "vmferry")
    name = world.workflows()[0]
    world.cluster.drop(WORKFLOW, name, "vmferry")
    world.delete()
    world.look(3)
    cleanups = [one for one in world.workflows() if one != name]
    assert cleanups
    assert world.workflow()["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware"


PLAIN: Final = {"sourceDisk": "disk-1", "as": "volume"}


def on_harvester(*, allowed: bool = True, rows: list[dict[str, str]] | None = None) -> World:
    world = World(diskMapping=[PLAIN] if rows is None else rows)
    settings = world.options.settings.model_copy(update={"allow_volumes": allowed})
    update = {"target": ClusterTarget.HARVESTER, "settings": settings}
    world.options = world.options.model_copy(update=update)
    world.cluster.put(
        {
            "apiVersion": WORKFLOW_TEMPLATE.api_version,
            "kind": WORKFLOW_TEMPLATE.kind,
            "metadata": {"name": "vmferry-vmware-mixed", "namespace": "vmferry"},
        }
    )
    return world


def test_a_disk_that_lands_on_a_plain_volume_of_harvester_chooses_the_template() -> None:
    world = on_harvester()
    world.look()
    assert world.workflow()["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware-mixed"
    assert plan_of(world).target.way is DiskWay.MIXED


@pytest.mark.parametrize(
    "rows", [[], [PLAIN | {"as": "image"}], [{"sourceDisk": "disk-1", "busType": "sata"}]]
)
def test_an_import_without_plain_volumes_has_the_template_as_before(rows: list[dict[str, str]]) -> None:
    world = on_harvester(rows=rows)
    world.look()
    assert world.workflow()["spec"]["workflowTemplateRef"]["name"] == "vmferry-vmware"


def test_an_installation_that_does_not_allow_plain_volumes_says_so() -> None:
    world = on_harvester(allowed=False)
    world.look()
    assert world.workflows() == []
    assert "harvester.allowVolumes" in world.status.model_dump_json()


@pytest.mark.parametrize("row", [{"sourceDisk": "disk-0", "as": "volume"}, {"sourceDisk": "disk-1"}])
def test_a_disk_with_another_form_is_a_new_run(row: dict[str, str]) -> None:
    """A claim of scratch must not become a volume, and a volume not scratch."""
    world = on_harvester()
    world.look()
    world.found()
    first = world.run
    world.argo(*upto("export"), failed("export", 13, "full", "disk-0"), phase="Failed")
    world.look()
    world.apply(diskMapping=[row])
    world.annotate(retry="true")
    world.look(3)
    assert world.run != first
    assert world.cluster.peek(CONFIG_MAP, names.request(first), "vmferry") is None


def test_the_options_read_the_values_of_the_chart() -> None:
    values = {"target": "harvester", "disks": "auto", "pullClasses": ["tenant"], "allowVolumes": True}
    settings = Options.model_validate(json.loads(json.dumps({"settings": values}))).settings
    assert (settings.disks, settings.pull_classes) == (WantedWay.AUTO, ("tenant",))
    assert settings.allow_volumes is True
    assert Options().settings.allow_volumes is False
