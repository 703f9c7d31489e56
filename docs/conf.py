"""Sphinx builds the pages of this folder by this: `make docs`."""

from __future__ import annotations

from typing import Final

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
