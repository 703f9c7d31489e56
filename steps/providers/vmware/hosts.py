"""The ESXi host that will serve a VM's disks: an answer of vCenter does not prove that the host answers."""

from __future__ import annotations

from typing import Any, Final

import structlog

from steps.disk import reachability
from steps.providers.vmware import collector
from steps.providers.vmware.session import Session

log = structlog.get_logger()

_PROPERTIES: Final = ("name", "summary.config.port", "summary.config.sslThumbprint")
_PORT: Final = 443


def check(session: Session, vm: Any) -> None:
    """Prove that the host on which the VM is can be reached from here; `vm` is its managed object.

    The URLs of an export lease name the host as vCenter does. A stand-alone host is the endpoint itself.

    Raises:
        StepError: as `reachability.check`; else as mapped by faults.py.
    """
    if session.is_host:
        return
    host = collector.read_one(session, vm, "runtime.host").get("runtime.host")
    row = collector.read_one(session, host, *_PROPERTIES) if host is not None else None
    name = row.get("name", "") if row else ""
    if row is None or not name:
        log.warning(
            "the account may not read the VM's ESXi host: it is not known whether its disks can be reached"
        )
        return
    url_host = f"[{name}]" if ":" in name else name
    port = row.get("summary.config.port") or _PORT
    tls = session.tls_for(name, port, row.get("summary.config.sslThumbprint", ""))
    reachability.check(f"https://{url_host}:{port}/", tls, "the ESXi host")
