"""An OpenStack cloud as one project sees it: openstacksdk, with errors mapped and reads repeated."""

from __future__ import annotations

import importlib.metadata
import ssl
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from keystoneauth1.session import Session, TCPKeepAliveAdapter
from openstack.connection import Connection
from os_service_types import ServiceTypes
from requests import PreparedRequest, Response
from urllib3.exceptions import InsecureRequestWarning

from steps.disk import reachability
from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.providers import Access
from steps.providers.openstack import faults
from steps.providers.openstack.credentials import CA, Credentials
from steps.runtime import certificates, guard, redirects, retry
from steps.runtime.stop import Stop

ANSWER_SECONDS: Final = 60.0
"""Seconds that one call may take. Long work shows as a status in OpenStack; no call here waits for it."""
CONNECT_SECONDS: Final = 10.0
"""A host on a working network accepts in far less; a stop waits this long at worst."""
SERVICES: Final = ("compute", "block-storage", "image", "network")
"""Service types of the catalog (service-types-authority) that an import needs."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A logged-in project of a cloud."""

    plan: SourcePlan
    connection: Any
    """openstack.connection.Connection"""
    tls: ssl.SSLContext | None
    """For the download of images; None: plain HTTP or the system's roots."""
    stop: Stop

    @property
    def compute(self) -> Any:
        return self._service("compute", "compute")

    @property
    def volumes(self) -> Any:
        return self._service("volume", "block_storage")

    @property
    def images(self) -> Any:
        return self._service("image", "image")

    @property
    def network(self) -> Any:
        return self._service("network", "network")

    def _service(self, what: str, name: str) -> Any:
        """A service's proxy of openstacksdk, which asks the service for its versions the first time."""
        with faults.as_step_error(f"cannot use the {what} service", self.plan.endpoint):
            return getattr(self.connection, name)

    def read(self, what: str, call: Callable[[], T]) -> T:
        """The result of `call`, which changes nothing and is repeated if the connection breaks.

        Raises:
            StepError: its text begins with `cannot` and `what`.
        """
        with faults.as_step_error(f"cannot {what}", self.plan.endpoint):
            for attempt in retry.attempts(self.stop, faults.is_transient):
                with attempt:
                    return call()
        raise AssertionError  # attempts() either succeeds or raises

    def change(self, what: str, call: Callable[[], T]) -> T:
        """The result of `call`, which is made once: after a lost answer only a read shows its effect."""
        with faults.as_step_error(f"cannot {what}", self.plan.endpoint):
            return call()

    def find(self, what: str, call: Callable[[], T]) -> T | None:
        """As `read`; None if the object does not exist."""
        try:
            return self.read(what, call)
        except StepError as error:
            if faults.is_not_found(error):
                return None
            raise

    def auth_headers(self) -> dict[str, str]:
        """The header that authenticates a request."""
        headers: dict[str, str] = self.read("log in", self.connection.session.get_auth_headers)
        return dict(headers)

    def image_url(self, image: str) -> str:
        """The URL of an image's bytes (Image API v2, `GET /v2/images/{image_id}/file`)."""
        base = str(self.read("find Glance", self.images.get_endpoint)).rstrip("/")
        return f"{base if base.endswith('/v2') else base + '/v2'}/images/{image}/file"


@contextmanager
def connect(access: Access) -> Iterator[Cloud]:
    """Log in to the project.

    Raises:
        StepError: INVALID (endpoint, credentials, region), UNREACHABLE, UNTRUSTED, DENIED.
    """
    plan = access.plan
    credentials = Credentials.read(access.credentials)
    _check_endpoint(plan.endpoint)
    insecure = plan.insecure_skip_tls_verify
    tls = certificates.tls_context(ca=credentials.ca, insecure=insecure, key=CA)
    verify: bool | str = str(access.credentials / CA) if credentials.ca else True
    if insecure:  # as configured in the source: no warning with every request
        warnings.simplefilter("ignore", InsecureRequestWarning)
    # Not openstack.connect(): that reads a user's configuration, which a pod does not have.
    session = Session(
        credentials.plugin(plan.endpoint),
        verify=False if insecure else verify,
        timeout=ANSWER_SECONDS,
        app_name="vmferry",
        app_version=importlib.metadata.version("vmferry"),
    )
    for scheme in ("http://", "https://"):
        session.session.mount(scheme, _GuardedAdapter())
    connection = Connection(session=session, region_name=plan.region or None, interface=plan.interface)
    cloud = Cloud(plan=plan, connection=connection, tls=tls, stop=access.stop)
    try:
        cloud.auth_headers()
        check_services(cloud)
        yield cloud
    finally:
        connection.close()


_REDIRECTS: Final = (301, 302, 303, 305, 307, 308)
"""Statuses with which keystoneauth1 requests the header Location (`Session._REDIRECT_STATUSES`)."""


class _GuardedAdapter(TCPKeepAliveAdapter):
    """keystoneauth1's own adapter, with a check of each host: the catalog and redirects may name any.

    keystoneauth1 follows redirects itself and sends everything again, also the password or the token
    (`Session._send_request`). So no redirect leaves the origin, and no setting allows it.

    It has one time limit for connecting and for the answer.
    """

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        url = request.url or ""
        parts = urlsplit(url)
        guard.check_requested(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        options["timeout"] = (CONNECT_SECONDS, ANSWER_SECONDS)
        answer = super().send(request, *args, **options)
        if answer.status_code in _REDIRECTS and "Location" in answer.headers:
            try:
                # keystoneauth1 requests this header as it is: it must be the URL that was checked.
                answer.headers["Location"] = _final_url(url, answer.headers["Location"])
            except StepError:
                answer.close()
                raise
        return answer


def _final_url(url: str, location: str) -> str:
    """The URL of a redirect that may be followed. Raises StepError (INVALID)."""
    parts = urlsplit(url)
    what = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    found = redirects.resolve(url, location, what)
    redirects.check_same_origin(url, found, what)
    return found


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StepError(
            Exit.INVALID, f"the endpoint {endpoint!r} is not a URL", remedy="use https://HOST:5000/v3"
        )


def check_services(cloud: Cloud) -> None:
    """Prove that the catalog has all services that an import needs, in the given region.

    Raises:
        StepError: INVALID, with the existing regions.
    """
    endpoints = _catalog(cloud)
    usable = {kind for kind, endpoint in endpoints if _is_selected(endpoint, cloud.plan)}
    missing = [name for name in SERVICES if not usable & set(_SERVICE_TYPES.get_all_types(name))]
    if missing:
        regions = sorted({str(endpoint["region"]) for _, endpoint in endpoints if endpoint.get("region")})
        raise StepError(
            Exit.INVALID,
            f"no {cloud.plan.interface} endpoint of {', '.join(missing)} in region {cloud.plan.region!r}",
            f"regions: {', '.join(regions) or 'none'}",
            "check spec.region and spec.interface of the source",
        )


def check_image_service(cloud: Cloud) -> None:
    """Prove that the image service, which serves the disks, can be reached and used from here.

    The other services have answered when a server is described.

    Raises:
        StepError: as `reachability.check`; the errors of a request for an image.
    """
    kinds = _SERVICE_TYPES.get_all_types("image")
    urls = [
        endpoint["url"]
        for kind, endpoint in _catalog(cloud)
        if kind in kinds and _is_selected(endpoint, cloud.plan)
    ]
    for url in urls[:1]:  # the one that openstacksdk uses
        reachability.check(url, cloud.tls, "the image service (Glance)")
    cloud.read("use the image service (Glance)", lambda: next(iter(cloud.images.images(limit=1)), None))


def _catalog(cloud: Cloud) -> list[tuple[str, Mapping[str, Any]]]:
    """Service type and endpoint of all entries in the catalog, which came with the token."""
    session = cloud.connection.session
    access = cloud.read("read the catalog", lambda: session.auth.get_access(session))
    return [
        (service["type"], endpoint)
        for service in access.service_catalog.catalog
        for endpoint in service["endpoints"]
    ]


_SERVICE_TYPES: Final = ServiceTypes()


def _is_selected(endpoint: Mapping[str, Any], plan: SourcePlan) -> bool:
    """Whether an endpoint of the catalog is of the interface, and of the region if one is named."""
    return endpoint["interface"] == plan.interface and plan.region in ("", endpoint.get("region"))
