"""Names, notes and messages come from a source: others choose them."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from controller.assess.readiness import Assessed
from controller.assess.report import Report, render
from controller.assess.spreadsheet import COLUMNS, to_csv
from controller.assess.texts import code_span, visible
from controller.assess.workload import ASSUMED
from steps.model.concerns import block, warn
from steps.model.machine import Tag
from tests.unit.builders import a_disk, a_machine, a_nic

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;script&gt;",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "` | ``` <b>",
    "a|b|c",
    "a\\|b\\\\|c\\\\\\|d",
    "ends with \\",
    "a\n| b |\n<script>",
    "# heading\n---",
    "\x1b]0;owned\x07\x1b[2J",
    "photo\u202egpj.exe",
    "zero\u200bwidth\u2028line",
    '=HYPERLINK("http://evil","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    " =1+1",
    "\uff1d1+1",
    "\r\n=1",
    "x" * 100_000,
    "\ud800",
]


def an_assessed(text: str) -> Assessed:
    return Assessed(
        a_machine(
            name=text,
            path=f"/DC0/vm/{text}",
            source_id=text,
            notes=text,
            os=text,
            guest_name=text,
            tags=(Tag(name=text, value=text),),
            disks=(a_disk(storage=text, label=text),),
            nics=(a_nic(network=text),),
        ),
        blockers=(block("code", text, text),),
        warnings=(warn(text, text),),
    )


def a_report(text: str) -> Report:
    return Report(
        source=f"VmwareSource {text}",
        address=text,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        version="1",
        selection=f"--name {text}",
        rate=ASSUMED,
        vms=(an_assessed(text),),
        tags_unknown=text,
    )


class Seen(HTMLParser):
    """The elements and the attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_an_element_to_the_page(text: str) -> None:
    page, plain = Seen(render(a_report(text), ".html")), Seen(render(a_report("plain"), ".html"))
    assert page.elements == plain.elements
    assert visible(text) in "".join(page.texts)


def test_the_page_needs_no_other_file_and_forbids_scripts() -> None:
    page = render(a_report("plain"), ".html")
    assert "default-src 'none'" in page
    assert not re.search(r"\b(src|href|action)=", page)
    assert "unsafe" not in page


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_changes_the_structure_of_the_markdown(text: str) -> None:
    found, plain = render(a_report(text), ".md").splitlines(), render(a_report("plain"), ".md").splitlines()
    assert [outline(line) for line in found] == [outline(line) for line in plain]
    assert [cells(line) for line in found] == [cells(line) for line in plain]


def cells(line: str) -> int:
    """The cells of a row of a table, as cmark-gfm reads them before any markup (scanners.re, table_cell)."""
    if not line.startswith("|"):
        return 0
    return len(re.findall(r"(?:\\[!-/:-@\[-`{-~]|[^|\\]|\\)+", line[1:]))


def outline(line: str) -> str:
    """A line without its code spans: a fence ends at the next run of backticks of the same length."""
    return re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "CODE", line)


@pytest.mark.parametrize("text", ["", " ", "`", "``", "a`b", "```x``", "`x`", "|", "a|b"])
def test_a_code_span_holds_any_backticks(text: str) -> None:
    span = code_span(text)
    assert outline(span) == ("CODE" if text else "")
    assert not re.search(r"(?<!\\)\|", span)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula_and_each_vm_is_one_row(text: str) -> None:
    written = to_csv([an_assessed(text), an_assessed("plain")])
    written.encode()
    rows = list(csv.reader(io.StringIO(written, newline=""), strict=True))
    assert [len(row) for row in rows] == [len(COLUMNS)] * 3
    assert not any(cell.lstrip().startswith(tuple("=+-@\uff1d|%")) for row in rows for cell in row)
    assert all(letter.isprintable() for row in rows for cell in row for letter in cell)


def test_what_cannot_be_seen_is_written_as_an_escape() -> None:
    assert visible("a\x1b[2J\u202eb\n\U000e0001") == "a\\x1b[2J\\u202eb\\x0a\\U000e0001"
    assert visible("x" * 400) == "x" * 300 + "…"
    assert visible("Größe 東京 😀") == "Größe 東京 😀"
