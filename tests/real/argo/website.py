"""A web site that the lab's pods reach: nginx with TLS and a login, as sites publish archives."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.real.argo.ground import HOST, eventually
from tests.tls import self_signed

USER: Final = "mover"
PASSWORD: Final = "open sesame"  # noqa: S105 - this site's own
_CONFIG: Final = """\
daemon off;
user root;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port} ssl;
    ssl_certificate {own.certificate};
    ssl_certificate_key {own.key};
    root {folder}/files;
    auth_basic "archives";
    auth_basic_user_file {folder}/users;
  }}
}}
"""


@dataclass(frozen=True)
class Site:
    """A running site."""

    folder: Path
    url: str
    certificate: str
    """PEM."""

    def asked(self) -> list[str]:
        """The lines of its access log."""
        return (self.folder / "access.log").read_text().splitlines()


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Serve `folder`/files to users who log in."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert nginx is not None
    _users(folder)
    own = self_signed(folder, "archives", f"IP:{HOST}")
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, own=own, host=HOST, port=port))
    process = subprocess.Popen([nginx, "-c", folder / "nginx.conf"])
    try:
        eventually(lambda: _answers(port), "the web site", 20)
        yield Site(folder, f"https://{HOST}:{port}", own.pem)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _users(folder: Path) -> None:
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", PASSWORD], check=True, capture_output=True, text=True
    )
    (folder / "users").write_text(f"{USER}:{hashed.stdout.strip()}\n")


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False
