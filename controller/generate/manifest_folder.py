"""A folder of written manifests. Files that were edited by hand stay unchanged."""

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
from steps.model.printable import printable
from steps.model.yaml import to_yaml

_MARK: Final = "# vmferry: "
"""Prefix of the line with the identity of the file's object and the digest of the other lines."""


class WriteResult(enum.StrEnum):
    """What became of a file."""

    WRITTEN = "written"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    """It was edited by hand and stays unchanged."""


@dataclass(frozen=True)
class Mark:
    """The mark of a file: the identity of its object, and whether the file is unedited."""

    of: str
    untouched: bool


def manifest_text(of: str, remarks: Iterable[str], document: Mapping[str, Any]) -> str:
    """The text of a manifest: the mark, the remarks, the document."""
    body = "".join(f"# {line(remark)}\n" for remark in remarks) + to_yaml(document)
    return _MARK + json.dumps({"of": of, "sha256": _digest(body)}) + "\n" + body


def line(text: str) -> str:
    """Text that cannot end a comment."""
    return printable(text, " ")


def mark_of(text: str) -> Mark | None:
    """The mark of a file; None without one, as in a file that a person wrote."""
    first, _, body = text.partition("\n")
    try:
        mark = json.loads(first.removeprefix(_MARK)) if first.startswith(_MARK) else {}
        return Mark(str(mark["of"]), mark["sha256"] == _digest(body))
    except (ValueError, KeyError, TypeError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


class ManifestDir:
    """The folder. The first write creates it."""

    def __init__(self, root: Path, *, force: bool = False) -> None:
        self.root = root
        self._force = force

    def marks(self) -> dict[str, Mark | None]:
        """The marks of the existing manifests, by file name without suffix.

        Raises:
            StepError: CONFLICT, if it is not a folder or cannot be read.
        """
        try:
            if not self.root.exists():
                return {}
            files = sorted(file for file in self.root.iterdir() if file.suffix in SUFFIXES)
            return {file.stem: mark_of(_text(file)) for file in files}
        except OSError as error:
            raise self._error(error, "read") from None

    def put(self, name: str, of: str, text: str) -> WriteResult:
        """Write the file of `of`, unless the existing one was edited by hand.

        Raises:
            StepError: CONFLICT, if it cannot be written.
        """
        try:
            result = self._result_of(self.root / name, of, text)
        except OSError as error:
            raise self._error(error, "read") from None
        if result in (WriteResult.WRITTEN, WriteResult.UPDATED):
            self.replace(name, text)
        return result

    def _result_of(self, file: Path, of: str, text: str) -> WriteResult:
        if not file.exists():
            return WriteResult.WRITTEN
        existing = _text(file)
        if existing == text:
            return WriteResult.UNCHANGED
        mark = mark_of(existing)
        ours = mark is not None and mark.untouched and mark.of == of
        return WriteResult.UPDATED if self._force or ours else WriteResult.KEPT

    def replace(self, name: str, text: str) -> None:
        """Write or overwrite a file. Raises StepError: CONFLICT."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_atomically(self.root / name, text)
        except OSError as error:
            raise self._error(error, "write") from None

    def _error(self, error: OSError, verb: str) -> StepError:
        reason = f"{error.filename or self.root}: {error.strerror}"
        return StepError(Exit.CONFLICT, f"cannot {verb} {self.root}", reason, "choose another --into")


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", errors="surrogateescape")
