"""admit: choose the names of the volumes, and ask the target whether it would accept the VM and its disks.

This happens before the VM is shut down. The target checks the objects by dry runs and keeps none of them. The
step reads `machine.json` and has no credentials of the source. When the target refuses, nothing has changed:
correct the request or the cluster, and run the import again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from steps.model.admission import Verdict
from steps.model.mapping import shape
from steps.model.plan import Plan
from steps.model.volumes import VOLUMES, Volumes
from steps.runtime.program import Arguments, Context, log, run
from steps.targets import connect

if TYPE_CHECKING:
    from steps.targets.harvester.run_objects import RunObjects

ADMISSION: Final = "admission.json"
EPILOG: Final = """\
examples:
  python -m steps.admit
  python -m steps.admit --publish-to configmap/web-volumes

results among the outputs: admission.json (what passed, what the target changes, what could not be checked),
volumes.json (the names of the volumes)
"""


def arguments() -> Arguments:
    parser = Arguments("admit", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--publish-to",
        metavar="configmap/NAME",
        help="in a cluster: store the volume names here for the later stages",
    )
    return parser


def body(context: Context) -> None:
    plan, machine = context.plan(), context.machine()
    target_shape = shape(plan, machine)
    target = connect(plan, context.into, context.stop, machine=machine)
    store = VolumeNameStore(context, plan)
    volumes = store.chosen_now() or target.name_volumes(target_shape, store.previous())
    admission = target.admit(target_shape, volumes)
    for finding in admission.findings:
        log_finding = log.info if finding.verdict is Verdict.PASSED else log.warning
        log_finding(finding.message or "accepted", check=finding.check, verdict=str(finding.verdict))
    for disk, name in volumes.names.items():
        log.info("name of the volume", disk=disk, volume=name)
    store.save(volumes)
    admission.save(context.outputs / ADMISSION)


class VolumeNameStore:
    """Where the names of the volumes are stored: the object in `--publish-to`, else the request folder."""

    def __init__(self, context: Context, plan: Plan) -> None:
        self._context = context
        self._publish_to: str = context.arguments.publish_to or ""
        self._run_objects: RunObjects | None = _run_objects(context, plan) if self._publish_to else None

    def chosen_now(self) -> Volumes | None:
        """The names that this attempt chose; None before that."""
        return self._run_objects.attempt_volumes(self._publish_to) if self._run_objects else None

    def previous(self) -> Volumes | None:
        """The names that an earlier attempt chose; None without one."""
        return self._run_objects.latest_volumes() if self._run_objects else self._context.volumes()

    def save(self, volumes: Volumes) -> None:
        if self._run_objects:
            self._run_objects.store_volumes(volumes, self._publish_to)
        volumes.save(self._context.outputs / VOLUMES)


def _run_objects(context: Context, plan: Plan) -> RunObjects:
    from steps.runtime import kubeapi  # noqa: PLC0415 - the embedded runner has no release namespace
    from steps.targets.harvester.run_objects import RunObjects  # noqa: PLC0415

    return RunObjects(plan, kubeapi.connect(context.stop), kubeapi.own_namespace())


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
