"""The steps as programs in cluster mode: real nginx, real files, the cluster in memory."""

from __future__ import annotations

import hashlib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from steps import image, serve
from steps.model.contract import Exit
from tests.forwardproxy import Forward, forward
from tests.unit.steps.targets.harvester.stand_ins import TOKEN
from tests.unit.steps.targets.harvester.test_programs import DATA, Pod, Serving, pod, world
from tests.unit.steps.targets.harvester.world import World

__all__ = ["forward", "pod", "world"]
pytestmark = pytest.mark.programs


@pytest.fixture
def serving(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setattr(serve, "CHECK_SECONDS", 0.05)
    running = Serving(pod)
    running.start()
    until(lambda: running.web.served_disk("disk-0") is not None or not running.is_alive())
    yield running
    running.stop.set()
    running.join(20)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def served_digest(serving: Serving) -> str:
    """The digest in the description of the served disk."""
    served = serving.web.served_disk("disk-0")
    return served.sha512 if served else ""


def url_of(serving: Serving) -> str:
    """The URL of the disk, which the target gets."""
    served = serving.web.served_disk("disk-0")
    assert served is not None
    return serving.web.url("disk-0", served)


def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - our own nginx
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_serve_and_image_transfer_a_disk(
    pod: Pod,
    world: World,
    serving: Serving,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("steps.targets.harvester.publishing.POLL", 0.01)
    world.volumes().save(pod.folder / "request" / "volumes.json")
    where = ("--token-file", pod.token, "--origin", serving.origin)
    assert pod.run(image.body, image.arguments(), "--disk", "disk-0", *where) is Exit.DONE
    serving.join(20)
    assert serving.code is Exit.DONE
    (made,) = world.published()
    assert pod.output("image") == made["metadata"]["name"]
    assert pod.output("digest") == pod.output("sha512") == hashlib.sha512(DATA).hexdigest()
    assert pod.output("integrity") == "sha512"
    assert pod.output("volume") == "web01-disk-0"
    captured = capfd.readouterr()
    assert TOKEN not in captured.out + captured.err
    (line,) = [one for one in (captured.out + captured.err).splitlines() if "disk published" in one]
    assert pod.output("digest") in line
    assert "sha256" not in line, "the target has none: an empty one would look like a fault"


def test_requests_between_the_steps_use_no_proxy(
    pod: Pod, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would see the secret part of the disk's URL, and could reach neither of them."""
    forward.refuses = 403
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, forward.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    serving = Serving(pod)
    serving.start()
    until(lambda: serving.web.served_disk("disk-0") is not None or not serving.is_alive())
    is_up = serving.is_alive()
    serving.stop.set()
    serving.join(20)
    assert (is_up, forward.asked) == (True, [])


def test_a_second_workflow_of_a_finished_image_ends(
    pod: Pod, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the annotation or an edited spec: both steps run again, and both end."""
    monkeypatch.setattr(serve, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr("steps.targets.harvester.publishing.POLL", 0.01)
    for workflow in ("vmi-web-g1", "vmi-web-g1-r1"):
        serving = Serving(pod, "--workflow", workflow)
        serving.start()
        until(lambda serving=serving: bool(served_digest(serving)) or not serving.is_alive())  # type: ignore[misc]
        where = ("--token-file", pod.token, "--origin", serving.origin, "--workflow", workflow)
        assert pod.run(image.body, image.arguments(), "--disk", "disk-0", *where) is Exit.DONE
        serving.join(20)
        assert serving.code is Exit.DONE
    assert world.harvester.made == [pod.output("image")]


def test_only_the_disk_is_served_with_the_token(serving: Serving) -> None:
    url = url_of(serving)
    assert fetch(url) == (200, DATA)
    assert fetch(url, "HEAD") == (200, b"")
    assert fetch(url, Range="bytes=0-127") == (206, DATA[:128])
    assert fetch(url, "DELETE")[0] == 403
    for path in ("/", "/disk-0.raw", f"/{TOKEN}/", f"/{TOKEN}/disk-1.raw", "/disk-0.json"):
        assert fetch(serving.origin + path)[0] == 404
    until(lambda: served_digest(serving) == hashlib.sha512(DATA).hexdigest())


@pytest.mark.parametrize(
    ("listen", "host"),
    [("[::1]", "[::1]"), ("[::]", "[::1]"), ("[::]", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],  # noqa: S104
)
def test_clients_of_both_families_get_the_disk(pod: Pod, listen: str, host: str) -> None:
    """A pod of an IPv6-only cluster has no IPv4 address but that of loopback."""
    if "::" in listen + host and not has_ipv6_loopback():
        pytest.skip("this host has no IPv6")
    running = Serving(pod, listen=listen, host=host)
    running.start()
    until(lambda: bool(served_digest(running)) or not running.is_alive())
    found = fetch(url_of(running)) if running.is_alive() else None
    running.stop.set()
    running.join(20)
    assert found == (200, DATA)


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_a_stopped_serve_is_not_done(pod: Pod, serving: Serving) -> None:
    serving.stop.set()
    serving.join(20)
    assert serving.code is Exit.STOPPED


def test_serve_ends_if_no_image_reports(pod: Pod) -> None:
    running = Serving(pod, "--patience", "0.1")
    running.start()
    running.join(20)
    assert running.code is Exit.UNREACHABLE
    assert "image step did not report" in pod.words


def test_serve_ends_with_the_failure_of_its_image(pod: Pod, world: World, serving: Serving) -> None:
    world.harvester.fail = ["no space"]
    serving.stop.set()
    serving.join(20)
    with pytest.raises(Exception, match="no space"):
        world.publish()
    running = Serving(pod, "--patience", "0.1")
    running.start()
    running.join(20)
    assert running.code is Exit.SIBLING
    assert "the image of disk-0 failed" in pod.words
