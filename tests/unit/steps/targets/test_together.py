"""Before a VM is shut down, one node must be able to mount all of its disks, if a later stage does that."""

from __future__ import annotations

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import POD, Object
from steps.model.plan import GuestPlan, Plan
from steps.targets.landing.scratch_together import place_scratch
from tests.unit.builders import a_disk, a_machine
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.kubevirt.landing_world import RELEASE, LandingWorld

ASKED = GuestPlan(inspect=True)


class Scheduler:
    """Gives the placement pod a node, or says why not."""

    def __init__(self, cluster: FakeCluster, *, works: bool = True) -> None:
        self.cluster = cluster
        self.works = works
        self.seen: list[Object] = []
        create = cluster.create

        def created(manifest: Object, *, dry_run: bool = False) -> Object:
            made = create(manifest, dry_run=dry_run)
            if manifest["kind"] == "Pod" and not dry_run:
                self.seen.append(manifest)
                self._schedule(manifest["metadata"]["name"])
            return made

        cluster.create = created  # type: ignore[method-assign]

    def _schedule(self, name: str) -> None:
        pod = self.cluster.peek(POD, name, RELEASE)
        assert pod is not None
        if self.works:
            pod["spec"]["nodeName"] = "node-1"
            return
        message = "0/3 nodes are available: 3 node(s) had volume node affinity conflict"
        pod["status"] = {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]}


def asked(world: LandingWorld) -> LandingWorld:
    world.plan = world.plan.model_copy(update={"guest": ASKED})
    return world


def mounted(pod: Object) -> list[str]:
    return [one["persistentVolumeClaim"]["claimName"] for one in pod["spec"]["volumes"]]


class TestScratch:
    def place(self, world: LandingWorld, plan: Plan, disks: int = 2) -> None:
        machine = a_machine(disks=tuple(a_disk(number) for number in range(disks)))
        place_scratch(plan, machine, world.cluster, world.time, release=RELEASE, clock=world.time.clock)

    def test_a_pod_uses_the_scratch_of_all_disks_once(self) -> None:
        world = asked(LandingWorld(disks=2))
        scheduler = Scheduler(world.cluster)
        self.place(world, world.plan)
        (pod,) = scheduler.seen
        assert mounted(pod) == [names.claim(world.plan.run, f"disk-{number}") for number in range(2)]
        assert pod["spec"]["containers"][0]["resources"]["requests"] == {"memory": "1Gi", "cpu": "500m"}
        assert world.pods() == [], "it is removed"

    @pytest.mark.parametrize(("guest", "disks"), [(GuestPlan(), 2), (ASKED, 1)])
    def test_nothing_is_placed_if_no_pod_mounts_several_disks(self, guest: GuestPlan, disks: int) -> None:
        world = LandingWorld(disks=2)
        scheduler = Scheduler(world.cluster)
        self.place(world, world.plan.model_copy(update={"guest": guest}), disks)
        assert scheduler.seen == []

    def test_volumes_that_no_node_can_mount_together_are_refused_with_the_reason(self) -> None:
        world = asked(LandingWorld(disks=2))
        Scheduler(world.cluster, works=False)
        with pytest.raises(StepError) as caught:
            self.place(world, world.plan)
        assert caught.value.code is Exit.UNREACHABLE
        assert "volume node affinity conflict" in str(caught.value)
        assert "the VM was not shut down" in str(caught.value)

    def test_without_the_right_on_pods_nothing_is_proved_and_the_import_continues(self) -> None:
        world = asked(LandingWorld(disks=2))

        def denied(manifest: Object, *, dry_run: bool = False) -> Object:
            raise StepError(Exit.DENIED, "pods is forbidden")

        world.cluster.create = denied  # type: ignore[method-assign]
        self.place(world, world.plan)
        assert world.pods() == []

    def test_a_pod_of_an_earlier_attempt_is_used(self) -> None:
        world = asked(LandingWorld(disks=2))
        Scheduler(world.cluster, works=False)
        with pytest.raises(StepError):
            self.place(world, world.plan)
        (pod,) = world.pods()
        pod["spec"]["nodeName"] = "node-2"
        self.place(world, world.plan)
        assert world.pods() == []


class TestLanding:
    def test_all_claims_are_used_by_one_pod_whatever_their_class_is(self) -> None:
        world = asked(LandingWorld(disks=2))
        scheduler = Scheduler(world.cluster)
        world.admit()
        (pod,) = scheduler.seen
        run = world.plan.run
        wanted = [name(run, f"disk-{number}") for number in range(2) for name in (names.claim, names.notes)]
        assert mounted(pod) == wanted
        assert world.pods() == []

    def test_volumes_on_different_nodes_are_refused(self) -> None:
        world = asked(LandingWorld(disks=2))
        Scheduler(world.cluster, works=False)
        with pytest.raises(StepError) as caught:
            world.admit()
        assert "volume node affinity conflict" in str(caught.value)

    def test_one_disk_needs_no_pod(self) -> None:
        world = asked(LandingWorld(disks=1))
        scheduler = Scheduler(world.cluster)
        world.admit()
        assert scheduler.seen == []

    def test_without_an_inspection_nothing_changes(self) -> None:
        world = LandingWorld(disks=2)
        scheduler = Scheduler(world.cluster)
        world.admit()
        assert scheduler.seen == []
