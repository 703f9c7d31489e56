"""The place and the account of a source, however its address is written. Pure.

Two sources may be the same vCenter with the same account. Limits and attempts to log in belong to that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from steps.model import kubeconfig
from steps.model.names import short
from steps.model.plan import SourcePlan
from workflows.api.sources import spec_of

_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 54
"""Characters of a key without its digest: the key is also the value of a label, which has at most 63."""


def place(address: str) -> str:
    """`host:port` of an address; equal for all spellings. Without a scheme it is https, as for vSphere.

    Empty if no host can be read.
    """
    text = address.strip()
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    host = host.rstrip(".")
    return f"{host}:{port or _PORTS.get(parts.scheme, 443)}" if host else ""


def limits_key(source: SourcePlan, credentials: Mapping[str, str]) -> str:
    """The key of a source's limits: provider, host, and a digest of place and account.

    `credentials` are the data of its Secret, base64. Without an account anybody may use the place, so each
    namespace has limits of its own there: a tenant must not hold the places of another one.
    """
    where, account = place(source.endpoint), _account(source, credentials)
    whose = account or ("namespace", source.namespace)
    digest = hashlib.sha256("\n".join((source.kind, where, *whose)).encode()).hexdigest()[:8]
    host = where.rpartition(":")[0].strip("[]")
    return f"{short(f'{source.kind.provider}.{host}', _LONGEST)}.{digest}"


def _account(source: SourcePlan, credentials: Mapping[str, str]) -> tuple[str, ...]:
    """Who logs in, without passwords, which change. Names of accounts ignore case at vSphere and Keystone."""
    keys = spec_of(source.kind).ACCOUNT_KEYS
    return tuple(f"{key}={account_text(key, credentials[key])}" for key in keys if credentials.get(key))


def account_text(key: str, value: str) -> str:
    """The account that a key of a Secret names (base64); equal for all spellings that mean the same."""
    try:
        text = base64.b64decode(value).decode(errors="replace").strip()
    except ValueError:
        return value
    return kubeconfig.account_of(text) if key == kubeconfig.KEY else text.casefold()
