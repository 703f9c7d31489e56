"""virt-v2v-in-place: its command line, its messages, and what they mean for us. Pure.

virt-v2v ends with code 1 for everything; only its messages differ. They are no interface, so they are all
here, and an unknown one is UNSUPPORTED with its text: a retry would give the same. The texts are those of
virt-v2v 2.2 and 2.6 (convert/*.ml, common/mltools/tools_utils.ml, common/options/decrypt.c).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import quoteattr

from steps.model.adapting import NotAdaptableError
from steps.model.contract import Exit, StepError
from steps.model.printable import printable

PROGRAM: Final = "virt-v2v-in-place"
LONGEST: Final = 500
"""Characters of a message."""
MOST: Final = 200
"""Messages of each type that are kept."""


@dataclass(frozen=True)
class Message:
    """A line of `--machine-readable=file:`, with the types message, info, warning and error."""

    type: str
    text: str


def parsed(line: str) -> Message | None:
    """A line; None for anything else that virt-v2v writes there."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("message"), str):
        return None
    return Message(str(found.get("type", ""))[:16], clean(found["message"]))


def clean(text: str) -> str:
    """A text of the guest or of virt-v2v on one line, without control characters."""
    return printable(" ".join(text.split())[:LONGEST], "?")


_WEIGHTS: Final = (
    ("opening the source", 0, "opening the disks"),
    ("inspecting the source", 15, "inspecting the guest"),
    ("checking for sufficient free", 24, "checking for free space"),
    ("converting", 25, "converting the guest"),
    ("mapping filesystem data", 92, "trimming the file systems"),
    ("closing the overlay", 96, "closing the disks"),
    ("finishing off", 99, "finishing"),
)
"""Known messages, with the percentage at which each came in measured conversions."""


def progress(message: Message) -> tuple[int, str] | None:
    """(percent, text for a person) of a known message; None for another."""
    lowered = message.text.lower()
    return next(((percent, text) for begin, percent, text in _WEIGHTS if lowered.startswith(begin)), None)


@dataclass(frozen=True)
class _Cause:
    pattern: str
    code: Exit
    what: str
    remedy: str = ""
    of_guest: bool = True
    """Whether the guest is the cause; else the computer is."""


_HIBERNATED: Final = "start it at its source and shut it down completely (Windows: shutdown /s /t 0)"
_CAUSES: Final = (
    _Cause(r"could not find key to open", Exit.DENIED, "the key does not open the guest's encrypted disk"),
    _Cause(
        r"could not read key from user",
        Exit.INVALID,
        "the guest's disk is encrypted, and there is no key for it",
    ),
    _Cause(
        r"mounted read-only, even though|unable to mount the disk image for writing",
        Exit.UNSUPPORTED,
        "the guest's file system must not be written: it is hibernated or was not unmounted",
        _HIBERNATED,
    ),
    _Cause(
        r"not enough (free space|available inodes) for conversion",
        Exit.NO_SPACE,
        "the guest has not enough free space for a conversion",
        "make room in the guest",
    ),
    _Cause(r"[mM]ulti-boot operating system", Exit.AMBIGUOUS, "there are several systems on the disks"),
    _Cause(r"no bootloader detected", Exit.UNSUPPORTED, "the guest has no boot loader that virt-v2v knows"),
    _Cause(
        r"inspection could not detect the source guest",
        Exit.UNSUPPORTED,
        "virt-v2v does not find a system that it knows",
    ),
    _Cause(r"unable to convert this guest type", Exit.UNSUPPORTED, "virt-v2v does not convert this system"),
    _Cause(
        r"rhsrvany|pvvxsvc",
        Exit.INVALID,
        "virt-v2v lacks rhsrvany, which runs scripts at the first start of Windows",
        "install rhsrvany, or name its folder with VIRT_TOOLS_DATA_DIR",
        of_guest=False,
    ),
    _Cause(
        r"insufficient free space in the conversion server",
        Exit.NO_SPACE,
        "virt-v2v has not enough room for its temporary files",
        "make 1 GiB of room there, or set LIBGUESTFS_CACHEDIR",
        of_guest=False,
    ),
    _Cause(
        r"No space left on device",
        Exit.NO_SPACE,
        "there is no room for the changes of the guest",
        of_guest=False,
    ),
    _Cause(
        r"nbdkit|qemu-nbd",
        Exit.INVALID,
        "virt-v2v cannot open the disks with nbdkit and qemu-nbd",
        "install nbdkit and qemu-utils",
        of_guest=False,
    ),
    _Cause(
        r"guestfs_launch|appliance closed the connection|appliance crashed|supermin|child process died",
        Exit.INTERNAL,
        "the appliance of libguestfs does not start or ended early",
        "vmferry retries; check with libguestfs-test-tool, and give it more memory",
        of_guest=False,
    ),
)
LAUNCH: Final = re.compile(r"guestfs_launch|appliance closed the connection unexpectedly")
"""The appliance did not start: with a KVM that does not work, emulation may help."""


def failure(errors: Sequence[str], stderr: str, code: int) -> StepError:
    """What a failed conversion means. `errors` are its messages of that type; the last one counts most."""
    texts = [*reversed(errors), clean(stderr[-4 * LONGEST :])]
    if code > 128:
        return StepError(
            Exit.INTERNAL, f"virt-v2v was killed by signal {code - 128}", texts[0], "vmferry retries it"
        )
    for text in texts:
        for cause in _CAUSES:
            if re.search(cause.pattern, text):
                return _made(cause, text)
    return NotAdaptableError(
        Exit.UNSUPPORTED,
        "virt-v2v cannot convert the guest",
        next(filter(None, texts), f"it ended with code {code} and without a message")[:LONGEST],
        reason="guest-conversion-failed",
    )


def _made(cause: _Cause, text: str) -> StepError:
    if cause.of_guest:
        return NotAdaptableError(
            cause.code, cause.what, text[:LONGEST], cause.remedy, reason="guest-conversion-failed"
        )
    return StepError(cause.code, cause.what, text[:LONGEST], cause.remedy)


def domain(disks: Sequence[Path]) -> str:
    """The description of the VM that virt-v2v reads: libvirt's XML with qcow2 disks.

    Nothing of the source is in it, not even its name, so there is nothing to escape but our own paths.
    """
    rows = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file={quoteattr(str(path.absolute()))}/>"
        f"<target dev='{_letters(number)}' bus='scsi'/></disk>"
        for number, path in enumerate(disks)
    )
    return (
        "<domain type='kvm'><name>guest</name><memory unit='MiB'>1024</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64'>hvm</type></os><features><acpi/></features>"
        f"<devices>{rows}</devices></domain>\n"
    )


def _letters(number: int) -> str:
    """Sda to sdz, then sdaa: the names that Linux gives to disks."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("a") + rest) + name
    return f"sd{name}"


def command(
    description: Path, messages: Path, root: str, keys: Mapping[str, Path], mac_rows: Iterable[str] = ()
) -> list[str]:
    """The command line. Keys are in files: a command line can be read by everyone on the computer."""
    argv = [
        PROGRAM,
        "-i",
        "libvirtxml",
        str(description),
        f"--machine-readable=file:{messages}",
        "--root",
        root,
    ]
    for device, file in keys.items():
        argv += ["--key", f"{device}:file:{file}"]
    for row in mac_rows:
        argv += ["--mac", row]
    return argv


# --- virtio-win

_FOLDERS: Final = {
    (6, 0): ("2k8",),
    (6, 1): ("w7", "2k8r2"),
    (6, 2): ("w8", "2k12"),
    (6, 3): ("w8.1", "2k12r2"),
    (10, 0): ("w10", "w11", "2k16", "2k19", "2k22", "2k25"),
}
"""Folders of virtio-win by the version of Windows."""


def has_drivers(paths: Iterable[str], major: int, minor: int) -> bool:
    """Whether a folder with virtio-win has `viostor` for a version of Windows. `paths` are relative to it."""
    wanted = _FOLDERS.get((major, minor), ())
    parts = ([part.lower() for part in path.split("/")] for path in paths)
    return any(one[-1] == "viostor.inf" and set(one) & set(wanted) for one in parts)
