"""admit: choose the names of the volumes, and ask the target whether it would accept the VM and its disks.

This happens before the VM is shut down. The target checks the objects by dry runs and keeps none of them.
The step has no credentials of the source: it knows the VM from the result of `preflight`. When the target
refuses, the source is unchanged: correct the request or the cluster, and run the import again.

In a cluster the step also creates what later stages mount: scratch claims and Services, or the claims on
which the disks land, and the documents `machine.json` and `volumes.json`. So no step that reads foreign data
needs a right on the cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from steps.model import names
from steps.model.admission import Verdict
from steps.model.concerns import about
from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically
from steps.model.landing import MixedDisk
from steps.model.limits import exceeded
from steps.model.machine import Machine
from steps.model.mapping import Shape, blocking, disk_way, shape
from steps.model.plan import DiskWay, Plan
from steps.model.vm_fields import check_request
from steps.model.volumes import VOLUMES, Volumes
from steps.runtime.program import Arguments, Context, log, run
from steps.targets import connect

if TYPE_CHECKING:
    from steps.targets.cluster.run_objects import RunObjects
    from steps.targets.landing.claims import LandingClaims

    ClaimsFor = Callable[[Volumes], LandingClaims]

ADMISSION: Final = "admission.json"
DISKS: Final = "disks.json"
EPILOG: Final = """\
examples:
  python -m steps.admit
  python -m steps.admit --workflow vmi-web-0a1b2c3d-g1

results among the outputs: admission.json (what passed, what the target changes, what could not be checked),
volumes.json (the names of the volumes), disks.json (the disks: their ids, or where they land)
"""


def arguments() -> Arguments:
    parser = Arguments("admit", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--workflow",
        metavar="NAME",
        default="",
        help="in a cluster: the Workflow of this step; it has the result of preflight",
    )
    return parser


def body(context: Context) -> None:
    plan = context.plan()
    check_request(plan)
    run_files = _cluster_files(context, plan) if context.arguments.workflow else FolderFiles(context)
    machine = run_files.prepared_machine()
    target_shape = shape(plan, machine)
    target = connect(plan, context.into, context.stop, machine=machine)
    volumes = run_files.chosen_now() or target.name_volumes(target_shape, run_files.previous())
    admission = target.admit(target_shape, volumes)
    for finding in admission.findings:
        log_finding = log.info if finding.verdict is Verdict.PASSED else log.warning
        log_finding(finding.message or "accepted", check=finding.check, verdict=str(finding.verdict))
    for disk, name in volumes.names.items():
        log.info("name of the volume", disk=disk, volume=name)
    run_files.save(volumes)
    disks = run_files.disks(target_shape, volumes)
    volumes.save(context.outputs / VOLUMES)
    admission.save(context.outputs / ADMISSION)
    write_atomically(context.outputs / DISKS, json.dumps(disks))


class FolderFiles:
    """The documents of a run without a cluster: they are in the request folder."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def prepared_machine(self) -> Machine:
        """The VM that `preflight` found."""
        return self._context.machine()

    def chosen_now(self) -> Volumes | None:
        """The names that this attempt chose; None before that."""
        return None

    def previous(self) -> Volumes | None:
        """The names that an earlier attempt chose; None without one."""
        return self._context.volumes()

    def save(self, volumes: Volumes) -> None:
        """Nothing: the runner adds the outputs to the request folder."""

    def disks(self, target_shape: Shape, volumes: Volumes) -> list[Any]:
        """The ids of the disks, for which the later stages run."""
        return [disk.id for disk in target_shape.disks]


class ClusterFiles:
    """The documents of a run in a cluster: they are in the Workflow, and in objects of the run."""

    def __init__(self, run_objects: RunObjects, machine: Machine, workflow: str) -> None:
        self._run_objects = run_objects
        self._machine = machine
        self._workflow = workflow

    def prepared_machine(self) -> Machine:
        """The VM that `preflight` found. Everything that later stages mount for it exists then."""
        self._run_objects.prepare(self._machine)
        return self._machine

    def disks(self, target_shape: Shape, volumes: Volumes) -> list[Any]:
        """As above."""
        return [disk.id for disk in target_shape.disks]

    def chosen_now(self) -> Volumes | None:
        """As above."""
        return self._run_objects.attempt_volumes(self._workflow)

    def previous(self) -> Volumes | None:
        """As above."""
        return self._run_objects.latest_volumes()

    def save(self, volumes: Volumes) -> None:
        """Store the names where later pods mount them."""
        self._run_objects.store_volumes(volumes, self._workflow)


class LandingFiles(ClusterFiles):
    """The same if the disks land on their volumes: there is neither scratch nor a Service."""

    def __init__(self, run_objects: RunObjects, machine: Machine, workflow: str, claims: ClaimsFor) -> None:
        super().__init__(run_objects, machine, workflow)
        self._claims = claims

    def prepared_machine(self) -> Machine:
        """The VM that `preflight` found."""
        self._run_objects.publish_machine(self._machine)
        return self._machine

    def disks(self, target_shape: Shape, volumes: Volumes) -> list[Any]:
        """Where the disks land. The claims exist then; the target has accepted the VM before."""
        return [one.model_dump() for one in self._claims(volumes).ensure(target_shape)]


class MixedFiles(LandingFiles):
    """The same if some disks land on their volumes. The others have scratch and a Service."""

    def __init__(
        self, run_objects: RunObjects, plan: Plan, machine: Machine, workflow: str, claims: ClaimsFor
    ) -> None:
        super().__init__(run_objects, machine, workflow, claims)
        self._plan = plan

    def disks(self, target_shape: Shape, volumes: Volumes) -> list[Any]:
        """Where each disk is copied to, in the order of the VM."""
        pulled = [disk for disk in self._machine.disks if disk_way(disk, self._plan.target) is DiskWay.PULL]
        scratch = self._run_objects.scratch_claims(pulled)
        landed = self._claims(volumes).ensure(target_shape, scratch)
        self._run_objects.ensure_services(pulled)
        run = self._plan.run
        rows = {one.disk: MixedDisk.on_volume(one, names.notes(run, one.disk)) for one in landed}
        rows |= {disk.id: MixedDisk.on_scratch(disk.id, names.claim(run, disk.id)) for disk in pulled}
        return [rows[disk.id].model_dump() for disk in self._machine.disks]


def _cluster_files(context: Context, plan: Plan) -> ClusterFiles:
    from steps.runtime import kubeapi  # noqa: PLC0415 - the embedded runner has no release namespace
    from steps.targets.cluster.completion import WorkflowRef  # noqa: PLC0415
    from steps.targets.cluster.preflight_result import read_machine  # noqa: PLC0415
    from steps.targets.cluster.run_objects import RunObjects  # noqa: PLC0415

    cluster, namespace = kubeapi.connect(context.stop), kubeapi.own_namespace()
    workflow = WorkflowRef(context.arguments.workflow, namespace)
    machine = read_machine(cluster, workflow, context.stop)
    refuse_excess(plan, machine)
    run_objects = RunObjects(plan, cluster, namespace)
    if plan.target.way is DiskWay.PULL:
        return ClusterFiles(run_objects, machine, workflow.name)
    from steps.targets import landing_storage  # noqa: PLC0415 - likewise
    from steps.targets.landing.claims import LandingClaims  # noqa: PLC0415

    def claims(volumes: Volumes) -> LandingClaims:
        return LandingClaims(
            plan,
            machine,
            cluster,
            context.stop,
            volumes=volumes,
            release=namespace,
            storage_of=landing_storage(plan),
        )

    if plan.target.way is DiskWay.MIXED:
        return MixedFiles(run_objects, plan, machine, workflow.name, claims)
    return LandingFiles(run_objects, machine, workflow.name, claims)


def refuse_excess(plan: Plan, machine: Machine) -> None:
    """Refuse a VM with more than an import may ask for.

    `preflight` has checked the same. But it reads foreign data, and here claims are created from its result.

    Raises:
        StepError: UNSUPPORTED, with every reason.
    """
    reasons = [str(concern) for concern in blocking((*about(machine), *exceeded(machine, plan.limits)))]
    if reasons:
        raise StepError(Exit.UNSUPPORTED, f"{machine.name} cannot be imported", " | ".join(reasons))


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
