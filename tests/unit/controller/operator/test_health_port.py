"""Where the controller serves health and metrics, also outside of a cluster."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.registry import Collector

from controller.operator import health
from steps.model.contract import Exit, StepError


class Nothing(Collector):
    def collect(self) -> Iterator[Metric]:
        yield from ()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_the_default_is_the_port_of_the_chart() -> None:
    assert (health.port_of({}), health.port_of({health.PORT_ENV: ""})) == (8080, 8080)
    assert health.port_of({health.PORT_ENV: "8081"}) == 8081


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "８０", "1e3"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="is not a port") as caught:
        health.port_of({health.PORT_ENV: text})
    assert caught.value.code is Exit.INVALID


def test_only_a_pod_listens_on_all_addresses() -> None:
    assert health.host_of({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == ""
    assert health.host_of({}) == "127.0.0.1"


def test_it_answers_on_this_computer_and_a_taken_port_is_said() -> None:
    port = free_port()
    server = health.serve(Nothing(), lambda: "", lambda: "", port, "127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.read() == b"ok\n"
        with pytest.raises(StepError, match=f"cannot listen on port {port}") as caught:
            health.serve(Nothing(), lambda: "", lambda: "", port, "127.0.0.1")
        assert health.PORT_ENV in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()
