"""The command `inspect`: looks into the disks of a VM, and changes nothing."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from controller.cli import guest_view
from controller.cli.app import INTERRUPTED, Output, OutputFormat, command, dump, err, print_error, write
from controller.local.rundir import RunDir
from controller.local.tempdir import temporary_folder
from steps.disk import qemu
from steps.disk.guesses import HEAD_BYTES, guess
from steps.guest import run, v2v
from steps.guest.run import DiskImage
from steps.model.contract import Exit, StepError, Stopped
from steps.model.guest import DiskFile
from steps.model.guest_judge import judged
from steps.model.plan import Adapt, Plan
from steps.model.scratch import Ready
from steps.runtime.stop import Stop

FORMATS: Final = {
    ".qcow2": "qcow2",
    ".raw": "raw",
    ".img": "raw",
    ".vmdk": "vmdk",
    ".vhdx": "vhdx",
    ".vhd": "vpc",
    ".vpc": "vpc",
    ".vdi": "vdi",
}
"""The format of a disk by the ending of its name."""
MOST_DISKS: Final = 64


def inspect(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Files with the disks of one VM, with the boot disk first. Or one folder of an import.",
        ),
    ],
    disk_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"Format of the files: {', '.join(sorted(set(FORMATS.values())))}. "
            "The default is the format of the ending of the name.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which the inspection ends with an error.")
    ] = run.SECONDS,
    output: Output = OutputFormat.TABLE,
) -> int:
    """Look into the disks of one VM: what is installed, what it boots from, and what prevents a conversion.

    It shows the operating system, its boot disk, its drivers, its network, and concerns. It also shows which
    disk bus and NIC model work without a change, and what a conversion would change. Name all disks of the VM
    together.

    The disks are only read. The command needs libguestfs: a small VM reads the file systems.
    """
    images = _images(paths, disk_format)  # `qemu.info` refuses those that refer to other files
    sizes = [qemu.info(image.path, image.format).virtual_size for image in images]
    stop = Stop()
    try:
        with _signals(stop), temporary_folder() as temp, _Progress() as progress:
            folder = temp.path / "run"
            folder.mkdir()
            facts = run.read_facts(images, folder, report=progress.show, stop=stop, seconds=timeout)
    except Stopped:
        print_error("stopped")
        return Exit.STOPPED if stop.signal == signal.SIGTERM else INTERRUPTED
    disks = [
        DiskFile(device=device, name=image.path.name, format=image.format, size=size)
        for device, image, size in zip(facts.devices, images, sizes, strict=False)
    ]
    guest = judged(facts, disks)
    if output is OutputFormat.TABLE:
        write(guest_view.render(guest))
    else:
        dump(guest.model_dump(by_alias=True, mode="json"), output)
    return Exit.DONE


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM set the flag, so that the inspection ends in order."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop.on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def require_tools(plans: Iterable[Plan]) -> None:
    """Refuse imports that ask for an inspection or adaptation where it is not possible, before any change.

    Raises:
        StepError: INVALID.
    """
    plans = list(plans)
    if any(plan.guest.inspect for plan in plans):
        run.require()
    if any(plan.guest.adapt is not Adapt.NEVER for plan in plans):
        v2v.require()
    for plan in plans:
        if plan.guest.virtio_win and plan.guest.adapt is not Adapt.NEVER:
            v2v.require_windows(Path(plan.guest.virtio_win))


class _Progress(contextlib.AbstractContextManager["_Progress"]):
    """A moving line on a terminal, a line for each step elsewhere."""

    def __init__(self) -> None:
        self._status = err.status("") if err.is_terminal else None

    def show(self, done: int, total: int, text: str) -> None:
        line = f"{text} ({done + 1} of {total})" if total > 1 else text
        if self._status is not None:
            self._status.update(escape(line))
            self._status.start()
        else:
            err.print(line, markup=False, highlight=False, soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()


def _images(paths: Sequence[Path], disk_format: str | None) -> list[DiskImage]:
    """The disks to inspect, each of a known format.

    Raises:
        StepError: NOT_FOUND, INVALID, BUSY, UNSUPPORTED.
    """
    if disk_format is not None and disk_format not in FORMATS.values():
        known = ", ".join(sorted(set(FORMATS.values())))
        raise StepError(Exit.INVALID, f"unknown format {disk_format!r}", remedy=f"use one of {known}")
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise StepError(
            Exit.INVALID, f"{folders[0]} is a folder", "a folder has all disks of a VM", "name it alone"
        )
    images = list(_of_folder(folders[0])) if folders else [_of_file(path, disk_format) for path in paths]
    if len(images) > MOST_DISKS:
        raise StepError(
            Exit.UNSUPPORTED, f"{len(images)} disks are too many", f"at most {MOST_DISKS} can be inspected"
        )
    return images


def _of_file(path: Path, disk_format: str | None) -> DiskImage:
    if not path.exists():
        raise StepError(Exit.NOT_FOUND, f"there is no file {path}")
    chosen = disk_format or FORMATS.get(path.suffix.lower())
    if chosen is None and path.is_block_device():
        chosen = "raw"
    if chosen is None:
        raise StepError(
            Exit.INVALID,
            f"the format of {path.name} is not known",
            "vmferry takes it from the ending of the name, never from the content, which the guest can write",
            "name it with --format",
        )
    if chosen == "raw" and disk_format is None and (found := guess(qemu.read_head(path, "raw", HEAD_BYTES))):
        raise StepError(
            Exit.INVALID,
            f"{path.name} is named like a raw disk, but begins like {found.format}",
            remedy=f"use --format {found.format}, or --format raw if the guest itself wrote these bytes",
        )
    return DiskImage(path, chosen)


def _of_folder(folder: Path) -> Iterator[DiskImage]:
    """The disks of an import: those in its folder, or those on scratch that wait for the target."""
    rundir = RunDir(folder)
    rundir.require_import()
    if rundir.is_running():
        raise StepError(Exit.BUSY, f"an import runs in {folder}", remedy="wait for its end")
    found = [
        DiskImage(Path(path), FORMATS.get(Path(path).suffix, "raw")) for path in rundir.published_disks()
    ]
    if not found:
        for note in sorted((rundir.notes / "scratch").glob("disk-*/ready.json")):
            one = Ready.load(note)
            found.append(DiskImage(note.parent / one.file, str(one.format)))
    if not found:
        raise StepError(
            Exit.NOT_FOUND,
            f"there is no complete disk in {folder}",
            remedy=f"see `vmferry status {folder}`; `vmferry retry {folder}` resumes the import",
        )
    yield from sorted(found, key=lambda image: _number(image.path))


def _number(path: Path) -> tuple[int, ...]:
    """The number of a disk in the path of its file: `disk-10` is behind `disk-2`."""
    return tuple(
        int(number) for number in re.findall(r"disk-([0-9]{1,3})", f"{path.parent.name}/{path.name}")
    )


def register() -> None:
    """Add the command to the application."""
    command(
        epilog="Examples: vmferry inspect disk.qcow2 · vmferry inspect system.vmdk data.vmdk -o json · "
        "vmferry inspect ./alpine · vmferry inspect --format qcow2 cloud.img",
    )(inspect)
