"""The threads of a landing, when they get no memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from steps.disk.direct import WRITE_BYTES
from steps.disk.pump import Pump
from steps.disk.writer import MAX_QUEUED_RUNS, BackgroundWriter

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.mark.parametrize(
    "use",
    [
        lambda writer: writer.drain(),
        lambda writer: writer.run_after_writes(lambda: None),
        lambda writer: [writer.write(number * WRITE_BYTES, bytes(WRITE_BYTES)) for number in range(9)],
    ],
    ids=["drain", "run_after_writes", "write"],
)
def test_a_writing_thread_that_ended_outside_a_task_is_an_error_and_no_endless_wait(
    use: Callable[[BackgroundWriter], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a MemoryError while the thread starts, which leaves it no chance to say so."""

    def end(_: BackgroundWriter) -> None:
        raise MemoryError

    monkeypatch.setattr(BackgroundWriter, "_next_task", end)
    file = os.open(tmp_path / "disk", os.O_RDWR | os.O_CREAT)
    try:
        with BackgroundWriter(file) as writer:
            for number in range(MAX_QUEUED_RUNS):
                writer.write(2 * number * WRITE_BYTES, b"x")
            with pytest.raises(OSError, match="the writing thread ended early"):
                use(writer)
        writer.wait_idle()
    finally:
        os.close(file)


def test_a_reading_thread_that_ended_without_an_error_of_the_body_is_an_error_and_no_endless_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Body:
        def abort(self) -> None:
            """Nothing to end."""

    class NoStop:
        def check(self) -> None:
            """Never requested."""

    def end(_: Pump) -> None:
        raise MemoryError

    monkeypatch.setattr(Pump, "_run", end)
    with (
        Pump(cast("Any", Body()), cast("Any", NoStop())) as pump,
        pytest.raises(OSError, match="the reading thread ended early"),
    ):
        pump.next()
