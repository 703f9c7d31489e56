"""The state next to a disk while it lands, so that any later attempt can resume: `OUT.state.json`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from steps.disk.source import Validators

log = logging.getLogger(__name__)

JSON_ERRORS: Final = (ValueError, TypeError, KeyError, RecursionError)
"""The errors of reading JSON that this package did not write."""
VERSION: Final = 1
"""Raised when anything in the state or in what the writers do changes: older states mean start over."""


@dataclass(frozen=True)
class LandingState:
    """A point to resume from: everything before `position` of the source is on the disk.

    `crc` is the CRC-32 of these bytes; `decoder` and `sink` are their states. `landed` is
    set once the partial file is complete, when only the last renames are missing.
    """

    key: str
    kind: str
    position: int = 0
    crc: int = 0
    validators: Validators = field(default_factory=Validators)
    decoder: dict[str, Any] = field(default_factory=dict)
    sink: dict[str, Any] = field(default_factory=dict)
    landed: dict[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write a line with version and checksum and a line of JSON, in one step."""
        body = json.dumps(asdict(self))
        replace_file(path, f"{VERSION} {zlib.crc32(body.encode())}\n{body}\n")

    @classmethod
    def load(cls, path: Path, key: str) -> LandingState | None:
        """The state at `path` if it is complete and belongs to `key`; None means to start over."""
        try:
            state = cls._parse(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, *JSON_ERRORS) as error:
            log.warning("%s cannot be used (%s): starting over", path.name, error)
            return None
        if state.key != key:
            log.info("%s belongs to another disk: starting over", path.name)
            return None
        return state

    @classmethod
    def peek(cls, path: Path) -> LandingState | None:
        """The state at `path`, of whatever disk it is; None if there is none that is complete."""
        try:
            return cls._parse(path.read_text())
        except (OSError, *JSON_ERRORS):
            return None

    @classmethod
    def _parse(cls, text: str) -> LandingState:
        head, body, _ = text.split("\n")
        if head != f"{VERSION} {zlib.crc32(body.encode())}":
            raise ValueError("torn, or of another version")
        fields = json.loads(body)
        state = cls(**{**fields, "validators": Validators(**fields["validators"])})
        state.validate()
        return state

    def validate(self) -> None:
        """Raises ValueError if a field has another type; decoder and sink check their own."""
        validators = self.validators
        numbers = (self.position, self.crc, validators.total or 0)
        texts = (self.key, self.kind, validators.etag, validators.modified)
        if (
            not all(type(number) is int and number >= 0 for number in numbers)
            or not all(isinstance(text, str) for text in texts)
            or not all(isinstance(part, dict) for part in (self.decoder, self.sink, self.landed or {}))
        ):
            raise ValueError("not a state")


def replace_file(path: Path, text: str) -> None:
    """Write `path` so that after a crash it has either the old or the new text.

    The space of `reserve_space` is overwritten, not released first: on a full filesystem there is no other.
    """
    partial = partial_path(path)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
        file.write(text.encode())
        file.truncate()
        os.fsync(file.fileno())
    partial.replace(path)


def partial_path(path: Path) -> Path:
    """The file that replaces `path`."""
    return path.with_name(path.name + ".partial")


def reserve_space(path: Path, size: int) -> None:
    """Reserve space for the next `replace_file` of `path`, if there is any."""
    with (
        contextlib.suppress(OSError),
        os.fdopen(os.open(partial_path(path), os.O_RDWR | os.O_CREAT, 0o644), "wb") as file,
    ):
        os.posix_fallocate(file.fileno(), 0, size)


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
