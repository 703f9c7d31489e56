"""Registers the services in Keystone: their users and their endpoints."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from .api import Api, Json
from .config import SERVICE_USERS, passwords
from .layout import REGION, Layout

_SERVICES: Final = (
    ("identity", "keystone", "keystone", "/v3"),
    ("image", "glance", "glance", ""),
    ("volumev3", "cinderv3", "cinder", "/v3/%(project_id)s"),
    ("block-storage", "cinder", "cinder", "/v3/%(project_id)s"),
    ("compute", "nova", "nova", "/v2.1"),
    ("placement", "placement", "placement", ""),
    ("network", "neutron", "neutron", ""),
)
"""Type, name, API and path."""


def enter(layout: Layout, api: Api) -> None:
    """Make the catalog match the settings; correct entries stay."""
    _users(layout, api)
    known = {service["type"]: service["id"] for service in api.get("keystone", "/v3/services")["services"]}
    listed = api.get("keystone", "/v3/endpoints")["endpoints"]
    endpoints = {(entry["service_id"], entry["interface"]): entry for entry in listed}
    for kind, name, program, path in _SERVICES:
        service = known.get(kind) or _made(api, "service", {"type": kind, "name": name})
        for interface in ("public", "internal", "admin"):
            base = layout.public(program) if interface == "public" else layout.inner(program)
            _endpoint(api, endpoints.get((service, interface)), service, interface, base + path)


def _endpoint(api: Api, present: Json | None, service: str, interface: str, url: str) -> None:
    if present is None:
        form = {"service_id": service, "interface": interface, "url": url, "region_id": REGION}
        _made(api, "endpoint", form)
    elif present["url"] != url:
        api.send("PATCH", "keystone", f"/v3/endpoints/{present['id']}", {"endpoint": {"url": url}})


def _users(layout: Layout, api: Api) -> None:
    project = _named(api, "project", "service") or _made(
        api, "project", {"name": "service", "domain_id": "default"}
    )
    roles = [_named(api, "role", name) or _made(api, "role", {"name": name}) for name in ("admin", "service")]
    for name in SERVICE_USERS:
        form = {"name": name, "domain_id": "default", "password": passwords(layout)[name]}
        user = _named(api, "user", name) or _made(api, "user", form)
        for role in roles:
            api.send("PUT", "keystone", f"/v3/projects/{project}/users/{user}/roles/{role}")


def _named(api: Api, kind: str, name: str) -> str | None:
    """Returns its ID."""
    found = api.get("keystone", f"/v3/{kind}s?name={quote(name)}")[f"{kind}s"]
    return str(found[0]["id"]) if found else None


def _made(api: Api, kind: str, form: Json) -> str:
    return str(api.send("POST", "keystone", f"/v3/{kind}s", {kind: form})[kind]["id"])
