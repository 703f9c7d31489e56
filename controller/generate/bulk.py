"""Writes a folder of manifests: every VM of a source, the source, and the mapping to edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.generate import mappingfile
from controller.generate.manifest import Entry, entries, source_manifest, source_remarks
from controller.generate.manifest_folder import ManifestDir, WriteResult, manifest_text
from controller.generate.mappingfile import Places, network_names
from controller.generate.naming import Choice, choices, identity, source_key
from steps.model.machine import Machine
from workflows.api.sources import Source


@dataclass(frozen=True)
class WrittenFile:
    """A file of the folder and its result; for an import also its entry."""

    path: Path
    result: WriteResult
    entry: Entry | None = None


@dataclass
class FolderReport:
    """What was written, and the warnings."""

    root: Path
    files: list[WrittenFile] = field(default_factory=list)
    skipped: list[Entry] = field(default_factory=list)
    """VMs that cannot be imported: they get no manifest."""
    unmapped: list[str] = field(default_factory=list)
    """Networks in use without a destination in the mapping."""
    stale: list[Path] = field(default_factory=list)
    """Files of VMs of this source that were deleted or can no longer be imported."""


def write(
    machines: Sequence[Machine],
    source: Source,
    folder: ManifestDir,
    mapping: Path | None,
    destination: str,
    wanted: Collection[str] | None = None,
) -> FolderReport:
    """Write or update the folder from the source and the mapping.

    Args:
        machines: all VMs of the source: an import has the same name whichever others are written.
        source: of these VMs.
        folder: to write to.
        mapping: is read only. Without it the folder's mapping is read and gets the missing rows.
        destination: of the networks in new rows.
        wanted: ids of the VMs to write; files of the others stay as they are. None: all VMs.

    Raises:
        StepError: INVALID, if the mapping is wrong; CONFLICT, if the folder cannot be written.
    """
    marks = folder.marks()
    before = {mark.of: name for name, mark in marks.items() if mark is not None}
    identities = {identity(machine, source) for machine in machines}
    taken = {name for name, mark in marks.items() if mark is not None and mark.of not in identities}
    every = choices(machines, source, before, taken)
    chosen = [one for one in every if wanted is None or one.machine.source_id in wanted]
    machines = [one.machine for one in chosen]
    sources = _sources(chosen, source)
    report = FolderReport(folder.root)
    places = mappingfile.load(mapping)[1] if mapping else _mapping(machines, folder, destination, report)
    for of, (name, text) in sources.items():
        report.files.append(WrittenFile(folder.root / name, folder.put(name, of, text)))
    report.unmapped += _unmapped(machines, places)
    for entry in entries(chosen, places):
        _put(entry, source, folder, report)
    written = {identity(file.entry.choice.machine, source) for file in report.files if file.entry}
    written |= identities - {identity(machine, source) for machine in machines}
    ours = (mark.of for mark in marks.values() if mark and mark.of.startswith(f"{source_key(source)} "))
    report.stale += (folder.root / f"{before[of]}.yaml" for of in ours if of not in written)
    return report


def _sources(chosen: Sequence[Choice], source: Source) -> dict[str, tuple[str, str]]:
    """File name and text by key, of the given source or of those it was split into.

    The dot in the file name keeps it different from a VM's.
    """
    needed = {source_key(choice.source): choice.source for choice in chosen} or {source_key(source): source}
    return {
        of: (
            f"{needed_source.metadata.name}.{needed_source.kind.lower()}.yaml",
            manifest_text(of, source_remarks(needed_source), source_manifest(needed_source)),
        )
        for of, needed_source in needed.items()
    }


def _mapping(
    machines: Sequence[Machine], folder: ManifestDir, destination: str, report: FolderReport
) -> Places:
    path = folder.root / mappingfile.NAME
    is_new = not path.exists()
    document, _ = mappingfile.load(path)
    grown = mappingfile.extend(document, machines, destination)
    if is_new or grown:
        folder.replace(mappingfile.NAME, mappingfile.text(document))
    result = WriteResult.WRITTEN if is_new else WriteResult.UPDATED if grown else WriteResult.UNCHANGED
    report.files.append(WrittenFile(path, result))
    return mappingfile.load(path)[1]


def _unmapped(machines: Sequence[Machine], places: Places) -> list[str]:
    name_of = network_names(machines)
    nics = (nic for machine in machines for nic in machine.nics if nic.network)
    return sorted({name_of(nic) for nic in nics if places.network(nic) is None})


def _put(entry: Entry, source: Source, folder: ManifestDir, report: FolderReport) -> None:
    if entry.refusals:
        report.skipped.append(entry)
        return
    name, of = f"{entry.choice.name}.yaml", identity(entry.choice.machine, source)
    result = folder.put(name, of, manifest_text(of, entry.remarks, entry.manifest))
    report.files.append(WrittenFile(folder.root / name, result, entry))


def document(report: FolderReport) -> dict[str, Any]:
    """The report as a document."""
    return {
        "folder": str(report.root),
        "files": [_file(file) for file in report.files],
        "skipped": [
            {
                "machine": entry.choice.machine.path or entry.choice.machine.name,
                "reasons": list(entry.refusals),
            }
            for entry in report.skipped
        ],
        "unmapped": report.unmapped,
        "stale": [str(path) for path in report.stale],
    }


def _file(file: WrittenFile) -> dict[str, Any]:
    base: dict[str, Any] = {"file": str(file.path), "result": str(file.result)}
    if file.entry is None:
        return base
    machine = file.entry.choice.machine
    more = {"machine": machine.path or machine.name, "sourceId": machine.source_id}
    return base | more | {"import": file.entry.choice.name, "remarks": list(file.entry.remarks[1:])}


def warnings(report: FolderReport) -> Iterator[str]:
    """The warnings, one per line."""
    for file in report.files:
        if file.result is WriteResult.KEPT:
            yield f"{file.path} was edited by hand and is kept; use --force to overwrite it"
    for entry in report.skipped:
        machine = entry.choice.machine
        yield f"{machine.path or machine.name} cannot be imported: {' | '.join(entry.refusals)}"
    for path in report.stale:
        yield f"{path} is for a VM that was deleted or cannot be imported; delete the file"
    if report.unmapped:
        yield (
            f"no destination for {', '.join(report.unmapped)}: add one to the mapping and run this command "
            "again, or their NICs stay on the pod network"
        )


def summary(report: FolderReport) -> str:
    """The number of files per result."""
    counts = Counter(file.result for file in report.files)
    parts = [f"{counts[result]} {result}" for result in WriteResult if counts[result]]
    left_out = [f"{len(report.skipped)} VMs left out"] if report.skipped else []
    return f"{report.root}: {', '.join([*parts, *left_out])}"
