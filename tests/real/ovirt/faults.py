"""What a test wants to go wrong, what is held, and every call that was made.

A rule names calls by kind, method and path; the first rule that fits a call is used.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]


class Rule(BaseModel):
    """One fault. Exactly one of the effects should be given."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["engine", "image"] = "engine"
    """Calls of the engine (with SSO), or of the daemon through the gate."""
    method: str = ""
    path: str = ""
    """A regular expression that is found in the path with its query, such as `/vms$`; empty: every path."""
    nth: int = 1
    """The first call from now that it concerns."""
    times: int = 1
    """How often it is used; 0: for ever."""

    status: int | None = None
    """The call is not carried out, and answered with this status, `body` and `type`."""
    body: str | None = None
    """The call is carried out, and its answer has this body (with `status`: it is not carried out)."""
    type: str | None = None
    """The Content-Type of the answer."""
    headers: dict[str, str] = {}
    """Headers added to the answer."""
    patch: Json | None = None
    """The call is carried out, and this is merged into the JSON document that answers it."""
    cut: int | None = None
    """The connection is closed after this many bytes of the body, with the whole length announced."""
    endless: bool = False
    """The body never ends: it repeats until the client goes."""
    bytes_per_second: int | None = None
    delay: float | None = None
    """Seconds before the call is carried out."""
    hold: Literal["before", "after"] | None = None
    """The call is held before or after it is carried out, until it is released or its connection dies. A call
    that is held before and whose connection dies is not carried out."""
    corrupt: int | None = None
    """The byte at this offset of the body is inverted; kind `image` only."""
    short: int | None = None
    """Fewer bytes than asked for, by this many, with the length to match; kind `image` only."""


class Faults:
    """The rules, the held calls and the record. One for the whole stand-in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rules: list[Rule] = []
        self._held: dict[int, Json] = {}
        self._calls: list[Json] = []

    def add(self, rule: Rule) -> None:
        with self._changed:
            self._rules.append(rule)

    def clear(self) -> None:
        """Remove all rules and release all calls."""
        with self._changed:
            self._rules.clear()
        self.release(None)

    def begin(self, kind: str, method: str, path: str, agent: str, **facts: Any) -> tuple[Json, Rule | None]:
        """Record a call; returns its record, which `end` completes, and the rule that concerns it."""
        with self._changed:
            call = {
                "seq": len(self._calls) + 1,
                "kind": kind,
                "method": method,
                "path": path,
                "agent": agent,
                "time": time.time(),
                "status": 0,
                "bytes": 0,
                "outcome": "running",
                **facts,
            }
            self._calls.append(call)
            return call, self._rule(kind, method, path)

    def _rule(self, kind: str, method: str, path: str) -> Rule | None:
        for rule in self._rules:
            if rule.kind != kind or rule.method not in {"", method} or not re.search(rule.path, path):
                continue
            rule.nth -= 1
            if rule.nth > 0:
                continue
            if rule.times:
                rule.times -= 1
                if not rule.times:
                    self._rules.remove(rule)
            return rule
        return None

    def end(self, call: Json, status: int, outcome: str, sent: int = 0) -> None:
        with self._changed:
            call.update(status=status, outcome=outcome, bytes=sent)

    def calls(self) -> list[Json]:
        with self._changed:
            return [dict(call) for call in self._calls]

    def forget(self) -> None:
        with self._changed:
            self._calls.clear()

    def rules(self) -> list[Json]:
        with self._changed:
            return [rule.model_dump(exclude_defaults=True) for rule in self._rules]

    def hold(self, call: Json, when: str, is_alive: Any) -> bool:
        """Hold a call; returns whether its connection is alive when it goes on."""
        with self._changed:
            self._held[call["seq"]] = {**call, "when": when}
            self._changed.notify_all()
            while call["seq"] in self._held and is_alive():
                self._changed.wait(0.1)
            self._held.pop(call["seq"], None)
        return bool(is_alive())

    def held(self, wait: float) -> list[Json]:
        """The held calls; waits up to this number of seconds for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._held), wait)
            return list(self._held.values())

    def release(self, seq: int | None) -> None:
        with self._changed:
            if seq is None:
                self._held.clear()
            else:
                self._held.pop(seq, None)
            self._changed.notify_all()
