"""A program that asks a source for one answer ends at its deadline, with a message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from steps.model.contract import TERMINATION_LOG_ENV, Exit, StepError
from steps.runtime import deadline

PROGRAM = """\
import socket, sys
from steps.runtime.program import Arguments, run
def body(context):
    one, other = socket.socketpair()
    while True:
        try:
            one.recv(1)
        except BaseException:
            pass
run(Arguments("waits", ""), body, [])
"""


def test_a_program_that_hangs_ends_with_a_message(tmp_path: Path) -> None:
    words = tmp_path / "words"
    environment = {deadline.SECONDS_ENV: "0.2", TERMINATION_LOG_ENV: str(words), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=False, timeout=120)
    assert done.returncode == Exit.UNREACHABLE
    assert words.read_text() == (
        "the source did not answer within 0.2 s; check that the cluster can reach its address\n"
    )


@pytest.mark.parametrize("text", ["soon", "1 minute", "1e999"])
def test_a_setting_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(StepError) as caught:
        deadline.start({deadline.SECONDS_ENV: text})
    assert caught.value.code is Exit.INVALID


def test_there_is_no_deadline_without_the_setting() -> None:
    deadline.start({})
