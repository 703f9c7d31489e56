"""Steps are killed at each request that changes OpenStack, before it is sent and after; then they are tried
again.

The tests check what is left in OpenStack, read through its API, and what landed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from steps.disk import qemu
from steps.model.contract import Exit
from tests.real.providers.openstack.conftest import Imported
from tests.real.providers.openstack.forward import Forward, Request

KILLED = -9
ATTEMPTS = 40
"""More than twice the changing requests of an export: it is killed before each and after each."""


@pytest.fixture
def forward() -> Iterator[Forward]:
    with Forward().running() as proxy:
        yield proxy


def attempt(imported: Imported, forward: Forward, name: str, *arguments: str) -> int:
    """Run a step in its own process group; returns its exit code, -9 if the proxy killed it."""
    with (imported.folder / "log").open("ab") as log:
        process = subprocess.Popen(
            imported.argv(name, *arguments),
            env=imported.environment(forward.url),
            start_new_session=True,
            stderr=log,
        )
    forward.victim = lambda: process.pid
    return process.wait(timeout=300)


def at_each_in_turn() -> Callable[[Request, bool], bool]:
    """Die once before and once after each kind of change."""
    died: set[tuple[str, str, bool]] = set()

    def now(request: Request, after: bool) -> bool:
        moment = (request.method, request.kind, after)
        if not request.changes or moment in died:
            return False
        died.add(moment)
        return True

    return now


def once(kind: str, after: bool) -> Callable[[Request, bool], bool]:
    """Die at one request only."""
    left = [True]
    return lambda request, done: request.kind == kind and done == after and bool(left and left.pop())


def test_an_export_killed_at_every_change_leaves_nothing(imported: Imported, forward: Forward) -> None:
    imported.stop()
    forward.when = at_each_in_turn()
    codes: list[int] = []
    while not codes or codes[-1] == KILLED:
        codes.append(attempt(imported, forward, "export", "--disk", "disk-0"))
        assert len(codes) < ATTEMPTS
    assert codes[-1] == 0
    # snapshot, volume, image created; image, volume, snapshot deleted: each before and after
    assert codes.count(KILLED) == 12
    landed = imported.landed("disk-0")
    assert qemu.compare(imported.originals[0], "raw", landed.path, landed.format)
    assert imported.project.held() == []
    asked = [request.kind for request in forward.seen if request.method == "POST"]
    assert asked.count("snapshots") <= 2  # the one that was not sent, and the one that was


@pytest.mark.parametrize("last", ["snapshots", "volumes", "os-volume_upload_image"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_release_source_deletes_the_leftovers_of_a_killed_export(
    imported: Imported, forward: Forward, last: str, after: bool
) -> None:
    imported.stop()
    forward.when = once(last, after)
    assert attempt(imported, forward, "export", "--disk", "disk-0") == KILLED
    assert attempt(imported, forward, "release_source") == 0
    assert imported.project.held() == []
    assert "left at the source" not in (imported.folder / "log").read_text()


def test_an_image_damaged_by_glance_is_detected(imported: Imported, forward: Forward) -> None:
    """Its digest was computed while Cinder wrote it."""
    imported.stop()
    forward.when = lambda request, done: done and request.method == "GET" and _is_active(imported)
    assert attempt(imported, forward, "export", "--disk", "disk-0") == KILLED
    (image,) = imported.project.connection.image.images(visibility="private", status="active")
    with (imported.project.cloud.layout.images / image.id).open("r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    forward.when = lambda _request, _done: False
    assert attempt(imported, forward, "export", "--disk", "disk-0") == Exit.CORRUPT
    assert "does not match its digest" in (imported.folder / "log").read_text()
    assert attempt(imported, forward, "release_source") == Exit.DONE


def _is_active(imported: Imported) -> bool:
    return bool(list(imported.project.connection.image.images(visibility="private", status="active")))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_server_is_stopped_once(imported: Imported, forward: Forward, after: bool) -> None:
    forward.when = once("os-stop", after)
    assert attempt(imported, forward, "poweroff") == KILLED
    assert attempt(imported, forward, "poweroff") == 0
    assert attempt(imported, forward, "poweroff") == 0
    assert imported.project.stops(imported.server) == 1
