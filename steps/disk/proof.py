"""The proof that a landed disk is on its volume: every block is read back before its hand-over."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from steps.disk.follow import Followed
from steps.disk.landed import Landed
from steps.disk.readback import ReadBack, read_back
from steps.disk.state import JSON_ERRORS, replace_file
from steps.disk.volume import Volume, VolumeFiles
from steps.disk.volume_sink import KnownSums
from steps.model.contract import Exit, StepError
from steps.runtime.stop import Stop

log = logging.getLogger(__name__)


def prove(
    volume: Volume, name: str, capacity: int, *, report: Callable[[int, int], None], stop: Stop
) -> None:
    """Compare the volume of the disk `name`, of `capacity` bytes, with what export wrote to it.

    Raises:
        StepError: INVALID, if no disk has landed; CORRUPT, if the volume holds something else. Then its
            records are removed, so that another Workflow copies the disk again.
        Stopped: nothing is proved.
    """
    files = VolumeFiles(volume)
    landed = Landed.load(files.out)
    if landed.virtual_size != capacity:
        raise StepError(
            Exit.CORRUPT,
            f"the volume holds a disk of {landed.virtual_size} bytes, but {name} has {capacity}",
            remedy="correct the capacity at the source, then start a new import",
        )
    if _is_proved(files, landed):
        log.info("%s was read back before", name)
        return
    followed = Followed.load(files, landed.key)
    if followed is not None and followed.differs_at is not None:
        result = ReadBack(followed.until, followed.differs_at)
    else:
        result = _read_rest(files, capacity, followed.until if followed else 0, report, stop)
    if result.differs_at is not None:
        files.remove_records()
        raise StepError(
            Exit.CORRUPT,
            f"the volume of {name} does not hold what was written to it",
            f"the first difference is in the 64 KiB at byte {result.differs_at}",
            "check the storage; then annotate the import with migration.harvesterhci.io/retry=true: "
            "vmferry copies the disk again",
        )
    replace_file(files.proved, json.dumps({"key": landed.key, "size": landed.size}) + "\n")
    log.info("%s was read back: %d bytes are equal to what was written", name, result.read)


def _read_rest(
    files: VolumeFiles, capacity: int, start: int, report: Callable[[int, int], None], stop: Stop
) -> ReadBack:
    """Read back what nobody has read while it arrived (`steps.disk.follow`)."""
    volume = files.volume
    try:
        return read_back(
            volume.disk,
            KnownSums(files.sums),
            capacity,
            start=start,
            is_device=volume.is_device,
            report=report,
            stop=stop,
        )
    except OSError as error:
        raise files.fault(error) from error


def _is_proved(files: VolumeFiles, landed: Landed) -> bool:
    """Whether an earlier attempt has proved this landing; the record goes with those of the landing."""
    try:
        record = json.loads(files.proved.read_text())
        return bool((record["key"], record["size"]) == (landed.key, landed.size))
    except (OSError, *JSON_ERRORS):
        return False
