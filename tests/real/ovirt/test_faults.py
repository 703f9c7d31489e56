"""Faults, held calls, outages and the record of the stand-in."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import time
from pathlib import Path

import pytest

from tests.real.ovirt.client import Client, until
from tests.real.ovirt.conftest import Images, machine
from tests.real.ovirt.lab import Lab
from tests.real.ovirt.layout import is_prepared


def test_answers_of_the_engine_are_cut_replaced_and_slowed(lab: Lab, client: Client) -> None:
    lab.fault(path="/vms", cut=40)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        client.get("/vms")
    assert client.get("/vms").status == 200  # the rule is used up

    lab.fault(path="/vms", status=503, body="<html>", type="text/html")
    answer = client.get("/vms")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (503, b"<html>", "text/html")

    lab.fault(path="/vms", body='{"vm": "not a list"}', nth=2)
    assert client.get("/vms").json["vm"][0]["name"] == "web"
    assert client.get("/vms").json == {"vm": "not a list"}

    lab.fault(path="/vms", patch={"vm": [{"name": "a/../b\n"}]})
    assert client.get("/vms").json["vm"][0]["name"] == "a/../b\n"


def test_an_endless_answer_goes_on_until_the_client_leaves(lab: Lab, client: Client) -> None:
    lab.fault(path="/vms", endless=True)
    connection = http.client.HTTPSConnection(lab.url.split("/")[2], timeout=120, context=client.context)
    connection.request("GET", "/ovirt-engine/api/vms", headers={"Authorization": f"Bearer {client.token}"})
    answer = connection.getresponse()
    assert len(answer.read(4 << 20)) == 4 << 20
    answer.close()
    connection.close()
    until(lambda: lab.calls("engine", "GET", "/vms")[0]["outcome"] == "clientGone")


def test_answers_of_the_daemon_are_damaged(lab: Lab, client: Client, images: Images) -> None:
    url = client.transfer(lab.disk("system")["id"])["transfer_url"]
    whole = images.raw.read_bytes()[:4096]

    lab.fault(kind="image", cut=1000)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        client.read(url, 0, 4095)
    lab.fault(kind="image", short=96)
    assert client.read(url, 0, 4095).body == whole[:4000]
    lab.fault(kind="image", corrupt=17)
    damaged = client.read(url, 0, 4095).body
    assert [at for at in range(4096) if damaged[at] != whole[at]] == [17]
    lab.fault(kind="image", status=403)
    assert client.read(url, 0, 4095).status == 403
    assert client.read(url, 0, 4095).body == whole


def test_a_call_that_is_held_before_and_loses_its_client_is_not_carried_out(lab: Lab, client: Client) -> None:
    lab.hold("/imagetransfers$", method="POST")
    leaver = _in_background(client, lab)
    (held,) = lab.held(120)
    assert (held["method"], lab.transfers(live=True)) == ("POST", [])
    leaver.close()
    until(lambda: not lab.held(0))
    assert lab.transfers(live=True) == []


def test_a_call_that_is_held_after_was_carried_out(lab: Lab, client: Client) -> None:
    lab.hold("/imagetransfers$", when="after", method="POST")
    leaver = _in_background(client, lab)
    assert len(lab.held(120)) == 1
    leaver.close()
    until(lambda: not lab.held(0))
    (left,) = lab.transfers(live=True)
    client.post(f"/imagetransfers/{left['id']}/cancel")
    until(lambda: not lab.transfers(live=True))


def _in_background(client: Client, lab: Lab) -> http.client.HTTPSConnection:
    """Sends the request for a transfer, and waits for no answer."""
    connection = http.client.HTTPSConnection(lab.url.split("/")[2], timeout=120, context=client.context)
    body = f'{{"disk": {{"id": "{lab.disk("system")["id"]}"}}, "direction": "download", "format": "raw"}}'
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
    connection.request("POST", "/ovirt-engine/api/imagetransfers", body, headers)
    return connection


@pytest.mark.parametrize(
    ("mode", "seen"), [("refuse", ConnectionRefusedError), ("reset", OSError), ("503", None)]
)
def test_an_engine_that_was_away_has_its_transfers_but_no_sessions(
    lab: Lab, client: Client, mode: str, seen: type[Exception] | None
) -> None:
    transfer = client.transfer(lab.disk("system")["id"])
    with contextlib.closing(_kept_alive(client, lab)) as kept:
        lab.go_away(mode)
        with pytest.raises((OSError, http.client.RemoteDisconnected)):
            _ask(kept, client)
    if seen is None:
        assert client.get("/vms").status == 503
    else:
        with pytest.raises(seen):
            client.get("/vms")
    assert client.read(transfer["transfer_url"], 0, 511).status == 206  # the host goes on
    lab.come_back()
    assert client.get("/vms").status == 401
    client.token = Client(lab).token
    assert client.get(f"/imagetransfers/{transfer['id']}").json["phase"] == "transferring"


def _kept_alive(client: Client, lab: Lab) -> http.client.HTTPSConnection:
    connection = http.client.HTTPSConnection(lab.url.split("/")[2], timeout=120, context=client.context)
    _ask(connection, client)
    connection.auto_open = 0  # it must not connect again by itself
    return connection


def _ask(connection: http.client.HTTPSConnection, client: Client) -> None:
    connection.request("GET", "/ovirt-engine/api", headers={"Authorization": f"Bearer {client.token}"})
    connection.getresponse().read()


def test_the_host_can_be_away_too(lab: Lab, client: Client) -> None:
    url = client.transfer(lab.disk("system")["id"])["transfer_url"]
    lab.go_away("refuse", of="host")
    with pytest.raises(ConnectionRefusedError):
        client.read(url, 0, 511)
    lab.clear()
    assert client.read(url, 0, 511).status == 206


def test_a_slow_answer_takes_its_time(lab: Lab, client: Client) -> None:
    url = client.transfer(lab.disk("system")["id"])["transfer_url"]
    lab.fault(kind="image", bytes_per_second=2048)
    began = time.monotonic()
    assert len(client.read(url, 0, 2047).body) == 2048
    assert time.monotonic() - began >= 0.9


def test_every_call_is_recorded_with_its_outcome(lab: Lab, client: Client) -> None:
    url = client.transfer(lab.disk("system")["id"])["transfer_url"]
    lab.forget_calls()
    client.get("/vms")
    client.read(url, 512, 1023)
    until(lambda: all(call["outcome"] == "completed" for call in lab.calls()))
    engine, image = lab.calls()
    assert (engine["kind"], engine["path"], engine["status"]) == ("engine", "/ovirt-engine/api/vms", 200)
    assert (image["kind"], image["range"], image["bytes"]) == ("image", "bytes=512-1023", 512)


def test_a_killed_stand_in_takes_its_programs_with_it(images: Images, tmp_path: Path) -> None:
    if not is_prepared():
        pytest.skip("ovirt-imageio is missing: tests/prepare.sh packages python ovirt builds it")
    with Lab.start({"vms": [machine(images, status="down")]}, tmp_path / "ovirt") as lab:
        Client(lab).transfer(lab.disk("system")["id"])
        children = _children(lab.pid)
        assert {"qemu-nbd", "ovirt-imageio"} <= {_name(child) for child in children}
        os.kill(lab.pid, signal.SIGKILL)
        until(lambda: not any(_name(child) in {"qemu-nbd", "ovirt-imageio"} for child in children))


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _name(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return ""
    name, _, rest = state.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] in {"Z", "X"} else name
