"""admit: choose the names of the volumes, and ask the target whether it would accept the VM and its disks.

This happens before the VM is shut down. The target checks the objects by dry runs and keeps none of them.
The step has no credentials of the source: it knows the VM from the result of `preflight`. When the target
refuses, the source is unchanged: correct the request or the cluster, and run the import again.

In a cluster the step also creates what later stages mount: scratch claims and Services, or the claims on
which the disks land, and the documents `machine.json` and `volumes.json`. So no step that reads foreign data
needs a right on the cluster.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from steps.model import names
from steps.model.admission import Admission, Finding, Verdict, findings_of, raise_all, reasons_of
from steps.model.concerns import about
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.document import write_atomically
from steps.model.landing import MixedDisk
from steps.model.limits import exceeded
from steps.model.machine import Disk, Machine
from steps.model.mapping import Shape, blocking, disk_way, shape
from steps.model.plan import DiskWay, Plan
from steps.model.vm_fields import check_request
from steps.model.volumes import VOLUMES, Volumes
from steps.runtime.program import Arguments, Context, log, run
from steps.targets import connect

if TYPE_CHECKING:
    from steps.targets.checks.facts import ClaimNeed
    from steps.targets.cluster.run_objects import RunObjects
    from steps.targets.landing.claims import LandingClaims

    ClaimsFor = Callable[[Volumes], LandingClaims]

T = TypeVar("T")
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
    machine = run_files.machine()
    target_shape = shape(plan, machine)
    target = connect(plan, context.into, context.stop, machine=machine, scratch=run_files.scratch_needs())
    volumes = run_files.chosen_now() or target.name_volumes(target_shape, run_files.previous())
    admission = _accepted(
        f"the cluster refuses {machine.name}",
        lambda: target.admit(target_shape, volumes),
        run_files.check_limits,
    )
    _log_findings(admission.findings)
    for disk, name in volumes.names.items():
        log.info("name of the volume", disk=disk, volume=name)
    run_files.prepare(target_shape)
    run_files.save(volumes)
    disks = run_files.disks(target_shape, volumes)
    volumes.save(context.outputs / VOLUMES)
    admission.save(context.outputs / ADMISSION)
    write_atomically(context.outputs / DISKS, json.dumps(disks))


def _accepted(what: str, admit: Callable[[], Admission], check_limits: Callable[[], None]) -> Admission:
    """What the target has found, if neither it nor a limit of the installation refuses the import.

    Raises:
        StepError: with every reason; or the first temporary error.
    """
    refusals: list[StepError] = []
    admission = _unless_refused(admit, refusals)
    _unless_refused(check_limits, refusals)
    for error in refusals:
        _log_findings(findings_of(error))
    raise_all(what, [reason for error in refusals for reason in reasons_of(error)])
    return admission or Admission()


def _unless_refused(call: Callable[[], T], refusals: list[StepError]) -> T | None:
    """The result of `call`; None after a permanent error, which is added to `refusals`.

    Raises:
        StepError: a temporary error.
    """
    try:
        return call()
    except StepError as error:
        if is_retryable(error.code):
            raise
        refusals.append(error)
        return None


def _log_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        log_finding = log.info if finding.verdict is Verdict.PASSED else log.warning
        log_finding(finding.message or "accepted", check=finding.check, verdict=str(finding.verdict))


class FolderFiles:
    """The documents of a run without a cluster: they are in the request folder."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def machine(self) -> Machine:
        """The VM that `preflight` found."""
        return self._context.machine()

    def scratch_needs(self) -> list[ClaimNeed]:
        """None: scratch is a folder of this host."""
        return []

    def check_limits(self) -> None:
        """Nothing: the limits are those of an installation in a cluster."""

    def prepare(self, target_shape: Shape) -> None:
        """Nothing: the runner makes the folders."""

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

    def __init__(
        self,
        run_objects: RunObjects,
        machine: Machine,
        workflow: str,
        place_scratch: Callable[[], None] = lambda: None,
    ) -> None:
        self._run_objects = run_objects
        self._machine = machine
        self._workflow = workflow
        self._place_scratch = place_scratch

    def machine(self) -> Machine:
        """The VM that `preflight` found."""
        return self._machine

    def scratch_needs(self) -> list[ClaimNeed]:
        """The scratch claims that do not exist yet."""
        return self._run_objects.scratch_needs(self._scratch_disks())

    def check_limits(self) -> None:
        """Raise StepError (NO_SPACE) unless the installation's limit allows the scratch of these disks."""
        self._run_objects.check_limit(self._scratch_disks())

    def prepare(self, target_shape: Shape) -> None:
        """Create everything that later stages mount for the VM.

        Raises:
            StepError: CONFLICT, if another import is creating a VM of this name; others of `RunObjects`.
        """
        self._run_objects.prepare(self._machine, target_shape)
        self._place_scratch()

    def _scratch_disks(self) -> Sequence[Disk]:
        """The disks that are copied to scratch."""
        return self._machine.disks

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

    def prepare(self, target_shape: Shape) -> None:
        """Publish the VM; `disks` creates the claims. Raises StepError as above."""
        self._run_objects.publish_machine(self._machine, target_shape)

    def _scratch_disks(self) -> Sequence[Disk]:
        return ()

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

    def _scratch_disks(self) -> Sequence[Disk]:
        return [disk for disk in self._machine.disks if disk_way(disk, self._plan.target) is DiskWay.PULL]

    def disks(self, target_shape: Shape, volumes: Volumes) -> list[Any]:
        """Where each disk is copied to, in the order of the VM."""
        pulled = self._scratch_disks()
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
        from steps.targets.landing.scratch_together import place_scratch  # noqa: PLC0415 - likewise

        place = functools.partial(place_scratch, plan, machine, cluster, context.stop, release=namespace)
        return ClusterFiles(run_objects, machine, workflow.name, place)
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
