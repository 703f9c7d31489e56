"""Reads a volume back behind the writer, while the rest of the disk still arrives, in a process of its own.

`python -m steps.disk.follow PLACE NOTES` is started by `export`. It reads only what is behind the last
checkpoint: that is on stable storage. It writes how far it is; `convert` reads the rest. It ends when its
standard input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from steps.disk.readback import read_back
from steps.disk.sink import CLUSTER
from steps.disk.state import JSON_ERRORS, LandingState, replace_file
from steps.disk.volume import Volume, VolumeFiles
from steps.disk.volume_sink import KnownSums
from steps.runtime.stop import Stop

LOOK_SECONDS: Final = 1.0
"""Seconds between two looks at the checkpoint."""
END_SECONDS: Final = 30.0
"""Seconds that a read may take after the end of the copy."""
_NICE: Final = 5
"""The writer goes first."""


@dataclass(frozen=True)
class Followed:
    """How far a landing was read back: the bytes before `until` are equal, except those at `differs_at`.

    `key` and `sums` (the inode of the checksums) identify the landing: one that starts again has others.
    """

    key: str
    sums: int
    until: int
    differs_at: int | None = None

    @classmethod
    def load(cls, files: VolumeFiles, key: str) -> Self | None:
        """The record about the landing with this key, if it still applies to what is on the volume."""
        try:
            found = cls(**json.loads(files.followed.read_text()))
            applies = (found.key, found.sums) == (key, files.sums.stat().st_ino)
            return found if applies and not files.rewritten.exists() and type(found.until) is int else None
        except (OSError, *JSON_ERRORS):
            return None

    def save(self, files: VolumeFiles) -> None:
        replace_file(files.followed, json.dumps(asdict(self)) + "\n")


class Follower:
    """Reads back what is behind the checkpoint of a landing."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._files = VolumeFiles(volume)

    def step(self) -> bool:
        """Read what was checkpointed since the last step; whether there may be more to do.

        Raises:
            OSError: the volume or the records cannot be read.
        """
        state = LandingState.peek(self._files.state)
        if state is None or self._files.rewritten.exists() or not state.sink.get("emptied"):
            return True  # a device that cannot discard gets its zeros at the end
        until = int(state.sink.get("high", 0)) // CLUSTER * CLUSTER
        inode = self._files.sums.stat().st_ino
        known = Followed.load(self._files, state.key)
        start = known.until if known else 0
        if known and known.differs_at is not None:
            return False
        if until <= start:
            return True
        result = read_back(
            self._volume.disk,
            KnownSums(self._files.sums),
            until,
            start=start,
            is_device=self._volume.is_device,
            report=lambda *_: None,
            stop=Stop(),
        )
        Followed(state.key, inode, until, result.differs_at).save(self._files)
        return result.differs_at is None


@contextlib.contextmanager
def following(volume: Volume) -> Iterator[None]:
    """Read the volume back in another process while the body writes to it."""
    command = [sys.executable, "-m", "steps.disk.follow", str(volume.place), str(volume.notes)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if process.stdin:
                process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    place, notes = map(Path, sys.argv[1:])
    os.nice(_NICE)
    follower = Follower(Volume.at(place, notes))
    while follower.step():
        readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
        if readable:
            return


if __name__ == "__main__":
    with contextlib.suppress(OSError, ValueError):  # then `convert` reads everything, and says what is wrong
        main()
