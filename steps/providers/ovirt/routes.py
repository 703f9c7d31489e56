"""The ways to the disks: ovirt-imageio on the hosts, and as a proxy on the engine.

The engine chooses the host of a transfer, and names both ways in it. Before a VM is stopped, no transfer of
its disks is possible: what can be proved then is that the daemons answer here as ovirt-imageio does.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from steps.disk.faults import connection_fault
from steps.disk.http_client import HttpClient
from steps.model.contract import Exit, StepError
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.engine import Engine

log = structlog.get_logger()

MOST_HOSTS: Final = 8
"""Hosts that are tried: each that does not answer costs ten seconds."""
_LONGEST_OPTIONS: Final = 1 << 16


@dataclass(frozen=True)
class Route:
    """A daemon that may serve the disks."""

    name: str
    url: str
    host_id: str = ""
    """The id of the host; "" for the engine's proxy."""


def check(engine: Engine, cluster_id: str) -> str:
    """Prove that the disks can be read from here: over the engine's proxy, or from a host that is up.

    Returns:
        The id of the host that must be asked for, because it is the only way; "" if any will do.

    Raises:
        StepError: UNREACHABLE or UNTRUSTED, naming all ways and what is wrong with each.
    """
    failures: list[StepError] = []
    for route in _routes(engine, cluster_id):
        try:
            probe(engine, route.url, route.name)
        except StepError as error:
            log.info("a way to the disks cannot be used", why=str(error))
            failures.append(error)
            continue
        log.info("the disks can be reached", way=route.name)
        return route.host_id
    worst = next((error for error in failures if error.code is Exit.UNTRUSTED), failures[0])
    why = " | ".join(f"{error.what}: {error.why}" if error.why else error.what for error in failures)
    what = f"the disks of {engine.endpoint} cannot be reached"
    ports = engine.ports
    remedy = (
        f"open port {ports.proxy} of the engine or port {ports.host} of the hosts to vmferry; if they use "
        "other ports, write spec.imageProxyPort or spec.imageDaemonPort of the source"
    )
    raise type(worst)(worst.code, what, why, worst.remedy if worst.code is Exit.UNTRUSTED else remedy)


def _routes(engine: Engine, cluster_id: str) -> Iterator[Route]:
    """The proxy first: where it answers, it does not matter which host the engine chooses."""
    yield Route(
        f"the image proxy {engine.endpoint.host}", engine.endpoint.url("/images/*", engine.ports.proxy)
    )
    for host in _hosts(engine, cluster_id):
        address = host.text("address")
        shown = f"[{address}]" if ":" in address else address
        yield Route(
            f"the host {address}", f"https://{shown}:{engine.ports.host}/images/*", host.required("id")
        )


def _hosts(engine: Engine, cluster_id: str) -> list[Answer]:
    """Hosts of the cluster that are up; none if the account may not list them."""
    try:
        hosts = engine.read("list the hosts", "/hosts").elements("host")
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
            raise
        log.info("the account may not list the hosts", why=error.why)
        return []
    usable = [host for host in hosts if host.text("status") == "up" and host.text("address")]
    return [host for host in usable if host.text("cluster", "id") in ("", cluster_id)][:MOST_HOSTS]


def probe(engine: Engine, url: str, what: str) -> Options:
    """Ask a daemon what it can do; `/images/*` needs no ticket (IMG handlers/images.py, options).

    Raises:
        StepError: UNREACHABLE, UNTRUSTED; DENIED, if it does not accept the ticket in the URL.
    """
    client = HttpClient(url, engine.tls)
    name = f"{what} (port {client.port})"
    try:
        answer = client.request("OPTIONS", {"Accept-Encoding": "identity"})
        body = answer.read(_LONGEST_OPTIONS)
    except (OSError, http.client.HTTPException) as error:
        raise connection_fault(error, name) from error
    finally:
        client.close()
    if answer.status == 403:
        raise StepError(Exit.DENIED, f"{name} does not accept the ticket of the transfer")
    if answer.status >= 300:
        raise StepError(Exit.UNREACHABLE, f"{name} answers {answer.status}", "it is not ovirt-imageio")
    return Options.parse(body, name)


@dataclass(frozen=True)
class Options:
    """What a daemon can do."""

    features: frozenset[str]
    readers: int
    """Most connections that may read one ticket."""

    @classmethod
    def parse(cls, body: bytes, name: str) -> Options:
        """Read the answer to OPTIONS; daemons before 2.0 name no number of readers and allow one.

        Raises:
            StepError: UNREACHABLE, if it is none.
        """
        try:
            document = json.loads(body or b"{}")
            features, readers = frozenset(document.get("features", ())), document.get("max_readers", 1)
        except (ValueError, TypeError, AttributeError, RecursionError):
            features, readers = frozenset(), None
        if type(readers) is not int or not all(isinstance(feature, str) for feature in features):
            raise StepError(
                Exit.UNREACHABLE,
                f"the answer of {name} cannot be used",
                "it is not one of ovirt-imageio",
                "make sure that ovirt-imageio listens there, and not another service",
            )
        return cls(features, max(1, readers))
