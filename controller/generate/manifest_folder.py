"""A folder of written manifests in which what a person changed stays as it is."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controller.manifests.read import SUFFIXES
from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically
from steps.model.yaml import to_yaml

_MARK: Final = "# vmferry: "
"""Begins the line that says what a file is of, and the digest of all its other lines."""


class Fate(enum.StrEnum):
    """What became of a file."""

    WRITTEN = "written"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    """A person changed it: left as it is."""


@dataclass(frozen=True)
class Mark:
    """What a file says of itself: whose manifest it is, and whether it is as it was written."""

    of: str
    untouched: bool


def marked(of: str, remarks: Iterable[str], document: Mapping[str, Any]) -> str:
    """A manifest's text under its remarks and the line by which it is known again."""
    body = "".join(f"# {line(remark)}\n" for remark in remarks) + to_yaml(document)
    return _MARK + json.dumps({"of": of, "sha256": _digest(body)}) + "\n" + body


def line(text: str) -> str:
    """Text that cannot end the comment it stands in."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def mark_of(text: str) -> Mark | None:
    """The mark of a file; None when it has none, as one that a person wrote."""
    first, _, body = text.partition("\n")
    try:
        found = json.loads(first.removeprefix(_MARK)) if first.startswith(_MARK) else {}
        return Mark(str(found["of"]), found["sha256"] == _digest(body))
    except (ValueError, KeyError, TypeError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


class ManifestDir:
    """The folder; it is made when something is written."""

    def __init__(self, root: Path, *, force: bool = False) -> None:
        self.root = root
        self._force = force

    def marks(self) -> dict[str, Mark | None]:
        """The manifests that are there, by their names without suffix.

        Raises:
            StepError: CONFLICT, when the folder is none or cannot be read.
        """
        try:
            if not self.root.exists():
                return {}
            files = sorted(file for file in self.root.iterdir() if file.suffix in SUFFIXES)
            return {file.stem: mark_of(_text(file)) for file in files}
        except OSError as error:
            raise self._refused(error, "read") from None

    def put(self, name: str, of: str, text: str) -> Fate:
        """Write the file of `of` whole, unless a person changed the one that is there.

        Raises:
            StepError: CONFLICT, when it cannot be written.
        """
        try:
            fate = self._fate(self.root / name, of, text)
        except OSError as error:
            raise self._refused(error, "read") from None
        if fate in (Fate.WRITTEN, Fate.UPDATED):
            self.replace(name, text)
        return fate

    def _fate(self, file: Path, of: str, text: str) -> Fate:
        if not file.exists():
            return Fate.WRITTEN
        there = _text(file)
        if there == text:
            return Fate.UNCHANGED
        mark = mark_of(there)
        ours = mark is not None and mark.untouched and mark.of == of
        return Fate.UPDATED if self._force or ours else Fate.KEPT

    def replace(self, name: str, text: str) -> None:
        """Write a file whole, whatever is there. Raises StepError: CONFLICT."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_atomically(self.root / name, text)
        except OSError as error:
            raise self._refused(error, "write") from None

    def _refused(self, error: OSError, what: str) -> StepError:
        reason = f"{error.filename or self.root}: {error.strerror}"
        return StepError(Exit.CONFLICT, f"cannot {what} {self.root}", reason, "choose another --into")


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", errors="surrogateescape")
