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
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--disk", help="id of the disk in the plan, such as disk-0")
    inputs.add_argument("--in", dest="source", type=Path, metavar="FILE", help="convert this file instead")
    standalone = parser.add_argument_group("with --in")
    standalone.add_argument(
        "--in-format", choices=["vmdk", "raw", "qcow2", "vhdx", "vpc", "vdi"], help="its format"
    )
    standalone.add_argument(
        "--format", choices=[str(item) for item in DiskFormat], default=str(DiskFormat.QCOW2)
    )
    standalone.add_argument("--out", type=Path, metavar="FILE", help="output file")
    return parser


def body(context: Context) -> None:
    options = context.arguments
    progress = Progress.from_environment()
    if options.source is not None:
        if options.out is None or options.in_format is None:
            raise StepError(Exit.INVALID, "--in needs --in-format and --out")
        qemu.convert(
            options.source,
            options.in_format,
            options.out,
            options.format,
            report=progress.update,
            stop=context.stop,
        )
        check(options.out, DiskFormat(options.format), None)
    else:
        convert_planned(context, options.disk, progress)
    progress.finish()


def convert_planned(context: Context, disk_id: str, progress: Progress) -> None:
    """Check or convert the disk that export left in scratch, and record which file it is."""
    target_format = context.plan().target.format
    disk = context.machine().disk(disk_id)
    out = scratch.landing(context.scratch, target_format)
    landed = Landed.load(out)
    ensure_format(landed, out, target_format, disk.capacity, report=progress.update, stop=context.stop)
    ready = Ready(file=out.name, format=target_format, virtual_size=disk.capacity, size=out.stat().st_size)
    ready.save(scratch.ready(context.scratch))


def ensure_format(
    landed: Landed,
    out: Path,
    target_format: DiskFormat,
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
    if landed.format == target_format:
        log.info(f"{out.name} is {target_format} already: checked, not converted")
    else:
        _check_size(landed.path, qemu.info(landed.path, landed.format), capacity)  # before hours of writing
        qemu.convert(landed.path, landed.format, out, target_format, report=report, stop=stop)
        log.info(f"{out.name} converted from {landed.format} to {target_format}")
    check(out, target_format, capacity)


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
