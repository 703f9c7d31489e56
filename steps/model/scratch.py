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
    taken_for: str = ""
    """The format for which qemu-img takes the disk inside if nobody names one; empty for a raw disk."""


def landing(scratch: Path, disk_format: DiskFormat) -> Path:
    """Where export lands the disk."""
    return scratch / f"disk.{disk_format}"


def ready(scratch: Path) -> Path:
    """The document in which convert names the disk's file."""
    return scratch / "ready.json"
