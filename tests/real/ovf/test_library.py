"""Each descriptor of VMware's library is read without an internal fault and in little time, with a verdict.

`VMFERRY_GOLDEN=write` writes the verdicts. Look at the difference before you commit it.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.real.ovf import library, reasons
from tests.real.ovf.library import TAKEN

GOLDEN = Path(__file__).parent / "verdicts.tsv"
MOST_SECONDS = 5.0
"""CPU time of one descriptor. The slowest took 0.1 s."""


def verdicts() -> dict[str, str]:
    """The verdict of each descriptor by its path in the library."""
    rows = (line.partition("\t") for line in GOLDEN.read_text().splitlines())
    return {path: words for path, _, words in rows}


def is_taken(words: str) -> bool:
    """Whether a descriptor is taken, if its files are in the package."""
    return words.rpartition("inside: ")[2] == TAKEN


@pytest.mark.skipif(shutil.which("go") is None, reason="LIBRARY NOT READ: the Go command downloads it")
def test_every_descriptor_has_the_expected_verdict(tmp_path: Path) -> None:
    folder = library.fixtures()
    found: dict[str, str] = {}
    slow: list[str] = []
    for number, descriptor in enumerate(library.descriptors(folder)):
        place = tmp_path / str(number)
        place.mkdir()
        began = time.process_time()
        name = str(descriptor.relative_to(folder))
        found[name] = library.judge(descriptor, place).words
        if time.process_time() - began > MOST_SECONDS:
            slow.append(name)
        shutil.rmtree(place)
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "generated files are written by a person, who reads the diff"
        GOLDEN.write_text("".join(f"{name}\t{words}\n" for name, words in found.items()))
    assert len(found) > 900
    assert found == verdicts()
    assert slow == []


def test_each_refused_descriptor_that_vmware_takes_has_a_reason() -> None:
    refused = {path: words for path, words in verdicts().items() if "/Pos/" in path and not is_taken(words)}
    assert refused
    lacking = {
        path for path, words in refused.items() if words.rpartition("inside: ")[2] not in reasons.REFUSED
    }
    assert lacking == set()


def test_each_taken_descriptor_that_vmware_refuses_has_a_reason() -> None:
    negative = {path for path in verdicts() if "/Neg/" in path or "/ovf_negative_test/" in path}
    taken = {Path(path).stem for path in negative if is_taken(verdicts()[path])}
    assert taken == set(reasons.TAKEN)
