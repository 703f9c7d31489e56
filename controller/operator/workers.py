"""Threads that take keys from a queue and reconcile them, and the handling of failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import structlog

from controller.operator.workqueue import Queue
from steps.model.contract import StepError
from steps.runtime.cluster import ChangedError

K = TypeVar("K", bound=Hashable)
log = structlog.get_logger()

STUCK: Final = 600.0
"""A reconcile never takes so many seconds: it makes only requests to the API server, which have a limit."""


class Workers(Generic[K]):
    """`count` threads for a queue; `reconcile` returns the seconds until the next one, None if deleted."""

    def __init__(
        self, name: str, queue: Queue[K], reconcile: Callable[[K], float | None], count: int
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]

        self._since: dict[str, tuple[K, float]] = {}

    def stuck(self) -> list[str]:
        """Messages about keys whose reconcile takes so long that the thread must hang."""
        now = time.monotonic()
        return [
            f"{name} has been reconciling {key} for {now - since:.0f} s"
            for name, (key, since) in list(self._since.items())
            if now - since > STUCK
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Take no further key."""
        self._queue.close()

    def ended(self, deadline: float) -> bool:
        """Wait for running reconciles until `deadline` (monotonic clock); whether all have ended."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (key := self._queue.take()) is not None:
            self._process(key)

    def _process(self, key: K) -> None:
        name = threading.current_thread().name
        self._since[name] = (key, time.monotonic())
        try:
            seconds = self._reconcile(key)
        except ChangedError:  # another client wrote meanwhile: the decision may be outdated
            self._queue.done(key, 0.2)
        except StepError as error:
            log.warning(str(error), key=str(key))
            self._queue.done(key, None)
        except Exception:
            log.exception("internal error in vmferry; the object will be requeued", key=str(key))
            self._queue.done(key, None)
        else:
            if seconds is None:
                self._queue.forget(key)
            else:
                self._queue.done(key, seconds)
        finally:
            self._since.pop(name, None)
