"""What all kinds of packages need to know about a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from steps.disk.source import Source
from steps.model.contract import Exit, StepError
from steps.providers.ova.source_file import SourceFile

BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""Byte order marks of UTF-8 and UTF-16."""


def is_web_page(head: bytes) -> bool:
    """Whether a file is a web page. Some servers send one, with status 200, for a file that is not there."""
    return normalized_head(head).startswith((b"<!doctype html", b"<html"))


def normalized_head(head: bytes) -> bytes:
    return head.removeprefix(BYTE_ORDER_MARKS[0]).lstrip()[:64].lower()


def identified_source(file: SourceFile, offset: int, length: int | None, name: str) -> Source:
    """A window with an identity of its content: the URL may differ each time."""
    return replace(file.source(offset, length), identity=f"{file.display_url} {file.version} {name}")


def missing_file(name: str, where: str) -> StepError:
    """The error for a missing file that the descriptor refers to."""
    return StepError(
        Exit.NOT_FOUND, f"{name} is not in {where}", "the descriptor refers to it", "get the complete package"
    )
