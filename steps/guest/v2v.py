"""Runs virt-v2v-in-place over the overlays of a VM's disks: starts it, follows it, bounds it, ends all of it.

The guest's own programs run inside the appliance: its package manager, its tools for the initramfs. So the
appliance gets no network.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from steps.guest import supervise
from steps.guest.run import KVM, MEMORY_MIB, NO_KVM, SETTINGS_ENV
from steps.model import conversion
from steps.model.adapting import NotAdaptableError
from steps.model.contract import Exit, StepError
from steps.model.conversion import Message, clean
from steps.model.guest import GuestSystem
from steps.runtime.stop import Stop

SECONDS: Final = 7200.0
"""How long a conversion may take. Without KVM one of an ordinary Linux takes 100 s of a processor."""
SILENCE: Final = 1800.0
"""Seconds without a message after which it counts as hanging."""
LARGEST_FILE: Final = 8 << 30
"""Bytes of an overlay: a conversion writes 80 MB, and a hostile guest shall not fill the file system."""
MOST_MESSAGES: Final = 4 << 20
"""Bytes of messages that are read."""
PACKAGES: Final = "virt-v2v nbdkit qemu-utils"
PROGRAMS: Final = (conversion.PROGRAM, "nbdkit", "qemu-nbd")
QEMU: Final = ("qemu-system-x86_64", "qemu-kvm", "/usr/libexec/qemu-kvm")
HV_ENV: Final = "LIBGUESTFS_HV"
TOOLS_ENV: Final = "VIRT_TOOLS_DATA_DIR"
TOOLS: Final = Path("/usr/share/virt-tools")
MOST_FILES: Final = 20_000
"""Files of virtio-win that are looked at."""
_TAIL: Final = 4000
_PATIENCE: Final = 25.0
"""Seconds that the supervisor has to end everything."""
_TICK: Final = 0.5
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Conversion:
    """What is converted. `root` is the device of the system; `keys` are files with passphrases, by device."""

    overlays: Sequence[Path]
    root: str
    keys: Mapping[str, Path]
    mac_rows: Sequence[str] = ()
    virtio_win: str = ""


@dataclass(frozen=True)
class Converted:
    """The result: the version of virt-v2v, and its warnings."""

    version: str
    warnings: tuple[str, ...]


def require() -> None:
    """Raise StepError (INVALID) if a program is missing. It does not start the appliance."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise StepError(
            Exit.INVALID,
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            "a guest is converted by virt-v2v",
            f"as root, run: apt-get install {PACKAGES}",
        )


def require_drivers(virtio_win: Path, system: GuestSystem) -> None:
    """Raise NotAdaptableError (INVALID) if a folder with virtio-win has no drivers for this Windows.

    virt-v2v would only warn, and remove VMware Tools all the same. What an ISO image has is read back later.
    """
    if not virtio_win.is_dir():
        return
    files = islice(
        (str(path.relative_to(virtio_win)) for path in virtio_win.rglob("*.[iI][nN][fF]")), MOST_FILES
    )
    major, _, minor = system.release.partition(".")
    if not conversion.has_drivers(files, int(major or 0), int(minor or 0)):
        raise NotAdaptableError(
            Exit.INVALID,
            f"{system.product} cannot be converted",
            f"{virtio_win} has no viostor for this version of Windows",
            "give a virtio-win that has it",
            reason="guest-no-windows-drivers",
        )


def require_windows(virtio_win: Path) -> None:
    """Raise StepError (INVALID) if what every Windows needs is missing."""
    if not virtio_win.exists():
        raise StepError(
            Exit.INVALID,
            f"there is no virtio-win at {virtio_win}",
            remedy="name its folder or its ISO image with --virtio-win",
        )
    folder = Path(os.environ.get(TOOLS_ENV) or TOOLS)
    if not any((folder / name).exists() for name in ("rhsrvany.exe", "pvvxsvc.exe")):
        raise StepError(
            Exit.INVALID,
            f"{folder} has neither rhsrvany.exe nor pvvxsvc.exe",
            "Windows runs the scripts of its first start with it",
            f"install rhsrvany, or name its folder with {TOOLS_ENV}",
        )


def convert(
    order: Conversion, folder: Path, *, report: Report, stop: Stop, seconds: float = SECONDS
) -> Converted:
    """Convert the guest on the overlays. `folder` is an empty, private folder for the time.

    Raises:
        NotAdaptableError: the guest is the cause.
        StepError: INVALID, NO_SPACE, INTERNAL.
        Stopped: likewise. In all cases nothing of it runs any more.
    """
    require()
    end = time.monotonic() + seconds
    first: Mapping[str, str] = {}
    try:
        return _attempt(order, folder / "1", first, report, stop, end)
    except StepError as error:
        kvm = NO_KVM not in os.environ.get(SETTINGS_ENV, "") and KVM.exists()
        if not kvm or not conversion.LAUNCH.search(error.why):
            raise
    # A started appliance has written nothing that a second attempt would not write again.
    report(0, "KVM does not work here; starting again with an emulated processor, which is slower")
    return _attempt(order, folder / "2", {SETTINGS_ENV: NO_KVM}, report, stop, end)


def _attempt(
    order: Conversion, folder: Path, settings: Mapping[str, str], report: Report, stop: Stop, end: float
) -> Converted:
    folder.mkdir(mode=0o700)
    (folder / "tmp").mkdir()
    description, messages, words = folder / "guest.xml", folder / "messages", folder / "words"
    description.write_text(conversion.domain(order.overlays))
    messages.touch()
    argv = conversion.command(description, messages, order.root, order.keys, order.mac_rows)
    found: list[Message] = []
    with (
        words.open("wb") as log,
        _running(argv, log.fileno(), _environment(order, folder, settings)) as process,
    ):
        for message in _followed(process, messages, stop, end):
            if len(found) < conversion.MOST or message.type == "error":
                found = [*found, message][-2 * conversion.MOST :]
            if (step := conversion.progress(message)) is not None:
                report(step[0] / 100, step[1])
        code = process.wait()
    if code:
        raise conversion.failure([one.text for one in found if one.type == "error"], _tail(words), code)
    return Converted(_version(), tuple(one.text for one in found if one.type == "warning")[:64])


def _followed(process: subprocess.Popen[bytes], messages: Path, stop: Stop, end: float) -> Iterator[Message]:
    """The messages as they come, until the program has ended."""
    rest, last, total = b"", time.monotonic(), 0
    with messages.open("rb") as file:
        while True:
            has_ended = process.poll() is not None
            stop.check()
            chunk = file.read(64 << 10)
            total += len(chunk)
            if total > MOST_MESSAGES:
                raise _hanging("it writes messages without end")
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                last = time.monotonic()
                if (message := conversion.parsed(line.decode(errors="replace"))) is not None:
                    yield message
            if chunk:
                continue
            if has_ended:
                return
            now = time.monotonic()
            if now > end or now - last > SILENCE:
                raise _hanging(
                    "it did not end in time" if now > end else "it has said nothing for half an hour"
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TICK)


def _hanging(why: str) -> StepError:
    return StepError(
        Exit.INTERNAL,
        "the conversion of the guest was ended",
        why,
        "the disks are as they landed; try again, or import them with spec.guest.adapt: never",
    )


@contextlib.contextmanager
def _running(argv: Sequence[str], log: int, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(supervise.__file__)), *argv],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=env,
        start_new_session=True,
        preexec_fn=_limit,  # noqa: PLW1509 - it calls only setrlimit
    )
    try:
        yield process
    finally:
        assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
        process.stdin.close()  # the order to end
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _limit() -> None:
    """Between fork and exec: leave no memory dumps, fill no file system."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def _environment(order: Conversion, folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ours = {
        "LC_ALL": "C.UTF-8",
        "LIBGUESTFS_BACKEND": "direct",
        "TMPDIR": str(folder / "tmp"),
        HV_ENV: str(_hypervisor(folder, emulated=_is_emulated({**kept, **settings}))),
    }
    ours |= {} if kept.get("LIBGUESTFS_MEMSIZE") else {"LIBGUESTFS_MEMSIZE": str(MEMORY_MIB)}
    ours |= {"VIRTIO_WIN": order.virtio_win} if order.virtio_win else {}
    return {**kept, **ours, **settings}


def _is_emulated(env: Mapping[str, str]) -> bool:
    return NO_KVM in env.get(SETTINGS_ENV, "") or not KVM.exists()


def _hypervisor(folder: Path, *, emulated: bool) -> Path:
    """A program that starts QEMU, but with a network that leads nowhere (qemu(1), -netdev user,restrict=on).

    virt-v2v always asks for a network, and for all processors of the computer, and has no options against it.
    An emulated appliance gets one: with two it once stopped for ever when it trimmed a file system.
    """
    chosen = os.environ.get(HV_ENV) or next(
        (found for name in QEMU if (found := shutil.which(name))), QEMU[0]
    )
    path = folder / "qemu"
    one = '    [ "$before" != -smp ] || argument=1\n' if emulated else ""
    path.write_text(
        "#!/bin/sh\n"
        "before=\n"
        "for argument do\n"
        "    shift\n"
        '    case $argument in user,id=usernet*) argument="$argument,restrict=on" ;; esac\n'
        f"{one}"
        "    before=$argument\n"
        '    set -- "$@" "$argument"\n'
        "done\n"
        f'exec {shlex.quote(chosen)} "$@"\n'
    )
    path.chmod(0o700)
    return path


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read().decode(errors="replace")


def _version() -> str:
    ended = subprocess.run([conversion.PROGRAM, "--version"], capture_output=True, text=True, check=False)
    return clean(ended.stdout)[:100]
