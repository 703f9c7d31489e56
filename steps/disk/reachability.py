"""Proof that a host which will serve a disk can be reached from here, before a VM is stopped for it.

Every source calls `check` for each such host, with the URL and the trust that the transfer will use: the name
resolves, the port answers, TLS is accepted, through the same proxy.
"""

from __future__ import annotations

import http.client
import ssl

from steps.disk.faults import connection_fault
from steps.disk.http_client import HttpClient


def check(url: str, tls: ssl.SSLContext | None, what: str) -> None:
    """Connect to the host of `url` as a transfer would; sends no request.

    Args:
        url: https or http; only scheme, host and port count.
        tls: the trust; None: the system's authorities.
        what: the role of the host, for the error: "the ESXi host".

    Raises:
        StepError: UNREACHABLE or UNTRUSTED, naming host, port and what to change; INVALID for a proxy that
            cannot be used.
    """
    client = HttpClient(url, tls)
    try:
        client.probe()
    except (OSError, http.client.HTTPException) as error:
        raise connection_fault(error, f"{what} {client.name}, port {client.port},") from error
    finally:
        client.close()
