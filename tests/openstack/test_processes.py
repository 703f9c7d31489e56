"""Ending what was started, without any OpenStack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.openstack.stack.layout import StackError
from tests.openstack.stack.processes import Processes, wait

_ESCAPES = "setsid sh -c 'echo $$ >child; exec sleep 600' & exec sleep 600"
"""Its child leaves the process group, as privileged helpers of OpenStack do."""


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    for name in ("run", "log"):
        (tmp_path / name).mkdir()
    return Processes(tmp_path)


def test_children_that_left_the_group_are_ended_too(processes: Processes, tmp_path: Path) -> None:
    processes.start("parent", ["sh", "-c", _ESCAPES], {})
    child = tmp_path / "child"
    wait(lambda: child.exists() and child.read_text().endswith("\n"), 30)
    pid = int(child.read_text())
    assert processes.runs("parent")
    processes.stop_all(())
    assert not processes.runs("parent")
    assert _gone(pid)
    assert processes.names() == []


def test_a_pid_that_another_process_has_now_is_let_alone(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "run" / "other.pid").write_text(f"{os.getpid()} 1\n")
    assert not processes.runs("other")
    processes.stop("other")  # would end this test otherwise
    assert processes.names() == []


def test_what_ends_as_it_starts_is_told_with_the_end_of_its_log(processes: Processes) -> None:
    processes.start("broken", ["sh", "-c", "echo no such database; exit 3"], {})
    with pytest.raises(StackError, match=r"broken ended as it started; .*\nno such database"):
        processes.await_ready("broken", lambda: False, 30)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
