"""The guard on connected addresses: each client in a process of its own, because a hook stays."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.contract import Exit, StepError
from steps.runtime import guard
from steps.runtime.guard import ALLOWED, BLOCKED, REDIRECT_HOSTS, Guard
from tests.forwardproxy import Forward, forward
from tests.serving import serving

__all__ = ["forward"]
HOME: Final = "127.0.0.1"
INSIDE: Final = "127.0.0.2"
"""Stands for an address of the cluster; the first one is allowed in these tests."""
ANSWER: Final = "INTERNAL-ANSWER"


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def ports(asked: list[str]) -> Iterator[tuple[int, int]]:
    """Servers at HOME, which redirects, and INSIDE, which has a secret and must not be asked."""

    class Inside(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    class Home(Inside):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://{INSIDE}:{inside.server_port}/x.ova")
            self.send_header("Content-Length", "0")
            self.end_headers()

    inside = http.server.ThreadingHTTPServer((INSIDE, 0), Inside)
    home = http.server.ThreadingHTTPServer((HOME, 0), Home)
    with serving(inside), serving(home):
        yield home.server_port, inside.server_port


def run(code: str, **environment: str) -> str:
    """What a program prints; the guard is on, and HOME is allowed."""
    given = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"], BLOCKED: "", ALLOWED: HOME}
    program = f"from steps.runtime import guard\nguard.install()\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=given | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


CLIENTS: Final = {
    "http.client": "import http.client as h; c = h.HTTPConnection('{host}', {port}); c.request('GET', '/')",
    "urllib": "import urllib.request as u; u.urlopen('http://{host}:{port}/')",
    "requests": "import requests; requests.get('http://{host}:{port}/')",
    "disk": "from steps.disk.http_client import HttpClient as C; C('http://{host}:{port}/', None).get({{}})",
    "vsphere": "from pyVim.connect import SmartConnect; SmartConnect(host='{host}', port={port})",
    "socket": "import socket; socket.socket().connect_ex(('{host}', {port}))",
    "asyncio": "import asyncio; asyncio.run(asyncio.open_connection('{host}', {port}))",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_reaches_a_blocked_address(client: str, ports: tuple[int, int], asked: list[str]) -> None:
    said = run(CLIENTS[client].format(host=INSIDE, port=ports[1]))
    assert asked == []
    assert "this installation does not allow sources there" in said


@pytest.mark.parametrize("client", ["http.client", "requests", "disk", "socket"])
def test_an_allowed_address_is_reached(client: str, ports: tuple[int, int]) -> None:
    assert run(CLIENTS[client].format(host=HOME, port=ports[0]), **{ALLOWED: "127.0.0.0/8"}) == ""


REBINDING: Final = """
import socket, http.client
addresses = iter(["192.0.2.1", "{inside}"])
socket.getaddrinfo = lambda host, port, *_, **__: [(2, 1, 6, "", (next(addresses), port))]
print(socket.getaddrinfo("rebinding.example", 80))
http.client.HTTPConnection("rebinding.example", {port}).request("GET", "/")
"""


def test_a_name_that_changes_its_address_is_no_way_around(ports: tuple[int, int], asked: list[str]) -> None:
    said = run(REBINDING.format(inside=INSIDE, port=ports[1]))
    assert "192.0.2.1" in said
    assert "does not allow sources there" in said
    assert asked == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "224.0.0.1", "::1", "::", "fe80::1"),  # noqa: S104
        *(
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "2002:7f00:1::",
            "fe80::1%eth0",
            "fd00:ec2::254",
            "100.100.100.200",
            "localhost",
            "10.42.3.4",
        ),
    ],
)
def test_addresses_that_are_always_refused(host: str) -> None:
    found = Guard.read({BLOCKED: "10.42.0.0/16"})
    assert found is not None
    with pytest.raises(StepError) as caught:
        found.check(host, 443)
    assert caught.value.code is Exit.INVALID


@pytest.mark.parametrize("host", ["192.0.2.1", "10.43.0.1", "2001:db8::1", "no-such-name.invalid"])
def test_other_addresses_are_not_refused(host: str) -> None:
    found = Guard.read({BLOCKED: "10.42.0.0/16"})
    assert found is not None
    found.check(host, 443)


def test_an_exception_has_precedence() -> None:
    found = Guard.read({BLOCKED: "10.42.0.0/16", ALLOWED: "10.42.7.0/24, ::1"})
    assert found is not None
    found.check("10.42.7.9", 443)
    found.check("::1", 443)
    with pytest.raises(StepError, match=r"10\.42\.8\.9 is in 10\.42\.0\.0/16"):
        found.check("10.42.8.9", 443)


def test_the_api_server_is_reached_at_its_port_only() -> None:
    api = {"KUBERNETES_SERVICE_HOST": "10.43.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    found = Guard.read({BLOCKED: "10.43.0.0/16", **api})
    assert found is not None
    found.check("10.43.0.1", 443)
    for host, port in (("10.43.0.1", 80), ("10.43.0.2", 443)):
        with pytest.raises(StepError):
            found.check(host, port)


def test_without_the_variable_there_is_no_guard() -> None:
    assert Guard.read({}) is None


@pytest.mark.parametrize("name", [BLOCKED, ALLOWED])
def test_a_list_that_is_not_one_is_refused(name: str) -> None:
    with pytest.raises(StepError, match=f"{name} is not a list of networks"):
        Guard.read({BLOCKED: "", name: "10.42.0.0/16,all"})


PROXY: Final = {"http_proxy": f"http://{INSIDE}:3128", "no_proxy": "exempt.example"}


def test_the_configured_proxy_is_reached_but_not_what_is_requested_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**PROXY, BLOCKED: ""}.items():
        monkeypatch.setenv(name, value)
    found = Guard.read()
    assert found is not None
    found.check(INSIDE, 3128)
    with pytest.raises(StepError):
        found.check(INSIDE, 3129)
    with pytest.raises(StepError, match=r"169\.254\.169\.254"):
        guard.check_requested("169.254.169.254", 80)
    guard.check_requested("name-that-only-the-proxy-knows.invalid", 80)


LOGIN: Final = ("username", "password", "project_name", "domain_name")


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [("OpenstackSource", f"http://{INSIDE}:5000/v3"), ("VmwareSource", f"https://{INSIDE}/sdk")],
)
def test_no_source_reaches_a_blocked_address_through_the_proxy(
    kind: str, endpoint: str, forward: Forward, tmp_path: Path
) -> None:
    for key in LOGIN:
        (tmp_path / key).write_text("x")
    source = {"kind": kind, "name": "s", "endpoint": endpoint, "insecure_skip_tls_verify": True}
    (tmp_path / "plan.json").write_text(json.dumps(source))
    done, words = verify(tmp_path, http_proxy=forward.url, https_proxy=forward.url)
    assert done.returncode == Exit.INVALID, done.stderr
    assert f"{INSIDE} is in 127.0.0.0/8" in words
    assert forward.asked == []


def test_a_proxy_that_cannot_be_used_disturbs_no_direct_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that NO_PROXY exempts do not need it."""
    for name, value in {
        "https_proxy": "socks5://127.0.0.1:1080",
        "no_proxy": "192.0.2.1",
        BLOCKED: "",
    }.items():
        monkeypatch.setenv(name, value)
    found = Guard.read()
    assert found is not None
    found.check("192.0.2.1", 443)


def verify(folder: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """The step `verify`, and its last words. The guard is on, and HOME is allowed."""
    words = folder / "words"
    folders = [
        part
        for name in ("request", "scratch", "outputs", "credentials")
        for part in (f"--{name}", str(folder))
    ]
    given = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"], "HOME": str(folder)}
    given |= {BLOCKED: "", ALLOWED: HOME, "VMFERRY_TERMINATION_LOG": str(words)}
    done = subprocess.run(
        [sys.executable, "-m", "steps.verify", *folders],
        env=given | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, words.read_text()


def test_a_redirect_into_the_cluster_is_refused_without_its_answer(
    ports: tuple[int, int], asked: list[str], tmp_path: Path
) -> None:
    """The whole step, with an OVA whose server redirects (finding F3)."""
    plan = f'{{"kind": "OvaSource", "name": "s", "endpoint": "http://{HOME}:{ports[0]}/x.ova"}}'
    (tmp_path / "plan.json").write_text(plan)
    done, words = verify(tmp_path)
    assert done.returncode == Exit.INVALID, done.stderr
    assert asked == []
    assert f"{INSIDE} is in 127.0.0.0/8" in words
    assert ANSWER not in words + done.stderr


def test_a_redirect_to_another_host_is_refused_where_the_installation_names_none(
    ports: tuple[int, int], asked: list[str], tmp_path: Path
) -> None:
    """Also to an address that the guard allows."""
    plan = f'{{"kind": "OvaSource", "name": "s", "endpoint": "http://{HOME}:{ports[0]}/x.ova"}}'
    (tmp_path / "plan.json").write_text(plan)
    done, words = verify(tmp_path, **{ALLOWED: "127.0.0.0/8", REDIRECT_HOSTS: ""})
    assert done.returncode == Exit.INVALID, done.stderr
    assert asked == []
    assert f"redirects to the host '{INSIDE}'" in words
    done, _ = verify(tmp_path, **{ALLOWED: "127.0.0.0/8", REDIRECT_HOSTS: INSIDE})
    assert asked
