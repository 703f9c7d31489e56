"""One session with a vSphere API: opened, recognisable, always closed."""

from __future__ import annotations

import importlib.metadata
import re
import socket
import ssl
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final

import pyVmomi
import structlog
from pyVmomi import VmomiSupport, vim

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.providers import Access
from steps.providers.vmware import faults
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.endpoint import Endpoint
from steps.runtime import certificates, guard, proxy, retry
from steps.runtime.proxy import ProxyError
from steps.runtime.stop import Stop

log = structlog.get_logger()

ANSWER_SECONDS: Final = 60.0
"""Seconds that one call may take. Long work is a task or a lease in vSphere; no call here waits for it."""
CONNECT_SECONDS: Final = 10.0
"""A host on a working network accepts in far less; a stop waits this long at worst."""
IDLE_SECONDS: Final = 10
"""Connections idle for longer are not reused: servers drop them silently, and a call that changes
something must not fail because of that."""
COOKIE: Final = "vmware_soap_session"


@dataclass(frozen=True, kw_only=True)
class Session:
    """An open session and what every call needs."""

    endpoint: Endpoint
    tls: ssl.SSLContext
    insecure: bool
    stop: Stop
    user_agent: str
    stub: Any
    content: Any
    user: str
    """The account's name as the server writes it."""
    key: str
    """The session's key (UserSession.key): it identifies the session but grants no access."""

    @property
    def is_host(self) -> bool:
        """Whether this is a stand-alone ESXi host (AboutInfo.apiType)."""
        return bool(self.content.about.apiType == "HostAgent")

    @property
    def cookie(self) -> str:
        """The Cookie header of this session, for the disk URLs."""
        return f"{COOKIE}={self.stub.GetSessionId()}"

    def tls_for(self, host: str, port: int, thumbprint: str) -> ssl.SSLContext:
        """The TLS trust for a host that serves disks: for another host, the thumbprint from vCenter.

        HttpNfcLeaseDeviceUrl.sslThumbprint: "SSL thumbprint for the host the URL refers to. Empty if no SSL
        thumbprint is available or needed"; without one the rules of the endpoint hold for the host too.
        """
        is_endpoint = (host.lower(), port) == (self.endpoint.host.lower(), self.endpoint.port)
        return (
            self.tls
            if is_endpoint or self.insecure or not thumbprint
            else certificates.pinned_context(thumbprint)
        )

    def vm(self, machine: Machine) -> Any:
        """The VM's managed object; sends no request."""
        reference: Any = vim.VirtualMachine
        return reference(machine.source_id, self.stub)


def user_agent_of(access: Access) -> str:
    """The User-Agent of a step: the next attempt finds the session of a killed one by it."""
    return f"vmferry/{importlib.metadata.version('vmferry')} run={access.run} step={access.step}"


def log_in(access: Access) -> Session:
    """Open a session. The caller must call `log_out` at the end.

    Raises:
        StepError: INVALID (endpoint, credentials), UNREACHABLE, UNTRUSTED, DENIED.
    """
    endpoint = Endpoint.parse(access.plan.endpoint)
    credentials = Credentials.read(access.credentials)
    insecure = access.plan.insecure_skip_tls_verify
    tls = certificates.tls_context(
        ca=credentials.ca, thumbprint=access.plan.thumbprint or credentials.thumbprint, insecure=insecure
    )
    stub, content, login = _login(access, endpoint, credentials, tls)
    return Session(
        endpoint=endpoint,
        tls=tls,
        insecure=insecure,
        stop=access.stop,
        user_agent=user_agent_of(access),
        stub=stub,
        content=content,
        user=login.userName,
        key=login.key,
    )


def _login(
    access: Access, endpoint: Endpoint, credentials: Credentials, tls: ssl.SSLContext
) -> tuple[Any, Any, Any]:
    """Stub, ServiceContent and UserSession of a new session."""
    with faults.as_step_error(f"cannot log in to {endpoint}", endpoint):
        for attempt in retry.attempts(access.stop, faults.is_transient):
            with attempt:
                return _log_in_once(_new_stub(endpoint, tls, user_agent_of(access)), credentials)
    raise AssertionError  # attempts() either succeeds or raises


def _log_in_once(stub: Any, credentials: Credentials) -> tuple[Any, Any, Any]:
    """One attempt. Repeating a Login whose answer was lost leaves a session behind: `leftovers` ends it."""
    reference: Any = vim.ServiceInstance
    try:
        content = reference("ServiceInstance", stub).RetrieveContent()
        return stub, content, content.sessionManager.Login(credentials.username, credentials.password)
    except BaseException:
        stub.DropConnections()
        raise


def _new_stub(endpoint: Endpoint, tls: ssl.SSLContext, user_agent: str) -> Any:
    make: Any = pyVmomi.SoapStubAdapter  # type: ignore[attr-defined]  # re-exported, but not in its __all__
    stub = make(
        host=endpoint.host,
        port=endpoint.port,
        path=endpoint.path,
        version=_newest_version(endpoint, tls, user_agent),
        sslContext=tls,
        connectionPoolTimeout=IDLE_SECONDS,
        customHeaders={"User-Agent": user_agent},
    )
    # Not by httpProxyHost: the proxy's login would have to be a header of every call to vCenter.
    stub.scheme = lambda **_: _new_connection(endpoint, tls)
    return stub


def _new_connection(endpoint: Endpoint, tls: ssl.SSLContext) -> HTTPSConnection:
    """An unopened connection to the API, through the proxy if there is one."""
    via_proxy = proxy.for_url(endpoint.url)
    if via_proxy is None:
        return _Connection(endpoint.host, endpoint.port, context=tls, timeout=ANSWER_SECONDS)
    guard.check_requested(endpoint.host, endpoint.port)
    connection = _TunnelledConnection(via_proxy.host, via_proxy.port, context=tls, timeout=ANSWER_SECONDS)
    connection.set_tunnel(endpoint.host, endpoint.port, dict(via_proxy.headers))
    return connection


class _Connection(HTTPSConnection):
    """A connection to the API. A page of a gateway in front of it is not taken for a SOAP fault."""

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._create_connection = _open_socket

    def getresponse(self) -> HTTPResponse:
        response = super().getresponse()
        if response.status >= 500 and "xml" not in response.headers.get("Content-Type", ""):
            raise HTTPException(f"{response.status} {response.reason}")
        return response


def _open_socket(address: tuple[str, int], timeout: float, source: tuple[str, int] | None) -> socket.socket:
    """As socket.create_connection, with a shorter time to connect."""
    opened = socket.create_connection(address, min(timeout, CONNECT_SECONDS), source)
    opened.settimeout(timeout)
    return opened


class _TunnelledConnection(_Connection):
    """A connection through a proxy; errors name the proxy if it failed."""

    def connect(self) -> None:
        try:
            super().connect()
        except ssl.SSLError:
            raise  # the endpoint's
        except OSError as error:
            raise ProxyError(f"the proxy {self.host}:{self.port}: {error}") from error


def _newest_version(endpoint: Endpoint, tls: ssl.SSLContext, user_agent: str) -> Any:
    """The newest API version that both the server and pyvmomi support.

    pyvmomi's own SmartStubAdapter reads the same file, but without a timeout.
    """
    offered = set(re.findall(rb"<version>([^<]+)</version>", _read_versions(endpoint, tls, user_agent)))
    support: Any = VmomiSupport
    for version in support.GetServiceVersions("vim25"):
        if support.versionIdMap[version].encode() in offered:
            return version
    raise StepError(
        Exit.UNREACHABLE,
        f"cannot log in to {endpoint}",
        f"{endpoint.path} is not the address of a vSphere API that vmferry understands",
        "write the endpoint as https://HOST/sdk",
    )


def _read_versions(endpoint: Endpoint, tls: ssl.SSLContext, user_agent: str) -> bytes:
    connection = _new_connection(endpoint, tls)
    try:
        connection.request(
            "GET", f"{endpoint.path}/vimServiceVersions.xml", headers={"User-Agent": user_agent}
        )
        with connection.getresponse() as response:
            if response.status >= 500:  # vCenter's proxy answers 503 while its services start
                raise HTTPException(f"{response.status} {response.reason}")
            return response.read()
    finally:
        connection.close()


def log_out(session: Session) -> bool:
    """End the session; False if the server could not be reached.

    Never raises: it also runs while another error propagates.
    """
    try:
        session.content.sessionManager.Logout()
    except vim.fault.NotAuthenticated:
        return True  # it has ended already
    except Exception as error:
        log.warning(
            "could not log out; the next attempt ends the session", why=str(error) or type(error).__name__
        )
        return False
    finally:
        session.stub.DropConnections()
    return True
