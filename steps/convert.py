"""convert: make sure that the disk is complete and in the format that the target gets.

A disk that landed in that format is checked; any other is converted by qemu-img. Formats are always
named: a format guessed from the content lets a guest choose how its own disk is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from steps.disk import qemu
from steps.disk.land import Landed
from steps.model import scratch
from steps.model.contract import Exit, StepError
from steps.model.plan import DiskFormat
from steps.model.scratch import Ready
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.progress import Progress
from steps.runtime.stop import Stop

EPILOG = """\
examples:
  python -m steps.convert --disk disk-0
  python -m steps.convert --in disk.vmdk --in-format vmdk --format qcow2 --out disk.qcow2
"""


def arguments() -> Arguments:
    parser = Arguments("convert", __doc__ or "", epilog=EPILOG)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--disk", help="id of the disk in the plan, such as disk-0")
    which.add_argument("--in", dest="source", type=Path, metavar="FILE", help="convert this file instead")
    alone = parser.add_argument_group("with --in")
    alone.add_argument(
        "--in-format", choices=["vmdk", "raw", "qcow2", "vhdx", "vpc", "vdi"], help="its format"
    )
    alone.add_argument("--format", choices=[str(item) for item in DiskFormat], default=str(DiskFormat.QCOW2))
    alone.add_argument("--out", type=Path, metavar="FILE", help="output file")
    return parser


def body(context: Context) -> None:
    given = context.arguments
    progress = Progress.from_environment()
    if given.source is not None:
        if given.out is None or given.in_format is None:
            raise StepError(Exit.INVALID, "--in needs --in-format and --out")
        qemu.convert(
            given.source, given.in_format, given.out, given.format, report=progress.update, stop=context.stop
        )
        check(given.out, DiskFormat(given.format), None)
    else:
        convert_planned(context, given.disk, progress)
    progress.finish()


def convert_planned(context: Context, disk_id: str, progress: Progress) -> None:
    """Check or convert the disk that export left in scratch, and record which file it is."""
    wanted = context.plan().target.format
    disk = context.machine().disk(disk_id)
    out = scratch.landing(context.scratch, wanted)
    landed = Landed.load(out)
    hand_on(landed, out, wanted, disk.capacity, report=progress.update, stop=context.stop)
    ready = Ready(file=out.name, format=wanted, virtual_size=disk.capacity, size=out.stat().st_size)
    ready.save(scratch.ready(context.scratch))


def hand_on(
    landed: Landed,
    out: Path,
    wanted: DiskFormat,
    capacity: int | None,
    *,
    report: Callable[[int, int], None],
    stop: Stop,
) -> None:
    """Write the disk to `out` in the wanted format, and prove that it is complete.

    Raises:
        StepError: the errors of `qemu.convert` and `check`.
        Stopped: likewise.
    """
    if landed.format == wanted:
        log.info(f"{out.name} is {wanted} already: checked, not converted")
    else:
        _check_size(landed.path, qemu.info(landed.path, landed.format), capacity)  # before hours of writing
        qemu.convert(landed.path, landed.format, out, wanted, report=report, stop=stop)
        log.info(f"{out.name} converted from {landed.format} to {wanted}")
    check(out, wanted, capacity)


def check(path: Path, disk_format: DiskFormat, capacity: int | None) -> None:
    """Refuse a disk that depends on other files, is damaged, or differs in size from the VM's disk.

    Raises:
        StepError: CORRUPT.
    """
    _check_size(path, qemu.info(path, disk_format), capacity)
    if disk_format is DiskFormat.QCOW2:
        qemu.check(path, disk_format)


def _check_size(path: Path, info: qemu.Info, capacity: int | None) -> None:
    if capacity is not None and info.virtual_size != capacity:
        raise StepError(
            Exit.CORRUPT,
            f"{path.name} holds {info.virtual_size} bytes, but the VM's disk has {capacity}",
            remedy="remove the disk's scratch folder, then retry: the disk is exported again",
        )


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
