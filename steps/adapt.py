"""adapt: change the guest on the disks so that it works in its new VM.

virt-v2v gives it drivers for virtio, and removes VMware's tools. vmferry itself binds the names of its NICs
to their MAC addresses, copies its EFI boot loader to where a firmware without boot entries looks, and adds
scripts for its first start. All of it happens on overlays. They are written into the disks when everything is
complete and was read back. Before that, the disks are as they landed, whatever happens. From then on, a retry
finishes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from steps.guest import v2v
from steps.guest.keys import files_of, key_files, read_keys
from steps.guest.overlays import Adaptation, GuestDisk
from steps.guest.run import DiskImage, EditFailedError, Edits, read_facts
from steps.inspect import disk_files
from steps.model import first_boot
from steps.model.adapted import ADAPTED, Adapted, Phase
from steps.model.adapting import NotAdaptableError, Work, decide, faults
from steps.model.concerns import warn
from steps.model.contract import Exit
from steps.model.first_boot import Script
from steps.model.guest import GUEST, Guest, GuestSystem
from steps.model.guest_judge import judged
from steps.model.machine import Concern
from steps.model.nic_names import RULES, link_path, link_text, udev_rule
from steps.model.plan import WhenNotAdaptable
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.progress import Progress

EPILOG: Final = """\
examples:
  python -m steps.adapt --disks /scratch
  python -m steps.adapt --disks /scratch --keys /run/keys --scripts /run/scripts

results among the outputs: adapted.json (what was done, two digests of each disk), guest.json (the guest as it
is now)
"""
_SHARES: Final = {"digest": (0, 5), "convert": (5, 70), "edit": (70, 90), "commit": (90, 100)}
"""Which part of the percentage each part of the work has."""


def arguments() -> Arguments:
    parser = Arguments("adapt", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--disks", type=Path, metavar="DIR", required=True, help="folder with the scratch folder of each disk"
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help="folder with a file for each key of LUKS")
    parser.add_argument(
        "--scripts", type=Path, metavar="DIR", help="folder with the scripts of the first start"
    )
    return parser


def body(context: Context) -> None:
    progress = Progress.from_environment()
    reporter = _Reporter(progress)
    disks = [GuestDisk.load(disk.id, context.arguments.disks / disk.id) for disk in context.machine().disks]
    adaptation = Adaptation(disks, reporter.part("commit"), context.stop)
    record = adaptation.begun()
    if record is not None:
        log.info(f"resuming the adaptation of an earlier attempt, which is {record.phase}")
        adapted, guest = adaptation.resume(record), record.guest
    else:
        adapted, guest = _adapt(context, adaptation, reporter)
    (guest or Guest.load(context.request / GUEST)).save(context.outputs / GUEST)
    adapted.save(context.outputs / ADAPTED)
    for line in adapted.done:
        log.info(line)
    for concern in adapted.concerns:
        log.info(f"{concern.severity}: {concern}", code=concern.code)
    progress.finish()


@dataclass(frozen=True)
class _Reporter:
    progress: Progress

    def part(self, name: str) -> Callable[[float, str], None]:
        """A function that reports a part of the work, whose share of the whole is in `_SHARES`."""
        begin, end = _SHARES[name]
        said: set[str] = set()

        def report(done: float, text: str) -> None:
            if text not in said:
                said.add(text)
                log.info(text)
            self.progress.update(round(begin + (end - begin) * min(1.0, done)), 100)

        return report


def _adapt(context: Context, adaptation: Adaptation, reporter: _Reporter) -> tuple[Adapted, Guest]:
    """Adapt the guest; without a change, where that is asked for or nothing is to be done.

    Raises:
        StepError: the disks are as they landed, or the record of the adaptation says `committing`.
    """
    guest = _inspected(context, adaptation)
    scripts = first_boot.scripts(
        {path.name: path.read_bytes() for path in files_of(context.arguments.scripts)}
    )
    try:
        work = decide(guest, context.plan(), context.machine(), scripts)
        if not work.is_needed:
            log.info(f"the guest is left as it is: {guest.verdict.text}")
            return Adapted(phase=Phase.DONE, concerns=work.concerns), guest
        return _change(context, adaptation, reporter, guest, work)
    except NotAdaptableError as error:
        if context.plan().guest.when_not_adaptable is not WhenNotAdaptable.CONTINUE:
            raise
        log.warning(f"the disks are handed on unchanged: {error.what}: {error.why}")
        return Adapted(phase=Phase.DONE, concerns=(_not_adapted(error),)), guest


def _inspected(context: Context, adaptation: Adaptation) -> Guest:
    """The result of the inspection. If keys were missing then, and are given now, it is repeated."""
    guest = Guest.load(context.request / GUEST)
    keys = read_keys(context.arguments.keys)
    if not keys or guest.verdict.reason not in ("guest-locked", "guest-wrong-key"):
        return guest
    images = [DiskImage(disk.path, str(disk.ready.format)) for disk in adaptation.disks]
    with tempfile.TemporaryDirectory() as folder:
        facts = read_facts(
            images,
            Path(folder),
            report=lambda _done, _total, text: log.info(text),
            stop=context.stop,
            keys=keys,
        )
    files = disk_files(context.machine(), images, facts.devices)
    return judged(facts, files, context.plan().guest.root)


def _not_adapted(error: NotAdaptableError) -> Concern:
    return warn(
        "guest-not-adapted",
        f"the guest was not adapted, and its disks are as they landed: {error.why or error.what}",
        error.own_remedy or "choose a bus and a NIC model that it has drivers for",
    )


def _change(
    context: Context, adaptation: Adaptation, reporter: _Reporter, guest: Guest, work: Work
) -> tuple[Adapted, Guest]:
    system = guest.system
    assert system is not None  # noqa: S101 - `decide` refuses a guest without one
    digests = adaptation.landed_digests(reporter.part("digest"))
    keys = read_keys(context.arguments.keys)
    overlays = adaptation.create()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            converted = None
            if work.convert:
                order = v2v.Conversion(
                    overlays=overlays,
                    root=system.root,
                    keys=key_files(guest, keys, folder),
                    mac_rows=work.mac_rows,
                    virtio_win=context.plan().guest.virtio_win,
                )
                if system.family == "windows":
                    v2v.require_windows(Path(order.virtio_win))
                    v2v.require_drivers(Path(order.virtio_win), system)
                report = reporter.part("convert")
                converted = v2v.convert(order, folder, report=report, stop=context.stop)
            after = _edited(context, reporter, adaptation.disks, folder, keys, system, work)
    except BaseException:
        adaptation.discard()
        raise
    if wrong := faults(after, work):
        adaptation.discard()
        raise NotAdaptableError(
            Exit.CORRUPT,
            "the guest is not as it should be after its adaptation",
            "; ".join(wrong),
            reason="guest-not-as-claimed",
        )
    result = Adapted(
        phase=Phase.COMMITTING,
        converted_by=converted.version if converted else "",
        done=tuple(_done(guest, after, work)),
        warnings=converted.warnings if converted else (),
        concerns=work.concerns,
        guest=after,
    )
    return adaptation.commit(result, digests), after


def _edited(
    context: Context,
    reporter: _Reporter,
    disks: Sequence[GuestDisk],
    folder: Path,
    keys: dict[str, str],
    system: GuestSystem,
    work: Work,
) -> Guest:
    """Make our own changes, and read the guest back from the overlays."""
    machine, part = context.machine(), reporter.part("edit")
    images = [DiskImage(disk.overlay, "qcow2") for disk in disks]
    (folder / "edit").mkdir()
    try:
        facts = read_facts(
            images,
            folder / "edit",
            report=lambda done, total, text: part(done / max(1, total), text),
            stop=context.stop,
            keys=keys,
            edits=_edits(system, work),
        )
    except EditFailedError as error:
        raise NotAdaptableError(error.code, error.what, error.why, reason="guest-not-writable") from error
    landed = [DiskImage(disk.path, str(disk.ready.format)) for disk in disks]
    return judged(facts, disk_files(machine, landed, facts.devices), system.root)


def _edits(system: GuestSystem, work: Work) -> Edits:
    is_windows = system.family == "windows"
    files = list(_files(work, is_windows=is_windows))
    links = (
        []
        if not system.has_systemd
        else [(link_path(pair.name), link_text(pair).encode(), 0o644) for pair in work.naming.pairs]
    )
    lines = [] if system.has_systemd else [(RULES, udev_rule(pair)) for pair in work.naming.pairs]
    starts = not is_windows and bool(work.scripts or work.agent)
    return Edits(
        root=system.root,
        files=[*files, *links],
        lines=lines,
        links=[(first_boot.WANTED_BY, first_boot.UNIT)] if starts else [],
        esp=work.loader.esp if work.loader else "",
        copies=work.loader.copies if work.loader else (),
    )


def _files(work: Work, *, is_windows: bool) -> Iterable[tuple[str, bytes, int]]:
    scripts: Sequence[Script] = work.scripts
    if is_windows:
        return first_boot.windows_files(scripts)
    return first_boot.linux_files(scripts, agent=work.agent) if scripts or work.agent else ()


def _done(before: Guest, after: Guest, work: Work) -> Iterator[str]:
    """What was changed, in sentences; what virt-v2v did is read back, not believed."""
    if work.convert:
        yield from _drivers(before, after)
    tools = {"open_vm_tools": "open-vm-tools", "vmware_tools": "VMware Tools"}
    had = set(before.system.agents if before.system else ())
    gone = had - set(after.system.agents if after.system else ())
    for name in sorted(gone & set(tools)):
        yield f"{tools[name]} was removed"
    for pair, how in zip(work.naming.pairs, work.naming.how, strict=True):
        yield f"{pair.name} is bound to {pair.mac}, which is known by {how}"
    if work.loader:
        yield f"{work.loader.copies[0][0]} is also the boot loader for firmware without boot entries"
    for row in work.mac_rows:
        yield f"Windows sets its address at its first start: {row}"
    if work.agent:
        yield "qemu-guest-agent is installed at the first start, if the guest reaches its repositories"
    for script in work.scripts:
        yield f"{script.name} runs at the first start"


def _drivers(before: Guest, after: Guest) -> Iterator[str]:
    had = {bus.name for bus in before.disk_buses}
    gained = [bus for bus in after.disk_buses if bus.name not in had]
    if gained:
        yield f"the guest boots from {' and '.join(bus.name for bus in gained)} now: {gained[0].why}"
    else:
        yield "virt-v2v converted the guest, which had its drivers already"


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
