"""A step outlasts a source that does not answer (finding F12): it waits, resumes, and never waits in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steps.model.contract import PROGRESS_FILE_ENV, Exit, NoAnswerError, StepError, Stopped
from steps.providers import Access, outage
from steps.providers.outage import LONGEST_PAUSE_SECONDS, STEADY_SECONDS, with_source
from steps.runtime.program import MACHINE, PLAN, Context
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_plan

WAIT = 1800
AWAY = NoAnswerError(Exit.UNREACHABLE, "cannot log in", "vc refuses the connection", "start it")


class Clock(Stop):
    """A clock, and a stop flag whose sleeps move it on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.check()
        self.now += seconds
        self.pauses.append(seconds)


class Source:
    """A source whose connections and uses end as `connects` and `uses` say; an error that is None is none."""

    def __init__(self) -> None:
        self.connects: Iterator[Exception | None] = iter(())
        self.uses: Iterator[Exception | None] = iter(())
        self.opened = self.closed = 0

    @contextmanager
    def connect(self, _: Access) -> Iterator[Source]:
        self.opened += 1
        raise_(next(self.connects, None))
        try:
            yield self
        finally:
            self.closed += 1

    def use(self, _: Any) -> str:
        raise_(next(self.uses, None))
        return "done"


def raise_(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outage, "CLOCK", clock)
    return clock


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    source = Source()
    monkeypatch.setattr(outage, "connect", source.connect)
    return source


@pytest.fixture
def context(tmp_path: Path, clock: Clock) -> Context:
    """A step of an import whose VM preflight has found."""
    a_machine().save(tmp_path / MACHINE)
    save_plan(tmp_path)
    folders = dict.fromkeys(("request", "scratch", "credentials", "into", "outputs"), tmp_path)
    return Context(SimpleNamespace(**folders), clock)  # type: ignore[arg-type]


def save_plan(folder: Path, **source: Any) -> None:
    plan = a_plan()
    changed = plan.source.model_copy(update={"wait_seconds": WAIT, **source})
    plan.model_copy(update={"source": changed}).save(folder / PLAN)


def always(error: Exception) -> Iterator[Exception]:
    while True:
        yield error


def test_a_source_that_is_away_for_half_an_hour_is_outlasted(
    source: Source, context: Context, clock: Clock
) -> None:
    end = clock.now + WAIT - 60

    def away() -> Iterator[Exception | None]:
        while clock.now < end:
            yield AWAY

    source.connects = away()
    assert with_source(context, "poweroff", source.use) == "done"
    assert len(clock.pauses) > 20


def test_the_pauses_grow_to_a_limit_and_are_spread(source: Source, context: Context, clock: Clock) -> None:
    source.connects = always(AWAY)
    with pytest.raises(NoAnswerError):
        with_source(context, "poweroff", source.use)
    assert clock.pauses[0] <= outage.FIRST_PAUSE_SECONDS < max(clock.pauses) <= LONGEST_PAUSE_SECONDS
    assert len({round(pause, 3) for pause in clock.pauses[5:-1]}) > 5


def test_the_step_fails_when_the_time_is_up_and_says_since_when(
    source: Source, context: Context, clock: Clock
) -> None:
    source.connects = always(AWAY)
    with pytest.raises(NoAnswerError, match=r"; no answer since .* UTC; start it") as caught:
        with_source(context, "poweroff", source.use)
    assert caught.value.code is Exit.UNREACHABLE
    assert sum(clock.pauses) == pytest.approx(WAIT)


@pytest.mark.parametrize("code", [Exit.DENIED, Exit.UNTRUSTED, Exit.INVALID, Exit.BUSY, Exit.INTERNAL])
def test_any_other_error_ends_the_wait_at_once(
    source: Source, context: Context, clock: Clock, code: Exit
) -> None:
    """A wrong password is never tried again here: accounts are locked after a few attempts."""
    source.connects = iter([AWAY, StepError(code, "no")])
    with pytest.raises(StepError) as caught:
        with_source(context, "poweroff", source.use)
    assert caught.value.code is code
    assert (source.opened, len(clock.pauses)) == (2, 1)


def test_a_source_that_cannot_be_opened_is_away_whatever_the_reason(source: Source, context: Context) -> None:
    source.connects = iter([StepError(Exit.UNREACHABLE, "this is no vSphere API")])
    assert with_source(context, "poweroff", source.use) == "done"


def test_what_never_happens_at_a_source_that_answers_is_not_waited_for(
    source: Source, context: Context, clock: Clock
) -> None:
    source.uses = iter([StepError(Exit.UNREACHABLE, "the image is still queued after 300 s")])
    with pytest.raises(StepError):
        with_source(context, "export-disk-0", source.use)
    assert clock.pauses == []


@pytest.mark.parametrize("code", [Exit.UNREACHABLE, Exit.BROKEN_STREAM])
def test_a_source_that_goes_away_in_the_middle_is_waited_for(
    source: Source, context: Context, code: Exit
) -> None:
    source.uses = iter([NoAnswerError(code, "the stream broke")])
    assert with_source(context, "export-disk-0", source.use) == "done"
    assert (source.opened, source.closed) == (2, 2)


def test_a_stop_ends_the_wait_and_the_source_is_closed(
    source: Source, context: Context, clock: Clock
) -> None:
    def stopped() -> Iterator[Exception]:
        yield AWAY
        clock.set()
        yield AWAY

    source.uses = stopped()
    with pytest.raises(Stopped):
        with_source(context, "poweroff", source.use)
    assert source.opened == source.closed == 2
    assert len(clock.pauses) == 1


def use_for(clock: Clock, seconds: float) -> Callable[[Any], str]:
    """A use that takes so long and then loses the source, each time."""

    def use(_: Any) -> str:
        clock.now += seconds
        raise AWAY

    return use


def test_bytes_that_arrive_begin_another_outage(source: Source, context: Context, clock: Clock) -> None:
    landed = [10]
    outages = iter(range(5))

    def use(_: Any) -> str:
        if next(outages, None) is None:
            return "done"
        clock.now += WAIT - 10
        landed[0] += 1
        raise NoAnswerError(Exit.BROKEN_STREAM, "the stream broke")

    assert with_source(context, "export-disk-0", use, done=lambda: landed[0]) == "done"


def test_a_source_that_always_breaks_off_at_the_same_byte_is_given_up(
    source: Source, context: Context, clock: Clock
) -> None:
    with pytest.raises(NoAnswerError):
        with_source(context, "export-disk-0", use_for(clock, STEADY_SECONDS + 1), done=lambda: 10)
    assert clock.now < 1000 + 3 * WAIT


def test_a_source_that_worked_for_long_before_any_byte_begins_another_outage(
    source: Source, context: Context, clock: Clock
) -> None:
    """OpenStack makes copies for hours before a byte is sent."""
    turns = iter(range(8))

    def use(provider: Any) -> str:
        return use_for(clock, STEADY_SECONDS + 1)(provider) if next(turns, None) is not None else "done"

    assert with_source(context, "export-disk-0", use) == "done"


@pytest.mark.parametrize(("is_verified", "waits"), [(False, False), (True, True)])
def test_a_source_that_has_never_answered_is_not_waited_for(
    source: Source, context: Context, clock: Clock, is_verified: bool, waits: bool
) -> None:
    """Its address may be wrong; but the controller may have verified it."""
    (context.request / MACHINE).unlink()
    save_plan(context.request, verified=is_verified)
    source.connects = always(AWAY)
    with pytest.raises(NoAnswerError) as caught:
        with_source(context, "preflight", source.use)
    assert bool(clock.pauses) is waits
    assert ("no answer since" in str(caught.value)) is waits


def test_no_wait_can_be_set(source: Source, context: Context, clock: Clock) -> None:
    save_plan(context.request, wait_seconds=0)
    source.connects = always(AWAY)
    with pytest.raises(NoAnswerError):
        with_source(context, "poweroff", source.use)
    assert clock.pauses == []


def test_the_wait_is_a_note_above_the_progress_which_argo_still_reads(
    source: Source, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = tmp_path / "progress"
    progress.write_text("5/10\n")
    monkeypatch.setenv(PROGRESS_FILE_ENV, str(progress))
    seen: list[list[str]] = []

    def away() -> Iterator[Exception | None]:
        yield AWAY
        seen.append(progress.read_text().splitlines())
        yield None

    source.connects = away()
    assert with_source(context, "export-disk-0", source.use) == "done"
    ((note, last),) = seen
    assert note.startswith("waits for the source since ")
    assert ", until " in note
    assert last == "5/10"
    assert progress.read_text() == "5/10\n"


def asking(seconds: float) -> NoAnswerError:
    return NoAnswerError(Exit.UNREACHABLE, "the source answers 429", retry_after=seconds)


@pytest.mark.parametrize("seconds", [25.0, 300.0])
def test_a_source_is_not_asked_again_before_it_wants(
    source: Source, context: Context, clock: Clock, seconds: float
) -> None:
    source.connects = iter([asking(seconds)] * 3)
    assert with_source(context, "poweroff", source.use) == "done"
    assert all(seconds <= pause <= 1.25 * seconds for pause in clock.pauses)
    assert len(clock.pauses) == 3


def test_a_source_that_asks_to_wait_at_the_first_contact_is_waited_for(
    source: Source, context: Context, clock: Clock
) -> None:
    """It has answered, so its address is right."""
    (context.request / MACHINE).unlink()
    source.connects = iter([asking(25.0), asking(0.0)])
    assert with_source(context, "preflight", source.use) == "done"
    assert clock.pauses[0] >= 25
    source.connects = iter([asking(25.0), AWAY])
    with pytest.raises(NoAnswerError, match="refuses the connection"):
        with_source(context, "preflight", source.use)


def test_a_source_that_asks_for_too_long_is_asked_once_more_at_the_end_of_the_wait(
    source: Source, context: Context, clock: Clock
) -> None:
    source.connects = always(asking(10.0 * WAIT))
    with pytest.raises(NoAnswerError, match="no answer since"):
        with_source(context, "poweroff", source.use)
    assert clock.pauses == [pytest.approx(WAIT)]


def test_a_dry_run_does_not_wait(source: Source, context: Context, clock: Clock) -> None:
    save_plan(context.request, wait_seconds=0)
    source.connects = always(asking(25.0))
    with pytest.raises(NoAnswerError):
        with_source(context, "preflight", source.use)
    assert clock.pauses == []
