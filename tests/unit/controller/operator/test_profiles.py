"""Profiles in the cluster: of a run, of its cleanup, and of the checks of a source."""

from __future__ import annotations

from typing import Any, Final

import pytest

from steps.model.kinds import WORKFLOW, Object
from steps.model.plan import ProxyPlan, ScratchPlan, SourcePlan
from tests.unit.controller.operator.kubelet import Container, Files, Scripted, request
from tests.unit.controller.operator.sources.place import READY, Place
from tests.unit.controller.operator.test_mapping import plan_of, running, started
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import found, node
from workflows.settings import Profile, Settings

DMZ: Final = Profile(
    scratch=ScratchPlan(storage_class="fast"),
    node_selector={"zone": "dmz"},
    network="infra/transfer",
    proxy=ProxyPlan(https="http://proxy:3128"),
)
NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"


def with_profiles(world: Any, default: str = "", **profiles: Profile) -> None:
    settings = world.options.settings.model_copy(
        update={"profiles": {"dmz": DMZ, **profiles}, "default_profile": default}
    )
    world.options = world.options.model_copy(update={"settings": settings})


def test_an_unknown_profile_is_refused_until_it_exists() -> None:
    world = World(profile="lab")
    with_profiles(world)
    assert not started(world)
    assert world.status.import_status == "virtualMachineImportInvalid"
    assert world.status.message == "spec.profile 'lab' is not a profile: this installation has: dmz"
    with_profiles(world, lab=Profile())
    assert started(world)


def test_a_changed_profile_does_not_reach_a_run() -> None:
    world = World(profile="dmz")
    with_profiles(world)
    running(world)
    before, workflow = plan_of(world), world.workflow()["spec"]
    with_profiles(world, dmz=Profile(node_selector={"zone": "other"}))
    world.look(3)
    assert plan_of(world) == before
    assert world.workflow()["spec"] == workflow
    assert workflow["nodeSelector"] == {"zone": "dmz"}


def test_the_cleanup_of_a_run_has_its_profile_also_if_it_does_not_exist_any_more() -> None:
    world = World(profile="dmz")
    with_profiles(world)
    running(world)
    with_profiles(world, dmz=Profile())
    world.delete()
    world.argo(found(), node("poweroff", "Failed"), phase="Failed")
    for name in world.workflows():
        world.cluster.drop(WORKFLOW, name, world.options.namespace)
    world.look(2)
    cleanup = world.workflow()
    assert cleanup["metadata"]["name"].endswith("-back")
    assert cleanup["spec"]["nodeSelector"] == {"zone": "dmz"}


def test_the_default_applies_to_imports_that_name_none() -> None:
    world = World()
    with_profiles(world, default="dmz")
    assert started(world)
    assert (plan_of(world).profile, plan_of(world).scratch.storage_class) == ("dmz", "fast")


# --- sources


def place(profile: str = "", default: str = "") -> tuple[Place, list[tuple[Object, SourcePlan]]]:
    """A source with a profile, and its check pods with their requests."""
    seen: list[tuple[Object, SourcePlan]] = []
    scripted = Scripted(lambda *_: READY)

    def start(pod: Object, files: Files) -> Container:
        seen.append((pod, SourcePlan.model_validate_json(request(files))))
        return scripted(pod, files)

    settings = Settings(profiles={"dmz": DMZ}, default_profile=default)
    made = Place(runtime=start, settings=settings)
    made.raw["spec"]["profile"] = profile
    return made, seen


@pytest.mark.parametrize(("profile", "default"), [("dmz", ""), ("", "dmz")])
def test_a_source_is_checked_where_and_how_its_profile_says(profile: str, default: str) -> None:
    made, seen = place(profile, default)
    made.look()
    assert made.status.status == "clusterReady"
    ((pod, plan),) = seen
    assert pod["spec"]["nodeSelector"] == {"zone": "dmz"}
    assert pod["metadata"]["annotations"][NETWORKS] == "infra/transfer"
    assert plan.proxy == DMZ.proxy


def test_a_check_without_a_profile_is_as_before() -> None:
    made, seen = place()
    made.look()
    ((pod, plan),) = seen
    assert not {"nodeSelector", "tolerations", "affinity"} & set(pod["spec"])
    assert NETWORKS not in pod["metadata"]["annotations"]
    assert plan.proxy is None


def test_a_source_with_an_unknown_profile_is_not_checked() -> None:
    made, seen = place("lab")
    made.look()
    assert seen == []
    assert (made.status.status, made.status.message) == (
        "clusterNotReady",
        "spec.profile of VmwareSource 'lab' is not a profile: this installation has: dmz",
    )
