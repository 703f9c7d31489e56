"""build: create the VM at the target from its description and its published disks.

If the disks were inspected, what was found decides the bus of the disks and the model of the NICs, unless a
row of the import does.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model.guest import Guest
from steps.model.mapping import Shape, shape
from steps.runtime.program import Arguments, Context, log, run
from steps.targets import connect

EPILOG = """\
examples:
  python -m steps.build
  python -m steps.build --workflow vmi-web-0a1b2c3d-g1
"""


def arguments() -> Arguments:
    parser = Arguments("build", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--workflow",
        metavar="NAME",
        default="",
        help="in a cluster, if the disks were inspected: the Workflow of this step, which has the result",
    )
    return parser


def body(context: Context) -> None:
    plan, machine = context.plan(), context.machine()
    guest = _guest_in_cluster(context) if context.arguments.workflow else context.guest()
    target = connect(plan, context.into, context.stop, volumes=context.volumes())
    made = shape(plan, machine, guest)
    if guest is not None:
        _log_evidence(guest, made)
    for line in target.build(machine, made):
        log.info(line)


def _guest_in_cluster(context: Context) -> Guest | None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - only a step in a cluster needs its client
    from steps.targets.cluster.completion import WorkflowRef  # noqa: PLC0415
    from steps.targets.cluster.guest_result import read_guest  # noqa: PLC0415

    workflow = WorkflowRef(context.arguments.workflow, kubeapi.own_namespace())
    return read_guest(kubeapi.connect(context.stop), workflow)


def _log_evidence(guest: Guest, made: Shape) -> None:
    """Say what was chosen, and by what."""
    why = {one.name: one.why for one in (*guest.disk_buses, *guest.nic_models)}
    for disk in made.disks:
        log.info(f"{disk.id} gets bus {disk.bus}", why=why.get(disk.bus, "not by the inspection"))
    for interface in made.interfaces:
        log.info(
            f"{interface.nic or interface.name} gets model {interface.model}",
            why=why.get(interface.model, "not by the inspection"),
        )


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
