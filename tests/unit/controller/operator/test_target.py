"""The target of an import: chosen by the import, its run, the installation, or what the cluster serves."""

from __future__ import annotations

import pytest

from controller.operator.observe.target import target_kind, target_reasons
from controller.operator.options import Options
from steps.model import names
from steps.model.kinds import CONFIG_MAP
from steps.model.plan import ClusterTarget, CpuTopology, DiskFormat, Plan, TargetKind
from steps.runtime.program import PLAN
from tests.unit.builders import a_plan
from tests.unit.controller.operator.world import World
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster


def a_cluster(*missing: str) -> FakeCluster:
    """A cluster without the kinds of these API groups."""
    cluster = FakeCluster()
    cluster.kinds = {kind for kind in cluster.kinds if kind.group not in missing}
    return cluster


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ((), TargetKind.HARVESTER),
        (("harvesterhci.io",), TargetKind.KUBEVIRT),
        (("harvesterhci.io", "kubevirt.io"), TargetKind.HARVESTER),
    ],
)
def test_without_a_choice_the_target_is_what_the_cluster_serves(
    missing: tuple[str, ...], found: TargetKind
) -> None:
    assert target_kind(a_cluster(*missing), None, None, None) is found


def test_the_choice_of_the_import_goes_before_that_of_the_installation() -> None:
    cluster = a_cluster()
    chosen = target_kind(cluster, ClusterTarget.KUBEVIRT, ClusterTarget.HARVESTER, None)
    assert chosen is TargetKind.KUBEVIRT
    assert target_kind(cluster, None, ClusterTarget.KUBEVIRT, None) is TargetKind.KUBEVIRT


def test_a_run_keeps_the_target_that_it_began_with() -> None:
    before = a_plan(kind=TargetKind.KUBEVIRT)
    assert target_kind(a_cluster(), None, None, before) is TargetKind.KUBEVIRT
    assert target_kind(a_cluster(), None, ClusterTarget.HARVESTER, before) is TargetKind.KUBEVIRT


def test_the_target_kubevirt_without_cdi_is_refused_with_one_message() -> None:
    reasons = list(target_reasons(a_cluster("cdi.kubevirt.io"), a_plan(kind=TargetKind.KUBEVIRT)))
    assert len(reasons) == 1
    assert "CDI (cdi.kubevirt.io)" in reasons[0]
    assert "install it" in reasons[0]
    assert not list(target_reasons(a_cluster(), a_plan(kind=TargetKind.KUBEVIRT)))


def begun(world: World) -> Plan:
    """The plan of the run that the controller began."""
    world.look()
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert request is not None
    return Plan.model_validate_json(request["data"][PLAN])


def test_the_target_of_the_import_is_in_the_request_of_its_run() -> None:
    target = begun(World(target="kubevirt")).target
    assert target.kind is TargetKind.KUBEVIRT
    assert (target.format, target.cpu_topology) == (DiskFormat.QCOW2, CpuTopology.SOURCE)


def test_an_installation_on_kubevirt_needs_no_field_in_the_import() -> None:
    world = World()
    world.options = world.options.model_copy(update={"target": ClusterTarget.KUBEVIRT})
    assert begun(world).target.kind is TargetKind.KUBEVIRT


def test_an_import_without_its_target_in_the_cluster_starts_nothing() -> None:
    world = World(target="kubevirt")
    world.cluster.kinds = {kind for kind in world.cluster.kinds if kind.group != "cdi.kubevirt.io"}
    world.look()
    assert world.workflows() == []
    assert "CDI (cdi.kubevirt.io)" in world.status.model_dump_json()


def test_the_options_read_an_empty_target_as_no_choice() -> None:
    assert Options.model_validate({"target": ""}).target is None
    assert Options.model_validate({"target": "kubevirt"}).target is ClusterTarget.KUBEVIRT
