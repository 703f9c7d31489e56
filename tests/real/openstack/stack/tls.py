"""A CA for the stack, and nginx that terminates TLS for the APIs."""

from __future__ import annotations

import ipaddress
import subprocess
from typing import Final

from .layout import APIS, Layout, StackError

_DAYS: Final = "3650"


def write(layout: Layout) -> None:
    """Write certificates, if they are missing or for another address, and nginx.conf."""
    folder = layout.authority.parent
    folder.mkdir(exist_ok=True)
    names = _names(layout.settings.host)
    noted = folder / "names"
    if not noted.exists() or noted.read_text() != names:
        _certificates(layout, names)
        noted.write_text(names)
    (folder / "nginx.conf").write_text(_nginx(layout))


def _names(host: str) -> str:
    names = ["DNS:localhost", "IP:127.0.0.1"]
    try:
        names.append(f"IP:{ipaddress.ip_address(host)}")
    except ValueError:
        names.append(f"DNS:{host}")
    return ",".join(dict.fromkeys(names))


def _certificates(layout: Layout, names: str) -> None:
    folder = layout.authority.parent
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", _DAYS]
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=vmferry OpenStack tests"]
    usages = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    server = ["-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=openstack"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName={names}"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
    for argv in ([*new, *authority, *usages], [*new, *server, *signed, *leaf]):
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(f"openssl failed: {done.stderr[-500:]}")


def _nginx(layout: Layout) -> str:
    servers = "\n".join(_server(layout, api) for api in APIS)
    return f"""\
daemon off;
user root;
pid nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  proxy_request_buffering off;
  proxy_buffering off;
  proxy_http_version 1.1;
  proxy_read_timeout 600s;
  ssl_certificate server.pem;
  ssl_certificate_key server.key;
  client_body_temp_path body;
  proxy_temp_path proxied;
  fastcgi_temp_path none;
  uwsgi_temp_path none;
  scgi_temp_path none;
{servers}
}}
"""


def _server(layout: Layout, api: str) -> str:
    listen = layout.public(api).removeprefix("https://")
    return f"""\
  server {{
    listen {listen} ssl;
    location / {{
      proxy_pass {layout.inner(api)};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto https;
    }}
  }}"""
