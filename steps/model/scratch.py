"""File names in a disk's scratch folder, shared by export, convert, serve and image."""

from __future__ import annotations

from pathlib import Path

from steps.model.document import Document
from steps.model.plan import DiskFormat


class Ready(Document):
    """A checked disk in its served format: convert writes it for serve and image. Sizes in bytes."""

    file: str
    format: DiskFormat
    virtual_size: int
    size: int


def landing(scratch: Path, disk_format: DiskFormat) -> Path:
    """Where export lands the disk."""
    return scratch / f"disk.{disk_format}"


def ready(scratch: Path) -> Path:
    """The document in which convert names the disk's file."""
    return scratch / "ready.json"
