"""The serial console of a guest: cleaned, cut, and read for signs of how far the boot came. Pure.

The guest is foreign: it may write gigabytes, control sequences for a terminal, or the signs themselves. The
signs decide only about the import of that guest. What was measured is in docs/explanation/boot-check.md.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from steps.model.printable import escaped

MOST_LINES: Final = 200
LONGEST_LINE: Final = 500
"""Characters of a line. A guest may write a line without an end."""
LONGEST_TEXT: Final = 32 << 10
"""Characters of the cleaned text: its end is kept."""
LONGEST_QUOTE: Final = 300
"""Characters of the quote in a status."""
QUOTED_LINES: Final = 3

_ESCAPE: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)?|[@-Z\\^_]|[ -/][0-~])"
)
"""Control sequences of a terminal: CSI, OSC, and those of two or three characters (ECMA-48)."""


class Sign(NamedTuple):
    """A text that shows a state of the boot."""

    name: str
    """For a person, as the end of `the guest stopped in …`."""
    pattern: re.Pattern[str]


BAD: Final = (
    Sign("the initramfs: its root file system was not found", re.compile(r"ALERT! .{0,200} does not exist")),
    Sign("a shell of the initramfs", re.compile(r"^\(initramfs\)", re.MULTILINE)),
    Sign(
        "dracut, which waits for a device that does not appear",
        re.compile(r"dracut-initqueue.{0,80} timeout|^dracut:.{0,40}#|Entering emergency mode", re.MULTILINE),
    ),
    Sign(
        "the emergency mode of systemd",
        re.compile(r"You are in emergency mode|Cannot open access to console, the root account is locked"),
    ),
    Sign("a kernel panic", re.compile(r"Kernel panic - not syncing")),
    Sign("the EFI shell", re.compile(r"^Shell> ?$|UEFI Interactive Shell", re.MULTILINE)),
    Sign("the firmware: it found nothing to boot", re.compile(r"No bootable (?:device|option)")),
    Sign("the boot loader", re.compile(r"^grub(?: rescue)?> ?$", re.MULTILINE)),
)
GOOD: Final = re.compile(
    r"^[^\s]{1,64} login: ?$|Reached target .{0,40}(?:Multi-User|Graphical)|systemd\[1\]: Startup finished",
    re.MULTILINE,
)
"""Signs of a guest that has booted. They also end what an earlier boot of the same VM had written."""
_AGAIN: Final = re.compile(r"^(?:\[[ 0-9.]+\] )?Linux version ", re.MULTILINE)
"""A kernel begins: what came before belongs to an earlier boot."""


class ConsoleState(NamedTuple):
    """What the end of a console says."""

    trouble: str = ""
    """The newest bad sign of the last boot; empty without one."""
    booted: bool = False
    """Whether a login prompt, or a reached target, is newer than any bad sign."""
    panics: int = 0
    """How often a bad sign was written, in all boots of this text."""
    fingerprint: str = ""
    """The same for the same text."""


def cleaned(raw: str) -> str:
    """The end of a console as plain text: at most `MOST_LINES` lines and `LONGEST_TEXT` characters.

    Control sequences are left out, and other characters that are not printable become escapes.
    """
    text = _ESCAPE.sub("", raw[-8 * LONGEST_TEXT :]).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()][-MOST_LINES:]
    kept = "\n".join(_line(line) for line in lines)
    return kept[-LONGEST_TEXT:]


def state_of(text: str) -> ConsoleState:
    """What a cleaned console says about the boot."""
    bad = [(found.start(), sign.name) for sign in BAD for found in sign.pattern.finditer(text)]
    good = max((found.start() for found in GOOD.finditer(text)), default=-1)
    again = max((found.start() for found in _AGAIN.finditer(text)), default=-1)
    at, name = max(bad, default=(-1, ""))
    return ConsoleState(
        trouble=name if at > max(good, again) else "",
        booted=good > max(at, again),
        panics=len(bad) if at > good else 0,
        fingerprint=hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16],
    )


def quote(text: str) -> str:
    """The last lines of a cleaned console as one short line for a message."""
    lines = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
    joined = " / ".join(lines[-QUOTED_LINES:])
    return joined if len(joined) <= LONGEST_QUOTE else f"…{joined[1 - LONGEST_QUOTE :]}"


def _line(line: str) -> str:
    cut = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"
    return escaped(cut.replace("\t", " "))
