"""inspect: look into the disks of the VM, before they are handed on. It only reads.

It needs all disks together: a system may be on several of them. It finds the operating system, its drivers,
what is encrypted, and what prevents a conversion. The result is `guest.json`, with concerns. A
guest that must be left alone does not end the import. If nobody asked for the inspection, as it is a default,
nor does an inspection that fails.

A disk that landed on its volume is read there. A retry may find that an earlier Workflow has handed over a
volume. Then no pod here can mount it, and the result is the one that is among the records of the landing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from steps.disk import qemu
from steps.disk.volume import RAW, Volume
from steps.guest.keys import read_keys
from steps.guest.run import DiskImage, read_facts
from steps.model import scratch
from steps.model.concerns import warn
from steps.model.contract import StepError
from steps.model.document import write_atomically
from steps.model.guest import GUEST, Answer, DiskFile, Guest, Verdict
from steps.model.guest_judge import judged
from steps.model.guest_output import GUEST_OUTPUT, NOT_INSPECTED, to_output
from steps.model.machine import Disk, Machine
from steps.model.mapping import disk_way
from steps.model.plan import DiskWay, Plan
from steps.model.scratch import Ready
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.progress import Progress

EPILOG: Final = """\
examples:
  python -m steps.inspect --disks /scratch
  python -m steps.inspect --disks /scratch --volumes /volumes
  python -m steps.inspect --disks /scratch --keys /run/keys

results among the outputs: guest.json (system, drivers, verdict, concerns), guest (the same for a Workflow)
"""


def arguments() -> Arguments:
    parser = Arguments("inspect", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--disks", type=Path, metavar="DIR", required=True, help="folder with the scratch folder of each disk"
    )
    parser.add_argument(
        "--volumes",
        type=Path,
        metavar="DIR",
        help="folder with the volume of each disk that landed on one: a folder, or a block device",
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help="folder with a file for each key of LUKS")
    parser.add_argument("--scripts", type=Path, metavar="DIR", help="not used: only adapt installs scripts")
    return parser


def body(context: Context) -> None:
    progress = Progress.from_environment()
    plan, machine = context.plan(), context.machine()
    disks = DiskFolders(plan, machine, context.arguments.disks, context.arguments.volumes)
    try:
        guest = disks.earlier_result() if disks.is_handed_over() else _inspected(context, disks, progress)
        text = to_output(guest)
    except StepError as error:
        if not plan.guest.optional:
            raise
        log.warning(f"the import continues without an inspection: {error}")
        guest = not_inspected(str(error))
        text = to_output(guest)
    guest.save(context.outputs / GUEST)
    write_atomically(context.outputs / GUEST_OUTPUT, text)
    disks.record(guest)
    log.info(f"verdict {guest.verdict.answer}: {guest.verdict.text}")
    for concern in guest.concerns:
        log.info(f"{concern.severity}: {concern}", code=concern.code)
    progress.finish()


def _inspected(context: Context, disks: DiskFolders, progress: Progress) -> Guest:
    def report(done: int, total: int, text: str) -> None:
        log.info(text)
        progress.update(done, total)

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sized:
        images = disks.images(Path(sized))
        keys = read_keys(context.arguments.keys)
        facts = read_facts(images, Path(folder), report=report, stop=context.stop, keys=keys)
    files = disk_files(disks.machine, images, facts.devices)
    return judged(facts, files, context.plan().guest.root)


def not_inspected(why: str) -> Guest:
    """The document of disks that were not looked into."""
    concern = warn(
        "guest-not-inspected",
        f"vmferry could not look into the disks: {why}",
        "buses and NIC models are those of the source; spec.guest.inspect: false omits the inspection",
    )
    verdict = Verdict(answer=Answer.LEAVE, reason=NOT_INSPECTED, text="the disks were not looked into")
    return Guest(verdict=verdict, concerns=(concern,))


class DiskFolders:
    """The disks of a VM, as they are mounted: scratch in `disks`, landed ones in `volumes`, by their ids."""

    def __init__(self, plan: Plan, machine: Machine, disks: Path, volumes: Path | None) -> None:
        self.machine = machine
        self._target = plan.target
        self._disks = disks
        self._volumes = volumes

    def is_handed_over(self) -> bool:
        """Whether the volume of a disk is missing, because an earlier Workflow has handed it over."""
        return any(not self._volume(disk).exists() for disk in self._landed())

    def earlier_result(self) -> Guest:
        """What the earlier Workflow has found; if it did not look into the disks, that they were not."""
        records = self._records()
        if records is not None and records.exists():
            log.info("the disks were handed over by an earlier Workflow, which has inspected them")
            return Guest.load(records)
        return not_inspected("a disk was handed over by an earlier Workflow, which did not inspect it")

    def record(self, guest: Guest) -> None:
        """Keep the result with the records of the landing, which outlive a hand-over."""
        records = self._records()
        if records is not None:
            guest.save(records)

    def images(self, folder: Path) -> list[DiskImage]:
        """The disks as convert has checked them, in the order of the VM. `folder` is for temporary files.

        Raises:
            StepError: INVALID, if one was not checked.
        """
        return [self._image(disk, folder) for disk in self.machine.disks]

    def _image(self, disk: Disk, folder: Path) -> DiskImage:
        notes = self._disks / disk.id
        if not self._lands(disk):
            ready = Ready.load(scratch.ready(notes))
            return DiskImage(notes / ready.file, str(ready.format))
        volume = Volume.at(self._volume(disk), notes)
        if volume.is_device and _size(volume.disk) != disk.capacity:
            # Where a disk ends is where its second partition table is.
            sized = folder / f"{disk.id}.qcow2"
            qemu.cover(volume.disk, RAW, sized, disk.capacity)
            return DiskImage(sized, "qcow2")
        return DiskImage(volume.disk, RAW)

    def _records(self) -> Path | None:
        first = next(iter(self._landed()), None)
        return self._disks / first.id / GUEST if first is not None else None

    def _landed(self) -> list[Disk]:
        return [disk for disk in self.machine.disks if self._lands(disk)]

    def _lands(self, disk: Disk) -> bool:
        return self._volumes is not None and disk_way(disk, self._target) is DiskWay.LAND

    def _volume(self, disk: Disk) -> Path:
        assert self._volumes is not None  # noqa: S101 - asked only for disks that land
        return self._volumes / disk.id


def _size(device: Path) -> int:
    with device.open("rb") as opened:
        return opened.seek(0, os.SEEK_END)


def disk_files(machine: Machine, images: Sequence[DiskImage], devices: Sequence[str]) -> list[DiskFile]:
    """The inspected files, with the names of their devices."""
    rows = zip(machine.disks, images, devices, strict=False)
    return [
        DiskFile(device=device, name=disk.id, format=image.format, size=disk.capacity)
        for disk, image, device in rows
    ]


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
