"""What lies in a disk's scratch folder, by name: the agreement between export, convert, serve and image."""

from __future__ import annotations

from pathlib import Path

from steps.model.document import Document
from steps.model.plan import DiskFormat


class Ready(Document):
    """A disk in its served format, checked: what convert leaves for serve and image. Sizes in bytes."""

    file: str
    format: DiskFormat
    virtual_size: int
    size: int


def landing(scratch: Path, disk_format: DiskFormat) -> Path:
    """Where export lands the disk."""
    return scratch / f"disk.{disk_format}"


def ready(scratch: Path) -> Path:
    """Where convert says which file is the disk."""
    return scratch / "ready.json"
