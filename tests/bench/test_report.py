"""The report of the bench: verdicts, and what counts as worse than noted."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

from tests.bench import report
from tests.bench.cutter import cutter
from tests.bench.measure import Cost, cost_of
from tests.bench.rows import rows

COST = Cost(wall=1.0, cpu=1.0, memory=1024, written=100, peak=100)
WALL = next(row for row in rows(100, 100) if row.figure == "acquire wall / common practice, qcow2")


def verdict(wall: float, foreign: float) -> str:
    return WALL.verdict({"common": COST, "qcow2": replace(COST, wall=wall, foreign=foreign)})


def figure(measured: float, unit: str = "") -> report.Figure:
    return report.Figure("wall", "a figure", None, measured, 0.5, unit, "met", 0.0, 1, "2020-01-01", 0.0)


def test_verdict_is_met_missed_or_noise() -> None:
    assert verdict(0.5, 0) == "met"
    assert verdict(0.5, 2) == "met"
    assert verdict(0.51, 0) == "missed"
    assert verdict(0.51, 2) == "noise"


def test_ten_percent_worse_is_detected() -> None:
    assert report.worse([figure(0.56)], [figure(0.5)])
    assert not report.worse([figure(0.55)], [figure(0.5)])
    assert not report.worse([figure(0.02)], [figure(0.01)])
    assert not report.worse([figure(3.9, "MiB")], [figure(0.0, "MiB")])
    assert report.worse([figure(71, "MiB")], [figure(60, "MiB")])


def test_noting_keeps_other_figures(tmp_path: Path) -> None:
    noted = tmp_path / "noted.json"
    report.note(noted, report.document([figure(0.5), replace(figure(1), figure="other")], {}, "a disk"))
    report.note(noted, report.document([figure(0.4)], {"common": COST}, "a disk"))
    assert {one.figure: one.measured for one in report.load(noted)} == {"a figure": 0.4, "other": 1}


def test_usual_is_the_median_run() -> None:
    runs = [replace(COST, wall=wall) for wall in (5.0, 1.0, 4.0)]
    least = runs[2].least(runs[1].least(runs[0]))
    assert (least.wall, least.usual, COST.usual) == (1.0, 4.0, 1.0)


def test_least_keeps_the_noise_of_its_run() -> None:
    least = replace(COST, foreign=0.1).least(replace(COST, wall=2, cpu=0.5, foreign=2))
    assert (least.wall, least.cpu, least.foreign) == (1.0, 0.5, 0.1)


def test_cost_counts_what_a_child_wrote(tmp_path: Path) -> None:
    cost = cost_of(["sh", "-c", "dd if=/dev/zero of=out bs=64k count=16 conv=fdatasync 2>output"], tmp_path)
    assert cost.written >= 1 << 20
    assert cost.peak >= 1 << 20
    assert 0 < cost.memory < 50 << 10


def test_cutter_counts_and_cuts() -> None:
    content = bytes(300_000)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with cutter(url, [100_000]) as way:
            thread = threading.Thread(target=_answer, args=(server, content))
            thread.start()
            with socket.create_connection(("127.0.0.1", way.port)) as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                received = _drain(client)
            thread.join()
            assert way.left == 0
    assert 100_000 <= way.carried < len(content)
    assert received <= way.carried


def _answer(server: socket.socket, content: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1 << 16)
        try:
            connection.sendall(content)
        except OSError:  # the cut
            return


def _drain(client: socket.socket) -> int:
    count = 0
    try:
        while data := client.recv(1 << 16):
            count += len(data)
    except ConnectionResetError:
        pass
    return count
