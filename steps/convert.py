"""convert: make sure that the disk is complete and in the format that the target gets.

A disk that landed in that format is checked; any other is converted by qemu-img. Formats are always
named: a format guessed from the content lets a guest choose how its own disk is read.

A disk that landed directly on its volume is read back from it and compared with what export wrote: a volume
has no format but raw, and no program guesses one.

In all other cases the target guesses, because nothing tells it the format. So a raw disk that would be taken
for something else becomes a qcow2 image: its header proves what is inside (see `steps.disk.guesses`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.disk import qemu, wrap
from steps.disk.guesses import HEAD_BYTES, Guess, guess
from steps.disk.land import Landed
from steps.disk.landed import LandingFiles
from steps.disk.proof import prove
from steps.disk.volume import Volume
from steps.model import scratch
from steps.model.contract import VOLUME, Exit, StepError
from steps.model.mapping import disk_way
from steps.model.plan import DiskFormat, DiskWay
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
        warn_if_taken_for_another(options.out, DiskFormat(options.format))
    else:
        convert_planned(context, options.disk, progress)
    progress.finish()


@dataclass(frozen=True)
class Prepared:
    """A checked disk: its file, the file's format, and what receivers would take the disk inside for."""

    path: Path
    format: DiskFormat
    guess: Guess | None


def convert_planned(context: Context, disk_id: str, progress: Progress) -> None:
    """Check or convert the disk that export left in scratch, and record which file it is.

    A disk that landed on its volume is read back.
    """
    plan, disk = context.plan(), context.machine().disk(disk_id)
    target_format = plan.target.format
    if disk_way(disk, plan.target) is DiskWay.LAND:
        prove(
            Volume.at(VOLUME, context.scratch),
            disk.id,
            disk.capacity,
            report=progress.update,
            stop=context.stop,
        )
        return
    out = scratch.landing(context.scratch, target_format)
    landed = Landed.load(out)
    if LandingFiles(out).is_adapted(landed) and scratch.ready(context.scratch).exists():
        log.info(
            f"{landed.path.name} is left as it is: an earlier attempt has begun to adapt the guest on it"
        )
        return
    prepared = ensure_format(
        landed, out, target_format, disk.capacity, report=progress.update, stop=context.stop
    )
    ready = Ready(
        file=prepared.path.name,
        format=prepared.format,
        virtual_size=disk.capacity,
        size=prepared.path.stat().st_size,
        taken_for=prepared.guess.format if prepared.guess and prepared.guess.by_qemu else "",
    )
    ready.save(scratch.ready(context.scratch))


def ensure_format(
    landed: Landed,
    out: Path,
    target_format: DiskFormat,
    capacity: int | None,
    *,
    report: Callable[[int, int], None],
    stop: Stop,
) -> Prepared:
    """Write the disk in the wanted format, and prove that it is complete.

    A raw disk that receivers would take for another format becomes qcow2, whatever is wanted.

    Raises:
        StepError: the errors of `qemu.convert`, `wrap.wrap` and `check`.
        Stopped: likewise.
    """
    landed = wrap.recover(landed, out)
    _check_size(landed.path, qemu.info(landed.path, landed.format), capacity)  # before hours of writing
    found = guess(qemu.read_head(landed.path, landed.format, HEAD_BYTES))
    if found is None or target_format is not DiskFormat.RAW:
        return Prepared(_converted(landed, out, target_format, capacity, report, stop), target_format, found)
    log.info(f"{out.name} is served as qcow2: receivers would take the raw disk for {found.format}")
    files = LandingFiles(out)
    if landed.format == DiskFormat.RAW:
        landed = wrap.wrap(landed, out, found.format)
        log.info(f"{landed.path.name} is a qcow2 image around the disk: nothing was copied")
    path = landed.path if landed.format == DiskFormat.QCOW2 else files.wrapped
    return Prepared(
        _converted(landed, path, DiskFormat.QCOW2, capacity, report, stop), DiskFormat.QCOW2, found
    )


def _converted(
    landed: Landed,
    out: Path,
    wanted: DiskFormat,
    capacity: int | None,
    report: Callable[[int, int], None],
    stop: Stop,
) -> Path:
    """The file with the disk in the wanted format: the landed one, or `out` after a conversion."""
    if landed.format == wanted:
        if wanted is DiskFormat.QCOW2:
            qemu.check(landed.path, wanted)
        log.info(f"{landed.path.name} is {wanted} already: checked, not converted")
        return landed.path
    qemu.convert(landed.path, landed.format, out, wanted, report=report, stop=stop)
    log.info(f"{out.name} converted from {landed.format} to {wanted}")
    check(out, wanted, capacity)
    return out


def warn_if_taken_for_another(path: Path, disk_format: DiskFormat) -> None:
    """Warn the person who converts a file by hand: nothing wraps the disk that he asked for as raw."""
    found = guess(qemu.read_head(path, disk_format, HEAD_BYTES))
    if found is not None and disk_format is DiskFormat.RAW:
        log.warning(
            f"programs that guess formats take {path.name} for {found.format}: always name its format"
        )


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
            remedy="correct the capacity at the source; if it is right there, remove the disk's scratch "
            "folder, then retry: the disk is exported again",
        )


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
