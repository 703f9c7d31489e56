"""A packed text that passes through a log, in numbered lines. Pure.

A termination message holds 4 KiB, which is not enough for a VM with many disks. The writer may have parsed
foreign bytes, so the reader has bounds. `steps.model.machine_output` packs the text and proves it.
"""

from __future__ import annotations

import re
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.machine_output import LONGEST_OUTPUT

LINE: Final = 4096
"""Characters of the text in one line of a log. Container runtimes split lines of 16 KiB."""
MOST_LINES: Final = LONGEST_OUTPUT // LINE
_MARK: Final = "vmferry-document"
_LINE: Final = re.compile(rf"{_MARK} ([0-9]{{1,3}})/([0-9]{{1,3}}) ([A-Za-z0-9+/=]{{1,{LINE}}})", re.ASCII)


def to_lines(packed: str) -> list[str]:
    """The lines of a log that hold a packed text."""
    parts = [packed[start : start + LINE] for start in range(0, len(packed), LINE)]
    return [f"{_MARK} {number}/{len(parts)} {part}" for number, part in enumerate(parts, start=1)]


def from_lines(log: str) -> str:
    """The last packed text in a log; other lines may stand before, between and after its lines.

    Raises:
        StepError: CORRUPT, if there is none, or if a line of it is missing.
    """
    found = [match for line in log.splitlines() if (match := _LINE.fullmatch(line.strip()))]
    if not found:
        raise _corrupt("the log does not contain it")
    count = int(found[-1][2])
    parts = {int(match[1]): match[3] for match in found if int(match[2]) == count}
    if not 1 <= count <= MOST_LINES or sorted(parts) != list(range(1, count + 1)):
        raise _corrupt(f"the log does not contain all of its {count} lines")
    return "".join(parts[number] for number in range(1, count + 1))


def _corrupt(why: str) -> StepError:
    return StepError(Exit.CORRUPT, "the description of the VM cannot be read", why)
