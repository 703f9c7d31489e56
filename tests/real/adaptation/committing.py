"""The commit of an adaptation as a program of its own, so that a test can kill it.

`python -m tests.real.adaptation.committing FOLDER`: the disks are FOLDER/disk-*. It does what the step
`adapt` does, with writes of qemu-io instead of a conversion.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from steps.guest.overlays import Adaptation, GuestDisk
from steps.model.adapted import Adapted, Phase
from steps.runtime.stop import Stop

MIB = 1 << 20
WRITES = tuple((offset * MIB, 3 * MIB) for offset in (0, 5, 17, 40, 61))
"""(offset, length) of what the conversion writes: over data and into holes."""


def disks(folder: Path) -> list[GuestDisk]:
    return [GuestDisk.load(path.name, path) for path in sorted(folder.glob("disk-*"))]


def write(overlay: Path, pattern: int) -> None:
    """Write into an image, and free a part of it, as a trim of the file system does."""
    commands = [f"write -P {pattern} {offset} {length}" for offset, length in WRITES] + [
        f"discard {30 * MIB} {4 * MIB}"
    ]
    argv = ["qemu-io", "-f", "qcow2", "-d", "unmap"]
    for command in commands:
        argv += ["-c", command]
    subprocess.run([*argv, str(overlay)], check=True, stdout=subprocess.DEVNULL)


def silent(_part: float, _text: str) -> None:
    """Reports nothing."""


def main() -> None:
    adaptation = Adaptation(disks(Path(sys.argv[1])), silent, Stop())
    record = adaptation.begun()
    if record is not None:
        adaptation.resume(record)
        return
    digests = adaptation.landed_digests(silent)
    for number, overlay in enumerate(adaptation.create()):
        write(overlay, 0x41 + number)
    adaptation.commit(Adapted(phase=Phase.COMMITTING, done=("test",)), digests)


if __name__ == "__main__":
    main()
