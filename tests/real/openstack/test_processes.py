"""Stopping started processes, without any OpenStack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.real.openstack.stack.layout import StackError
from tests.real.openstack.stack.processes import Processes, wait

_ESCAPES = "setsid sh -c 'echo $$ >child; exec sleep 600' & exec sleep 600"
"""Its child leaves the process group, as privileged helpers of OpenStack do."""


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    for name in ("run", "log"):
        (tmp_path / name).mkdir()
    return Processes(tmp_path)


def test_children_that_left_the_group_are_stopped_too(processes: Processes, tmp_path: Path) -> None:
    processes.start("parent", ["sh", "-c", _ESCAPES], {})
    child = tmp_path / "child"
    wait(lambda: child.exists() and child.read_text().endswith("\n"), 30)
    pid = int(child.read_text())
    assert processes.runs("parent")
    processes.stop_all(())
    assert not processes.runs("parent")
    assert _gone(pid)
    assert processes.names() == []


def test_a_reused_pid_is_not_killed(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "run" / "other.pid").write_text(f"{os.getpid()} 1\n")
    assert not processes.runs("other")
    processes.stop("other")  # otherwise it would end this test
    assert processes.names() == []


def test_a_program_that_ends_at_start_is_reported_with_its_log(processes: Processes) -> None:
    processes.start("broken", ["sh", "-c", "echo no such database; exit 3"], {})
    with pytest.raises(StackError, match=r"broken ended as it started; .*\nno such database"):
        processes.await_ready("broken", lambda: False, 30)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
