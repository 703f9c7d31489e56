"""nginx on its own port, with and without TLS, at full speed or throttled."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.tls import self_signed

GIGABIT: Final = 125_000_000
"""Bytes per second of a 1 Gbit/s line."""
STREAM: Final = 28 << 20
"""Bytes per second of one NFC export: ESXi sends 20 to 30 MB/s on any link. See
docs/explanation/performance.md.
"""
CONFIG: Final = """\
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1;
events {{}}
http {{
  access_log off; sendfile on; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{tls} ssl; listen 127.0.0.1:{plain};
    ssl_certificate {own.certificate}; ssl_certificate_key {own.key};
    location / {{ root {root}; }}
    location /scratch/ {{ alias {scratch}/; }}
    location /gigabit/ {{ alias {root}/; limit_rate {gigabit}; }}
    location /stream/ {{ alias {root}/; limit_rate {stream}; }}
  }}
}}
"""
PROBE: Final = "curl -s -o /dev/null --retry 20 --retry-connrefused --retry-delay 1 -r 0-0"


@dataclass(frozen=True)
class Web:
    """Addresses of the served files: `/NAME`, `/gigabit/NAME`, `/stream/NAME` and `/scratch/PATH`."""

    tls: str
    plain: str
    ca: Path


@contextlib.contextmanager
def served(root: Path, scratch: Path, folder: Path) -> Iterator[Web]:
    """Serve the files in `root` and `scratch`; `folder` gets what nginx needs."""
    own = self_signed(folder)
    tls, plain = free_port(), free_port()
    config = folder / "nginx.conf"
    given = {"folder": folder, "root": root, "scratch": scratch, "tls": tls, "plain": plain}
    config.write_text(CONFIG.format(**given, own=own, gigabit=GIGABIT, stream=STREAM))
    folder.chmod(0o755)
    web = Web(f"https://localhost:{tls}", f"http://127.0.0.1:{plain}", own.certificate)
    with subprocess.Popen(["nginx", "-p", folder, "-c", config]) as process:
        try:
            subprocess.run([*PROBE.split(), f"{web.plain}/"], check=False)
            yield web
        finally:
            process.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
