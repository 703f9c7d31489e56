"""What `preflight` hands to `admit`: bounded in size, and never trusted."""

from __future__ import annotations

import base64
import gzip
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.contract import Exit, StepError
from steps.model.machine_output import LONGEST_DOCUMENT, LONGEST_OUTPUT, from_output, to_output
from tests.unit.builders import a_disk, a_machine


@given(st.text(max_size=2000))
def test_a_vm_arrives_as_it_was_and_without_a_template(notes: str) -> None:
    machine = a_machine(notes=notes)
    output = to_output(machine)
    assert from_output(output) == machine
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", output)


def test_the_output_is_the_same_each_time() -> None:
    assert to_output(a_machine()) == to_output(a_machine())


def test_a_vm_with_many_disks_needs_little() -> None:
    machine = a_machine(disks=tuple(a_disk(number, label=f"Hard disk {number}") for number in range(64)))
    assert len(to_output(machine)) < 8 << 10


def notes_of(size: int) -> str:
    """Text that cannot be compressed much."""
    return base64.b64encode(os.urandom(size)).decode()


@pytest.mark.parametrize("notes", [notes_of(LONGEST_OUTPUT), "x" * LONGEST_DOCUMENT], ids=["packed", "whole"])
def test_a_description_that_is_too_large_is_refused_with_a_remedy(notes: str) -> None:
    with pytest.raises(StepError, match=r"too large.*shorten the notes") as caught:
        to_output(a_machine(notes=notes))
    assert caught.value.code is Exit.UNSUPPORTED


def packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


@pytest.mark.parametrize(
    "output",
    [
        "",
        "{{workflow.parameters.run}}",
        "not base64!",
        base64.b64encode(b"not gzip").decode(),
        to_output(a_machine())[:-8],
        base64.b64encode(base64.b64decode(to_output(a_machine())) + b"y").decode(),
        packed(bytes(64 << 20)),
        packed(b"[]"),
        packed(b"\xff\xfe"),
        packed(b'{"version": "2"}'),
        packed(b"[" * 100_000),
        packed(a_machine().to_json().encode().replace(b'"disk-0"', b'"../disk"')),
        packed(bytes(LONGEST_DOCUMENT + 1)),
        "A" * (LONGEST_OUTPUT + 1),
    ],
    ids=[
        *(
            "empty",
            "template",
            "not-base64",
            "not-gzip",
            "cut-off",
            "followed",
            "bomb",
            "a-list",
            "not-text",
            "another-version",
        ),
        *("deep", "odd-disk", "large-when-unpacked", "large"),
    ],
)
def test_anything_else_is_refused(output: str) -> None:
    with pytest.raises(StepError, match="the result of preflight is not valid") as caught:
        from_output(output)
    assert caught.value.code is Exit.INVALID
