"""inspect: look into the disks of the VM, before they are handed on. It only reads.

It needs all disks together: a system may be on several of them. It finds the operating system, its drivers,
what is encrypted, and what prevents a conversion. The result is `guest.json`, with concerns. A
guest that must be left alone does not end the import.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from steps.guest.run import DiskImage, read_facts
from steps.model import scratch
from steps.model.guest import GUEST, DiskFile
from steps.model.guest_judge import judged
from steps.model.machine import Machine
from steps.model.scratch import Ready
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.progress import Progress

EPILOG: Final = """\
examples:
  python -m steps.inspect --disks /scratch

result among the outputs: guest.json (system, drivers, verdict, concerns)
"""


def arguments() -> Arguments:
    parser = Arguments("inspect", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--disks", type=Path, metavar="DIR", required=True, help="folder with the scratch folder of each disk"
    )
    return parser


def body(context: Context) -> None:
    progress = Progress.from_environment()

    def report(done: int, total: int, text: str) -> None:
        log.info(text)
        progress.update(done, total)

    machine = context.machine()
    images = _images(machine, context.arguments.disks)
    with tempfile.TemporaryDirectory() as folder:
        facts = read_facts(images, Path(folder), report=report, stop=context.stop)
    guest = judged(facts, _files(machine, images, facts.devices))
    guest.save(context.outputs / GUEST)
    log.info(f"verdict {guest.verdict.answer}: {guest.verdict.text}")
    for concern in guest.concerns:
        log.info(f"{concern.severity}: {concern}", code=concern.code)
    progress.finish()


def _images(machine: Machine, disks: Path) -> list[DiskImage]:
    """The disks as convert has checked them, in the order of the VM.

    Raises:
        StepError: INVALID, if one was not checked.
    """
    ready = [(disks / disk.id, Ready.load(scratch.ready(disks / disk.id))) for disk in machine.disks]
    return [DiskImage(folder / one.file, str(one.format)) for folder, one in ready]


def _files(machine: Machine, images: Sequence[DiskImage], devices: Sequence[str]) -> list[DiskFile]:
    rows = zip(machine.disks, images, devices, strict=False)
    return [
        DiskFile(device=device, name=disk.id, format=image.format, size=disk.capacity)
        for disk, image, device in rows
    ]


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
