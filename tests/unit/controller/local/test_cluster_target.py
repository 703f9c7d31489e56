from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.local.cluster_target import (
    TARGET,
    TOKEN,
    ClusterArguments,
    ClusterTarget,
    PortAllocator,
    from_environment,
    listen_address,
    save,
)
from controller.local.rundir import RunDir
from steps.model.contract import Exit, StepError
from steps.model.names import PORT
from tests.tls import serving_folder
from tests.unit.builders import a_plan
from workflows.stages import stage_named


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    (tmp_path / "kubeconfig").write_text("{}")
    return str(tmp_path / "kubeconfig")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.1.2.3", "10.1.2.3", PORT),
        ("10.1.2.3:9000", "10.1.2.3", 9000),
        ("desk.example", "desk.example", PORT),
        ("[fd00::1]:9000", "[fd00::1]", 9000),
    ],
)
def test_an_address_is_a_host_with_an_optional_port(
    kubeconfig: str, address: str, host: str, port: int
) -> None:
    found = from_environment({"KUBECONFIG": kubeconfig, "SVC_ADDRESS": address})
    assert found == ClusterTarget(kubeconfig=kubeconfig, host=host, port=port)


@pytest.mark.parametrize("address", ["http://a", "a/b", "a:b", "a:99999", ":80", "u@a", "a b", "[::"])
def test_an_invalid_address_is_refused(kubeconfig: str, address: str) -> None:
    with pytest.raises(StepError, match="is not an address; write HOST or HOST:PORT") as caught:
        from_environment({"KUBECONFIG": kubeconfig, "SVC_ADDRESS": address})
    assert caught.value.code is Exit.INVALID


def test_a_relative_kubeconfig_becomes_absolute(
    tmp_path: Path, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_environment({"KUBECONFIG": "kubeconfig:other", "SVC_ADDRESS": "a"}).kubeconfig == (
        f"{kubeconfig}:{tmp_path}/other"
    )


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    made = RunDir(tmp_path / "into")
    made.create(a_plan(), {})
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return min(port, 60000)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port: int = server.getsockname()[1]
        yield port


def option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_serve_and_image_use_the_same_address_and_token(rundir: RunDir) -> None:
    first = free_port()
    save(rundir, ClusterTarget(kubeconfig="/k", host="127.0.0.1", port=first))
    way = ClusterArguments(rundir, PortAllocator())
    serve, image = (way.arguments(stage_named(name), "disk-0") for name in ("serve", "image"))
    port = option(serve, "--listen").rpartition(":")[2]
    assert option(serve, "--listen") == f"127.0.0.1:{port}"
    assert option(image, "--origin") == f"http://127.0.0.1:{port}"
    assert option(serve, "--token-file") == option(image, "--token-file") == str(rundir.notes / TOKEN)
    assert option(way.arguments(stage_named("serve"), "disk-1"), "--listen") != option(serve, "--listen")
    assert way.arguments(stage_named("export"), "disk-0") == []
    assert way.environment() == {"KUBECONFIG": "/k"}


def test_a_certificate_makes_both_use_https(
    rundir: RunDir, tmp_path: Path, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving_folder(tmp_path / "tls")
    monkeypatch.chdir(tmp_path)
    target = from_environment(
        {"KUBECONFIG": kubeconfig, "SVC_ADDRESS": "127.0.0.1", "VMFERRY_SERVE_TLS": "tls"}
    )
    assert target.tls == str(tmp_path / "tls")
    save(rundir, target)
    way = ClusterArguments(rundir, PortAllocator())
    serve, image = (way.arguments(stage_named(name), "disk-0") for name in ("serve", "image"))
    assert option(serve, "--tls") == str(tmp_path / "tls")
    assert option(image, "--origin").startswith("https://127.0.0.1:")
    assert option(image, "--ca") == str(tmp_path / "tls" / "ca.crt")


def test_a_certificate_of_a_ca_of_the_system_needs_no_other(rundir: RunDir, tmp_path: Path) -> None:
    (serving_folder(tmp_path / "tls") / "ca.crt").unlink()
    save(rundir, ClusterTarget(kubeconfig="/k", host="127.0.0.1", tls=str(tmp_path / "tls")))
    image = ClusterArguments(rundir, PortAllocator()).arguments(stage_named("image"), "disk-0")
    assert option(image, "--origin").startswith("https:")
    assert "--ca" not in image


def test_a_missing_certificate_is_refused_before_anything_changes(tmp_path: Path, kubeconfig: str) -> None:
    environment = {"KUBECONFIG": kubeconfig, "SVC_ADDRESS": "a", "VMFERRY_SERVE_TLS": str(tmp_path)}
    with pytest.raises(StepError, match=r"cannot serve HTTPS with the certificate in .*tls\.crt") as caught:
        from_environment(environment)
    assert caught.value.code is Exit.INVALID


def test_a_retry_serves_at_the_same_port(rundir: RunDir, taken: int) -> None:
    save(rundir, ClusterTarget(kubeconfig="/k", host="127.0.0.1", port=free_port()))
    (rundir.notes / "port-disk-0").write_text(str(again := free_port()))
    (rundir.notes / "port-disk-1").write_text(str(taken))
    way, stage = ClusterArguments(rundir, PortAllocator()), stage_named("serve")
    assert option(way.arguments(stage, "disk-0"), "--listen") == f"127.0.0.1:{again}"
    assert option(way.arguments(stage, "disk-1"), "--listen") != f"127.0.0.1:{taken}"


def test_parallel_imports_never_share_a_port(taken: int) -> None:
    ports = PortAllocator()
    first = ports.take("127.0.0.1", [taken, free := free_port()])
    assert first == free
    with pytest.raises(StepError, match="no free port to serve a disk: ports") as caught:
        ports.take("127.0.0.1", [taken, free])
    assert caught.value.code is Exit.BUSY


def test_serve_listens_at_the_address_only_if_it_is_local() -> None:
    assert listen_address("127.0.0.1") == "127.0.0.1"
    assert listen_address("192.0.2.1") == "0.0.0.0"  # noqa: S104 - TEST-NET-1, which no host has
    assert listen_address("[2001:db8::1]") == "[::]"


def test_the_token_is_long_and_private(rundir: RunDir) -> None:
    save(rundir, ClusterTarget(kubeconfig="/k", host="a"))
    first = (rundir.notes / TOKEN).read_text()
    assert len(first.strip()) == 32
    assert stat.S_IMODE((rundir.notes / TOKEN).stat().st_mode) == 0o600
    save(rundir, ClusterTarget(kubeconfig="/k", host="a"))
    assert (rundir.notes / TOKEN).read_text() != first
    assert ClusterTarget.load(rundir.notes / TARGET).port == PORT
