from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.assess.readiness import Assessed
from controller.assess.report import Report, render, write
from controller.assess.workload import given
from steps.model.concerns import block, warn
from steps.model.contract import Exit, StepError
from steps.model.machine import Tag
from tests.unit.builders import GIB, a_disk, a_machine, a_nic

READY = Assessed(
    a_machine(
        path="/DC0/vm/web01",
        tags=(Tag(name="env", value="prod"),),
        disks=(a_disk(storage="ds1", capacity=9 * GIB, allocated=GIB),),
        nics=(a_nic(),),
    )
)
BLOCKED = Assessed(
    a_machine(name="db", path="/DC0/vm/db", disks=(a_disk(capacity=3 * GIB),)),
    blockers=(block("rdm", "disk-0 is a raw device", "convert it"),),
    warnings=(warn("mac", "no MAC"),),
)


def a_report(*vms: Assessed, **more: Any) -> Report:
    fields: dict[str, Any] = {
        "source": "VmwareSource vc",
        "address": "https://vcenter.example/sdk",
        "at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        "version": "0.1.0",
        "selection": "",
        "rate": given(1024 / 3600),
        "vms": vms,
    }
    return Report(**{**fields, **more})


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_the_report_has_readiness_blockers_sizes_and_hours_with_their_formula(suffix: str) -> None:
    text = render(a_report(READY, BLOCKED, BLOCKED), suffix)
    for words in (
        "VmwareSource vc",
        "https://vcenter.example/sdk",
        "2026-01-02 03:04 UTC",
        "hours = bytes to read / rate / 3600",
        "given with --rate",
        "disk-0 is a raw device",
        "convert it",
        "/DC0/vm/web01",
        "env:prod",
        "VM Network",
        "ds1",
        "~3 GiB",
        "7.0 h",
        "60 min",
        "vmferry plan",
    ):
        assert words in text, words
    assert (
        re.search(r">rdm</td><td class=\"number\">2<", text)
        if suffix == ".html"
        else "| `rdm` | 2 | `disk-0 is a raw device` | `convert it` |" in text
    )


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_a_report_of_nothing_says_so(suffix: str) -> None:
    text = render(a_report(), suffix)
    assert text.count("None of these VMs has one.") == 2


def test_the_selection_and_unknown_tags_are_named() -> None:
    text = render(a_report(READY, selection="--name web*", tags_unknown="no right"), ".md")
    assert "Selected by `--name web*`." in text
    assert "Tags are missing: `no right`." in text


def test_the_policy_of_the_page_allows_its_own_style() -> None:
    page = render(a_report(READY), ".html")
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page
    assert "@media print" in style


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("a", ["a.html", "a.md"]),
        ("a.b", ["a.b.html", "a.b.md"]),
        ("a.html", ["a.html"]),
        ("x/a.md", ["a.md"]),
    ],
)
def test_the_suffix_chooses_the_format(tmp_path: Path, name: str, files: list[str]) -> None:
    written = write(a_report(READY), tmp_path / name)
    assert [file.name for file in written] == files
    assert sorted(path.name for path in written[0].parent.iterdir()) == files


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StepError, match="cannot write") as caught:
        write(a_report(READY), tmp_path / "file" / "a.html")
    assert caught.value.code is Exit.CONFLICT


def test_tables_of_the_markdown_have_as_many_cells_in_each_row() -> None:
    text = render(a_report(READY, BLOCKED), ".md")
    for block_of_lines in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block_of_lines.splitlines()}
        assert len(counts) == 1, block_of_lines
