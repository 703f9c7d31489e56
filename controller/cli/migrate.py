"""`vmferry migrate-manifests`: converts old manifests to the current API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.cli import app
from controller.manifests import read
from controller.manifests.legacy import Migration, known_sources
from controller.manifests.read import InvalidManifestsError, Manifests
from controller.manifests.yamledit import dump, heading
from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically

STDIN: Final = "stdin.yaml"


@dataclass(frozen=True)
class Migrated:
    """One converted file, with warnings."""

    where: str
    text: str
    warnings: tuple[str, ...]


def migrate(names: Sequence[str]) -> list[Migrated]:
    """Convert every file; the other commands accept the result.

    Raises:
        InvalidManifestsError: with every fault, also of manifests that need no conversion.
    """
    parsed, faults = [], []
    for where, text in (file for name in names for file in read.texts(name)):
        documents, syntax_faults = read.parse(where, text)
        parsed.append((where, text, documents))
        faults += syntax_faults
    sources = known_sources(document for _, _, documents in parsed for document in documents)
    checked, results = Manifests(), []
    for where, text, documents in parsed:
        migration = Migration(where, sources)
        faults += read.read_documents(documents, migration, checked)
        whole = heading(text) + dump(documents) if documents else text
        results.append(Migrated(where, whole, tuple(migration.warnings)))
    if faults:
        raise InvalidManifestsError(faults)
    return results


def write(results: Sequence[Migrated], into: Path | None) -> list[Path]:
    """Write one stream to standard output, or one file per input to a folder; returns the files.

    Raises:
        StepError: CONFLICT, before anything is written, if a file exists or two files have one name.
    """
    if into is None:
        app.write("---\n".join(result.text for result in results if result.text))
        return []
    files = [into / _name(result.where) for result in results]
    taken = [file for file in files if file.exists() or files.count(file) > 1]
    if taken:
        raise StepError(
            Exit.CONFLICT,
            f"{taken[0]} already exists" if taken[0].exists() else f"two files would become {taken[0]}",
            remedy="choose another --output",
        )
    for file, result in zip(files, results, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, result.text, mode=_mode(result.where))
    return files


def _name(where: str) -> str:
    return STDIN if where == "<stdin>" else f"{Path(where).stem}.yaml"


def _mode(where: str) -> int:
    """The mode of the original, which may hold a password; 0600 for standard input."""
    path = Path(where)
    return path.stat().st_mode & 0o777 if path.is_file() else 0o600
