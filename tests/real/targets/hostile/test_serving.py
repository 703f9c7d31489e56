"""What travels between serve and the target, and what a listener or a reader of logs learns (F20)."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from steps import serve
from steps.model.contract import Exit, StepError
from steps.targets.cluster.serving import HttpServing, ServedUrl
from tests.real.targets.meddler import download, meddling, running
from tests.real.targets.test_programs import fetch, until, url_of
from tests.tls import serving_folder
from tests.unit.steps.targets.harvester.stand_ins import TOKEN
from tests.unit.steps.targets.harvester.test_programs import DATA, Pod, Serving, pod, world

__all__ = ["pod", "world"]
pytestmark = pytest.mark.programs


# --- TLS


def test_over_tls_a_listener_sees_neither_the_disk_nor_its_url(pod: Pod, tmp_path: Path) -> None:
    tls = serving_folder(tmp_path / "tls")
    with running(pod, tls=tls) as serving, meddling(serving.port, at=1 << 40) as meddler:
        url = url_of(serving).replace(f":{serving.port}/", f":{meddler.port}/")
        job = download(url, tmp_path / "got", ca=tls / "ca.crt")
    assert (job.error, (tmp_path / "got").read_bytes() == DATA) == ("", True)
    assert DATA[:64] not in meddler.heard
    assert len(meddler.heard) > len(DATA)


def test_a_receiver_that_does_not_trust_the_ca_gets_nothing(pod: Pod, tmp_path: Path) -> None:
    tls = serving_folder(tmp_path / "tls")
    with running(pod, tls=tls) as serving:
        job = download(url_of(serving), tmp_path / "got")
    assert "failed to verify certificate: x509" in job.error
    assert not (tmp_path / "got").exists()


def test_image_reports_a_certificate_for_another_host(pod: Pod, tmp_path: Path) -> None:
    """Before any image is made: the target would refuse it too."""
    tls = serving_folder(tmp_path / "tls", "DNS:elsewhere")
    made = Serving(pod, tls=tls)
    made.start()
    try:
        with pytest.raises(StepError, match="IP address mismatch") as caught:
            until(lambda: made.web.served_disk("disk-0") is not None or not made.is_alive())
    finally:
        made.stop.set()
        made.join(20)
    assert caught.value.code is Exit.UNTRUSTED
    assert "not trusted" in caught.value.what


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_of_tls_are_refused(pod: Pod, tmp_path: Path, version: str) -> None:
    tls = serving_folder(tmp_path / "tls")
    with running(pod, tls=tls) as serving:
        assert handshake(serving.port, "TLSv1_2") == "TLSv1.2"
        assert handshake(serving.port, "TLSv1_3") == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(serving.port, version)


def handshake(port: int, version: str) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # or our own side refuses the old versions
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as wire,
    ):
        return wire.version()


@pytest.mark.parametrize("damage", ["missing", "key of another"])
def test_an_unusable_certificate_is_reported(pod: Pod, tmp_path: Path, damage: str) -> None:
    tls = serving_folder(tmp_path / "tls")
    if damage == "missing":
        (tls / "tls.key").unlink()
    else:
        (tls / "tls.key").write_bytes((serving_folder(tmp_path / "other") / "tls.key").read_bytes())
    made = Serving(pod, tls=tls)
    made.run()
    assert made.code is Exit.INVALID
    assert "cannot serve HTTPS" in pod.words


# --- the secret parts


def test_each_attempt_has_its_own_url_and_the_old_one_is_worthless(pod: Pod) -> None:
    with running(pod) as first:
        old = url_of(first)
        assert fetch(old)[0] == 200
    with running(pod) as second:
        new = url_of(second)
        assert fetch(new) == (200, DATA)
        assert fetch(old.replace(first.origin, second.origin))[0] == 404
        assert old.replace(first.origin, second.origin) != new


def test_the_url_of_the_target_does_not_lead_to_the_description(pod: Pod) -> None:
    """Nor does the run's token, which the target does not get, lead to the disk."""
    with running(pod) as serving:
        url = url_of(serving)
        assert TOKEN not in url
        assert fetch(url.replace("disk-0.raw", "disk-0.json"))[0] == 404
        assert fetch(f"{serving.origin}/{TOKEN}/disk-0.raw")[0] == 404


def test_no_answer_or_log_shows_a_secret_part(pod: Pod, capfd: pytest.CaptureFixture[str]) -> None:
    with running(pod) as serving:
        url = url_of(serving)
        token = url.split("/")[3]
        for path in (url, f"{url}?{TOKEN}", f"{url}/", url.replace("disk-0.raw", "..%2f"), f"{url}%00"):
            fetch(path)
            fetch(path, "HEAD")
            fetch(path, "POST")
            fetch(path, Range="bytes=9999999999-", Referer=url)
        _, headers = answer_headers(url)
        assert token not in headers
        assert TOKEN not in headers
    captured = capfd.readouterr()
    for secret in (token, TOKEN):
        assert secret not in captured.out + captured.err
    assert '"event":"request"' in captured.err.replace(" ", "")


def answer_headers(url: str) -> tuple[int, str]:
    _, _, where, *path = url.split("/")
    host, _, port = where.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(
            f"HEAD /{'/'.join(path)} HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode()
        )
        text = b"".join(iter(lambda: wire.recv(1 << 16), b"")).decode()
    assert "nginx/" not in text
    return int(text.split()[1]), text


def test_nginx_logs_no_url_even_if_it_cannot_open_the_disk(tmp_path: Path) -> None:
    """Most errors of a request quote the request. Here it has too few files left, which it calls critical."""
    file, description = tmp_path / "disk.raw", tmp_path / "disk.json"
    file.write_bytes(DATA)
    description.write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = tmp_path / "nginx.conf"
    config.write_text(
        serve.render(
            f"127.0.0.1:{port}",
            f"/{TOKEN}/disk-0.raw",
            file,
            str(tmp_path),
            description_path=f"/{TOKEN}/disk-0.json",
            description=description,
        )
    )
    argv = ["nginx", "-c", str(config), "-p", str(tmp_path), "-e", "stderr"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: answers(port))
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        url, status, limit = f"http://127.0.0.1:{port}/{TOKEN}/disk-0.raw", 200, 40
        while status == 200:  # until the connection has a number left, and the file none
            limit -= 1
            subprocess.run(["prlimit", "--pid", worker, f"--nofile={limit}:40"], check=True)
            status, _ = fetch(url)
        assert status == 500
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert TOKEN not in log


def answers(port: int) -> bool:
    try:
        return fetch(f"http://127.0.0.1:{port}/healthz")[0] == 204
    except OSError:
        return False


def test_messages_of_harvester_hide_the_url_of_any_attempt() -> None:
    serving = HttpServing(ServedUrl(TOKEN, "https://web-disk-0.vmferry.svc:8080"))
    for token in ("a" * 32, TOKEN):
        text = f'Get "https://web-disk-0.vmferry.svc:8080/{token}/disk-0.raw": EOF'
        assert serving.redact(text) == 'Get "https://web-disk-0.vmferry.svc:8080/…/disk-0.raw": EOF'
