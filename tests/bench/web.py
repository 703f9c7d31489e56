"""nginx with TLS on a port of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

CONFIG = """\
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1;
events {{}}
http {{
  access_log off; sendfile on; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} ssl; root {root}; limit_rate {rate};
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
  }}
}}
"""


@contextlib.contextmanager
def served(root: Path, folder: Path, rate: int) -> Iterator[str]:
    """The URL under which the files in `root` are served; `rate` is bytes per second, 0 for all there are.

    `folder` gets `cert.pem`, which is its own CA.
    """
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
    ]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(argv, check=True, capture_output=True, cwd=folder)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, root=root, rate=rate))
    folder.chmod(0o755)
    with subprocess.Popen(["nginx", "-p", folder, "-c", config]) as process:
        try:
            url = f"https://localhost:{port}"
            probe_argv = [
                "curl",
                "-s",
                "-o",
                "/dev/null",
                "--retry",
                "20",
                "--retry-connrefused",
                "--retry-delay",
                "1",
            ]
            subprocess.run(
                [*probe_argv, "--cacert", folder / "cert.pem", "-r", "0-0", f"{url}/"], check=False
            )
            yield url
        finally:
            process.terminate()
