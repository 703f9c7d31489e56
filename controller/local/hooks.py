"""Hooks of an embedded import: programs that the person gives, as ImportHooks with `command`.

The program gets the document of the hook as a file and a small environment: no variable with credentials
reaches it, though the shell of the person may have some.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from controller.local.rundir import RunDir
from steps.model.document import Document
from steps.model.printable import printable
from workflows.api.import_hook import DEFAULT_SECONDS, ImportHook, OnHookFailure
from workflows.hooks import CONTINUED, DOCUMENT_ENV

_VARIABLES: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ")
_TAIL: Final = 4096
"""Bytes at the end of the output in which the last words are."""
_LONGEST: Final = 400
GRACE_SECONDS: Final = 5.0
"""Seconds that a program has after SIGTERM at its deadline."""


class LocalHook(Document):
    """A hook as the import keeps it, so that a retry needs no manifests."""

    name: str
    command: tuple[str, ...]
    seconds: int = DEFAULT_SECONDS
    on_failure: OnHookFailure = OnHookFailure.VETO

    @classmethod
    def of(cls, hook: ImportHook) -> LocalHook:
        spec = hook.spec
        return cls(
            name=hook.metadata.name,
            command=spec.command,
            seconds=spec.timeout_seconds,
            on_failure=spec.on_failure,
        )


def save_all(rundir: RunDir, hooks: Mapping[str, ImportHook]) -> None:
    """Keep the hooks of an import in its folder."""
    if hooks:
        rundir.hooks.mkdir(exist_ok=True)
    for name, hook in hooks.items():
        LocalHook.of(hook).save(rundir.hooks / f"{name}.json")


def load(rundir: RunDir, name: str) -> LocalHook:
    """The hook of that name. Raises StepError (INVALID) if the folder does not have it."""
    return LocalHook.load(rundir.hooks / f"{name}.json")


def environment(document: Path) -> dict[str, str]:
    """The environment of a hook's program."""
    kept = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    return {**kept, "TMPDIR": str(document.parent), DOCUMENT_ENV: str(document)}


def last_words(log: Path, start: int) -> str:
    """The last line of the output that begins at byte `start` of a log; empty without output."""
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _TAIL))
        text = file.read().decode(errors="replace")
    return printable(next(_lines_from_end(text), ""))[:_LONGEST]


def _lines_from_end(text: str) -> Iterator[str]:
    return (line.strip() for line in reversed(text.splitlines()) if line.strip())


def verdict(hook: LocalHook, code: int, words: str, *, late: bool) -> tuple[bool, str]:
    """Whether the import continues, and a sentence about how the program has ended."""
    if code == 0 and not late:
        return True, f"hook {hook.name} succeeded{f': {words}' if words else ''}"
    why = f"it did not end within {hook.seconds} s" if late else f"exit code {code}"
    why = f"{why}: {words}" if words else why
    if hook.on_failure is OnHookFailure.CONTINUE:
        return True, f"hook {hook.name} {CONTINUED}{why}"
    return False, f"hook {hook.name} failed: {why}; correct it, then retry"
