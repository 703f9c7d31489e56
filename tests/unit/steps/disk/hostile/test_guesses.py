"""What receivers would take a raw disk for, by the bytes that its guest wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.disk.guesses import HEAD_BYTES, guess
from tests.unit.steps.disk.lookalikes import disk, heads, ordinary

CANARY = Path("/etc/passwd")
FORMATS = {
    "qcow2": "qcow2",
    "qcow": "qcow2",
    "qed": "qed",
    "vmdk sparse": "vmdk",
    "vmdk of ESX": "vmdk",
    "vmdk descriptor": "vmdk",
    "vmdk text": "vmdk",
    "vdi": "vdi",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "luks": "luks",
    "parallels": "parallels",
    "parallels extended": "parallels",
    "bochs": "bochs",
    "cloop": "cloop",
    "gzip": "gz",
    "gzip in name only": "gz",
    "xz": "xz",
    "zstd": "zst",
    "tar": "tar",
}


@pytest.mark.parametrize("name", heads(CANARY))
def test_a_header_that_a_guest_wrote_is_recognized(name: str) -> None:
    found = guess(disk(heads(CANARY)[name])[:HEAD_BYTES])
    assert found is not None
    assert found.format == FORMATS[name]
    assert found.by_qemu == (found.format not in ("gz", "xz", "zst", "tar"))


@pytest.mark.parametrize("name", ordinary())
def test_an_ordinary_disk_is_raw(name: str) -> None:
    assert guess(disk(ordinary()[name])[:HEAD_BYTES]) is None


def test_the_footer_of_a_vhd_changes_nothing() -> None:
    """No receiver looks at the end of a disk."""
    made = bytearray(disk(b""))
    made[-512:] = b"conectix".ljust(512, b"\0")
    assert guess(bytes(made[:HEAD_BYTES])) is None


@pytest.mark.parametrize("name", heads(CANARY))
def test_only_the_bytes_that_receivers_look_at_count(name: str) -> None:
    shifted = bytes(HEAD_BYTES) + heads(CANARY)[name]
    assert guess(shifted) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_any_head_has_an_answer(head: bytes) -> None:
    guess(head)


@given(st.text(alphabet="#\n\r version=1", max_size=HEAD_BYTES))
def test_text_is_judged_in_linear_time(text: str) -> None:
    guess(text.encode())
