"""Land a disk: the only entry point of the data path."""

from __future__ import annotations

import logging
from collections.abc import Callable

from steps.disk.attempt import CannotResumeError, LandAttempt, LandRequest
from steps.disk.body import Body
from steps.disk.landed import Landed
from steps.disk.layers import layered_body
from steps.disk.source import DiskFormat, Source, Validators
from steps.disk.state import LandingState
from steps.disk.volume import Place, files_at
from steps.runtime.stop import Stop

__all__ = ["Landed", "Source", "land"]

log = logging.getLogger(__name__)


def land(
    source: Source,
    out: Place,
    *,
    format: DiskFormat,  # noqa: A002 - the name everybody expects
    capacity: int | None,
    report: Callable[[int, int], None],
    stop: Stop,
    expected_bytes: int | None = None,
) -> Landed:
    """Copy the disk at `source` to `out`, in one pass; resumes an earlier attempt.

    A format that cannot be decoded in order lands unchanged in `OUT.source`; `Landed.format` shows it.

    Args:
        source: the place of the bytes and their expected content.
        out: the finished disk; until then only `OUT.partial` and `OUT.state.json` exist. Or the volume on
            which a raw disk lands directly (`steps.disk.volume`).
        format: of the finished disk.
        capacity: bytes the disk must have, None if unknown.
        report: called with bytes done and their total, about once per MiB: of the source where its
            length is known, else of the disk in use.
        stop: checked for every chunk.
        expected_bytes: bytes in use, for `report` if the server does not report the length.

    Raises:
        StepError: UNREACHABLE, DENIED, NOT_FOUND, UNTRUSTED for the server; BROKEN_STREAM for a
            stream that ended early or is damaged; CORRUPT, UNSUPPORTED, INVALID for a source that is
            not such a disk; NO_SPACE for the scratch. What landed is kept for the next attempt.
        Stopped: likewise.
    """
    request = LandRequest(source, files_at(out), format, capacity, report, stop, expected_bytes)
    try:
        landed = request.files.recover(request.key)
        if landed is not None:
            log.info("%s landed before: not reading it again", request.files.out.name)
            return landed
        with request.files.open() as file:
            return _land(request, file)
    except OSError as error:
        raise request.files.fault(error) from error


def _land(request: LandRequest, file: int) -> Landed:
    state = LandingState.load(request.files.state, request.key)
    body = layered_body(request.source)
    try:
        state = _open_body(body, state)
        return _run_attempt(request, body, file, state)
    except CannotResumeError:
        log.warning("%s: the beginning of the source has changed: starting over", request.files.out.name)
        body.open(0, Validators())
        return _run_attempt(request, body, file, None)
    finally:
        body.close()


def _run_attempt(request: LandRequest, body: Body, file: int, state: LandingState | None) -> Landed:
    if state is None:
        request.files.remove_records()
    elif body.position:
        log.info("%s resumes at byte %d", request.files.out.name, body.position)
    else:
        log.info("%s: comparing the first %d bytes, then resuming", request.files.out.name, state.position)
    return LandAttempt(request, body, file, state).run()


def _open_body(body: Body, state: LandingState | None) -> LandingState | None:
    """Open the body where `state` ends if the source is still the same; returns the state if it is useful.

    If nothing proves that it is the same, the body begins at 0: an attempt then compares the bytes that have
    landed with the new ones, and starts over if they differ.
    """
    if state is None:
        body.open(0, Validators())
        return None
    body.open(state.position, state.validators)
    is_long_enough = body.total is None or state.position <= body.total
    if not (
        is_long_enough
        and body.validators.agrees_with(state.validators)
        and body.position in (0, state.position)
    ):
        log.warning("the source has changed since the last attempt: starting over")
        if body.position:
            body.open(0, Validators())
        return None
    if body.position and not body.validators.proves_same_bytes(state.validators):
        log.info("cannot prove that the source is unchanged: reading it from its start")
        body.open(0, Validators())
    return state
