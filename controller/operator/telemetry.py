"""Log lines: logrus' text, which people grep, and the lines that the QA plan looks for.

Texts after harvester/vm-import-controller (pkg/controllers/migration/virtualmachine.go; the two older ones of
v1.1 to v1.4). One line for each step forward, when the controller sees it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog

from workflows.api.conditions import find, holds
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import DiskImportStatus, ImportPhase, ImportStatus
from workflows.status.phase import CANCELLED, PARKED, SUCCEEDED

Line = tuple[int, str, Mapping[str, str]]
"""Level, text, and keys in addition to those of the import."""

ENTERED: Final[Mapping[str, tuple[str, ...]]] = {
    ImportPhase.VALID: (
        "Sanitizing the import spec ...",
        "The sanitization of the import spec was successful",
    ),
    ImportPhase.SOURCE_READY: ("Importing client disk images ...",),
    ImportPhase.DISKS_EXPORTED: ("Creating VM images ...",),
    ImportPhase.IMAGES_SUBMITTED: ("Evaluating VM images ...",),
    ImportPhase.IMAGES_READY: ("Creating VM instances ...",),
    ImportPhase.CREATED: ("Checking VM instances ...",),
    ImportPhase.RUNNING: ("Tidy up objects ...", "The VM was imported successfully"),
}
"""The lines when an import reaches a phase."""
CONDITIONS: Final[Mapping[str, str]] = {
    "VMShutdownGuest": "Shutting down guest OS of the source VM",
    "VMPoweringOff": "Powering off the source VM",
    "VMPoweredOff": "Exporting source VM",
}
"""The lines when a condition becomes True."""
EXPORT: Final = "export"
PREFLIGHT: Final = "preflight"
SUBMITTED: Final = "VirtualMachineImageSubmitted"
NOT_READY: Final = "SourceNotReady"
NO_DISKS: Final = "has no disks"
NAME: Final = "is not RFC 1123 compliant"


def configure(*, debug: bool) -> None:
    """Log to standard error as `time="…" level=info msg="…" key=value`, also for libraries."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("msg"),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _logfmt],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    for noisy in ("kubernetes", "urllib3"):  # they log bodies and headers, tokens included
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _logfmt(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """In the order and quoting of logrus' TextFormatter: time, level and msg first, the rest by name."""
    event["msg"] = str(event.get("msg", ""))
    event["level"] = {"critical": "fatal"}.get(event.get("level", ""), event.get("level", "info"))
    first = ("time", "level", "msg")
    keys = [*first, *sorted(key for key in event if key not in first and not key.startswith("_"))]
    return " ".join(f"{key}={_value(event[key], key)}" for key in keys if key in event)


def _value(value: Any, key: str) -> str:
    text = str(value)
    plain = text and all(char.isalnum() or char in "-._/@^+" for char in text)
    if plain and key not in ("time", "msg"):
        return text
    # A name from a source must not control the terminal of a person who reads the log.
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    return char if char.isprintable() and char not in '"\\' else json.dumps(char)[1:-1]


def lines(before: ImportStatus, after: ImportStatus, import_: VirtualMachineImport) -> Iterator[Line]:
    """The lines for the changes between two statuses."""
    if after.workflow and (before.workflow is None or before.workflow.name != after.workflow.name):
        yield from _start_lines(import_)
    yield from _waiting_lines(before, after)
    new_kinds = {
        kind
        for kind in CONDITIONS
        if holds(after.import_conditions, kind) and not holds(before.import_conditions, kind)
    }
    yield from ((logging.INFO, text, {}) for kind, text in CONDITIONS.items() if kind in new_kinds)
    if new_kinds and not holds(after.import_conditions, "VMPoweredOff"):
        yield logging.INFO, "Waiting for VM to be powered off ...", {}
    for row in after.disk_import_status:
        yield from _disk_lines(before.disk(row.id) or DiskImportStatus(), row)
    if after.import_status != before.import_status:
        for text in ENTERED.get(after.import_status, ()):
            yield logging.INFO, text, {}
        yield from _end_lines(after, import_)


def _start_lines(import_: VirtualMachineImport) -> Iterator[Line]:
    yield logging.INFO, "Running preflight checks ...", {}
    if import_.spec.skip_preflight_checks:
        yield logging.INFO, "Skipping preflight checks", {}
    else:
        yield logging.INFO, "Checking the source network as part of the preflight checks", {}


def _waiting_lines(before: ImportStatus, after: ImportStatus) -> Iterator[Line]:
    old, new = find(before.import_conditions, SUCCEEDED), find(after.import_conditions, SUCCEEDED)
    if new and new.reason == NOT_READY and (old is None or old.reason != NOT_READY):
        yield logging.WARNING, "The source cluster is not ready yet", {"err": new.message}


def _disk_lines(before: DiskImportStatus, after: DiskImportStatus) -> Iterator[Line]:
    """A disk is read from its source (seen late, it may already be a step further), then becomes an image."""
    if after.step != before.step and (after.step == EXPORT or not before.step):
        fields = {"disk": after.disk_name, "size": str(after.disk_size), "busType": after.bus_type}
        yield logging.INFO, "Downloading an image", fields
    if holds(after.disk_conditions, SUBMITTED) and not holds(before.disk_conditions, SUBMITTED):
        yield logging.INFO, "Creating a new Harvester VirtualMachineImage", {"disk": after.disk_name}


def _end_lines(after: ImportStatus, import_: VirtualMachineImport) -> Iterator[Line]:
    summary = find(after.import_conditions, SUCCEEDED)
    error_field = {"err": summary.message} if summary and summary.message else {}
    if after.import_status == ImportPhase.IMAGE_FAILED:
        yield logging.ERROR, "Failed to import client disk images. Try again ...", error_field
    elif after.import_status == ImportPhase.FAILED:
        level = logging.INFO if summary and summary.reason in (CANCELLED, PARKED) else logging.ERROR
        yield level, "The VM import has failed", error_field
    elif after.import_status == ImportPhase.INVALID:
        if after.step == PREFLIGHT:
            message = (
                f"Failed to perform source cluster specific preflight checks: {error_field.get('err', '')}"
            )
            yield logging.ERROR, message, {}
        yield from _refusal_lines(import_, error_field)


def _refusal_lines(import_: VirtualMachineImport, error_field: Mapping[str, str]) -> Iterator[Line]:
    metadata, message = import_.metadata, error_field.get("err", "")
    where = f"{metadata.name} in namespace {metadata.namespace}"
    if NAME in message:
        target = import_.spec.target_virtual_machine_name or import_.spec.virtual_machine_name
        yield logging.ERROR, f"vm migration target {target} in VM {where} {NAME}", {}
        yield logging.ERROR, f"The definitive name of the imported VM {NAME}", {}
    if NO_DISKS in message:
        yield logging.ERROR, "The imported VM has no disks, being marked as invalid and will be ignored", {}
    yield logging.ERROR, "The VM import spec is invalid", error_field
    yield logging.INFO, f"vm {where} has an invalid spec", {}
