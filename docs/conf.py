"""Sphinx builds the pages of this folder with these settings: `make docs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

project: Final = "vmferry"
author: Final = "The authors of vmferry"
html_title: Final = "vmferry"
extensions: Final = ["myst_parser"]
html_theme: Final = "furo"
root_doc: Final = "index"
source_suffix: Final = {".md": "markdown"}
myst_heading_anchors: Final = 3
highlight_language: Final = "none"
exclude_patterns: Final = ["_build"]

_INDEXES: Final = ("index", "decisions/index")
_ROW: Final = re.compile(r"^\| \[[^\]]+\]\(([\w/-]+)\.md\)", re.MULTILINE)


def setup(app: Any) -> None:
    """The tables of an index page are its contents, so that they need not be written twice."""
    app.connect("source-read", _with_contents)


def _with_contents(_app: Any, page: str, source: list[str]) -> None:
    if page in _INDEXES:
        source[0] += "\n".join(_contents(source[0]))


def _contents(text: str) -> Iterator[str]:
    for section in text.split("\n## "):
        if found := _ROW.findall(section):
            title = section.partition("\n")[0].lstrip("# ")
            yield from ("", "```{toctree}", ":hidden:", f":caption: {title}", "", *found, "```", "")
