"""export: copy one disk from the source, in one pass, in the format that the target gets.

With a plan it uses the source's provider; with `--url` it reads the bytes from that URL and needs neither
plan nor cluster.
"""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from steps.disk.follow import following
from steps.disk.land import Landed, Source, land
from steps.disk.volume import Place, Volume
from steps.model import scratch
from steps.model.contract import VOLUME, Exit, StepError
from steps.model.machine import Disk
from steps.model.mapping import disk_way
from steps.model.plan import DiskFormat, DiskWay, Plan
from steps.providers import Provider
from steps.providers.outage import with_source
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.progress import Progress

EPILOG = """\
examples:
  python -m steps.export --disk disk-0
  python -m steps.export --url https://host/disk.vmdk --ca ca.pem --format qcow2 --out disk.qcow2
  python -m steps.export --url https://host/machine.ova --offset 1536 --length 73400320 \\
      --format raw --out disk.raw
"""


def arguments() -> Arguments:
    parser = Arguments("export", __doc__ or "", epilog=EPILOG)
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--disk", help="id of the disk in the plan, such as disk-0")
    inputs.add_argument("--url", help="read the disk from this URL instead: http, https or file")
    standalone = parser.add_argument_group("with --url")
    standalone.add_argument(
        "--ca", type=Path, metavar="FILE", help="certificates to trust instead of the system's"
    )
    standalone.add_argument(
        "--offset", type=int, default=0, metavar="N", help="first byte of the disk in the URL's body"
    )
    standalone.add_argument("--length", type=int, metavar="N", help="number of bytes of the disk in it")
    standalone.add_argument("--source-format", choices=["auto", "vmdk", "raw", "qcow2"], default="auto")
    standalone.add_argument(
        "--format", choices=[str(item) for item in DiskFormat], default=str(DiskFormat.QCOW2)
    )
    standalone.add_argument("--out", type=Path, metavar="FILE", help="output file")
    return parser


def body(context: Context) -> None:
    options = context.arguments
    landed = export_url(context, options) if options.url else export_planned(context, options.disk)
    log.info(
        "disk landed",
        file=str(landed.path),
        format=landed.format,
        virtual_size=landed.virtual_size,
        source_bytes=landed.source_bytes,
        resumed_at=landed.resumed_at,
    )


def landing_place(context: Context, plan: Plan, disk: Disk) -> tuple[Place, DiskFormat]:
    """Where a disk lands, and in which format: on scratch, or raw on the volume that it will live on."""
    if disk_way(disk, plan.target) is DiskWay.LAND:
        return Volume.at(VOLUME, context.scratch), DiskFormat.RAW
    return scratch.landing(context.scratch, plan.target.format), plan.target.format


def export_planned(context: Context, disk_id: str) -> Landed:
    """Export a disk of the plan's VM to scratch, or to its volume."""
    plan, machine = context.plan(), context.machine()
    disk = machine.disk(disk_id)
    progress = Progress.from_environment(disk.allocated or disk.capacity)
    out, disk_format = landing_place(context, plan, disk)

    def export(provider: Provider) -> Landed:
        return provider.export(machine, disk, out, disk_format, progress.update)

    with following(out) if isinstance(out, Volume) else nullcontext():
        landed = with_source(context, f"export-{disk_id}", export, done=lambda: progress.done)
    progress.finish()
    return landed


def export_url(context: Context, options: argparse.Namespace) -> Landed:
    """Export the disk at a URL."""
    if options.out is None:
        raise StepError(Exit.INVALID, "--url needs --out", remedy="give the output file with --out")
    source = Source(
        url=options.url,
        tls=ssl.create_default_context(cafile=options.ca) if options.url.startswith("https:") else None,
        offset=options.offset,
        length=options.length,
        format=options.source_format,
        identity=f"{options.url} {options.offset} {options.length}",
    )
    progress = Progress.from_environment()
    landed = land(
        source, options.out, format=options.format, capacity=None, report=progress.update, stop=context.stop
    )
    progress.finish()
    return landed


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
