"""A kubeconfig as the credentials of a source: one context, with everything inside the text. Pure.

A kubeconfig from a person can name programs to run and files to read. Such a file is refused: a step would
run or read them with its own rights (k8s.io/client-go, tools/clientcmd/api/v1/types.go, names every field).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from steps.model import foreign_yaml
from steps.model.contract import Exit, StepError
from steps.model.naming import is_namespace, shown

KEY: Final = "kubeconfig"
"""The key of the Secret."""
LONGEST: Final = 128 << 10
"""Characters. One context with certificates has some 10,000."""
MOST_BRACKETS: Final = 1000
"""Opening brackets: the time of the parser grows with the square of their depth, and the controller reads
kubeconfigs of tenants. One context has some twenty, if it is written as JSON."""
_OUTSIDE_OF_CLUSTER: Final = ("certificate-authority", "proxy-url", "tls-server-name")
_OUTSIDE_OF_USER: Final = (
    *("exec", "auth-provider", "tokenFile", "client-certificate", "client-key"),
    *("as", "as-uid", "as-groups", "as-user-extra", "username", "password"),
)
_BEGIN: Final = "-----BEGIN"


@dataclass(frozen=True)
class Kubeconfig:
    """The current context of a kubeconfig."""

    server: str
    """URL of the API server: https."""
    namespace: str = ""
    ca: str = ""
    """PEM certificates of the CA; empty: those of the system."""
    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    """PEM, of the client."""
    key: str = field(default="", repr=False)
    """PEM, of the client."""
    skips_verification: bool = False

    @classmethod
    def parse(cls, text: str) -> Kubeconfig:
        """The current context.

        Raises:
            StepError: INVALID, with the first thing that is wrong. No part of a credential is quoted.
        """
        document = _document(text)
        context = _named(document, "context", document.get("current-context"))
        cluster = _named(document, "cluster", context.get("cluster"))
        user = _named(document, "user", context.get("user"))
        _refuse_outside(cluster, _OUTSIDE_OF_CLUSTER, "clusters[].cluster")
        _refuse_outside(user, _OUTSIDE_OF_USER, "users[].user")
        found = cls(
            server=_server(_text(cluster, "server")),
            namespace=_namespace(_text(context, "namespace")),
            ca=_pem(cluster, "certificate-authority-data"),
            token=_token(_text(user, "token")),
            certificate=_pem(user, "client-certificate-data"),
            key=_pem(user, "client-key-data"),
            skips_verification=cluster.get("insecure-skip-tls-verify") is True,
        )
        if bool(found.certificate) != bool(found.key):
            raise _unusable("it has only one of client-certificate-data and client-key-data")
        if not found.token and not found.certificate:
            raise _unusable("its user has neither a token nor a client certificate")
        return found

    @property
    def account(self) -> str:
        """Who logs in: stays the same when the token of a service account is renewed. No secret."""
        subject = _subject(self.token)
        if subject:
            return subject
        secret = self.token or self.certificate
        return hashlib.sha256(secret.encode()).hexdigest()


def account_of(text: str) -> str:
    """Who logs in with a kubeconfig; a digest of the text if it cannot be used."""
    try:
        return Kubeconfig.parse(text).account
    except StepError:
        return hashlib.sha256(text.encode()).hexdigest()


def _document(text: str) -> Mapping[str, Any]:
    if len(text) > LONGEST:
        raise _unusable(f"it has more than {LONGEST} characters")
    if text.count("[") + text.count("{") > MOST_BRACKETS:
        raise _unusable(f"it has more than {MOST_BRACKETS} opening brackets")
    try:
        document = foreign_yaml.load(text)
    except ValueError as error:
        raise _unusable(f"it is not YAML ({error})") from None
    if not isinstance(document, dict) or document.get("kind", "Config") != "Config":
        raise _unusable("it is not of the kind Config")
    return document


def _named(document: Mapping[str, Any], kind: str, name: object) -> Mapping[str, Any]:
    """The entry of that name in the list of contexts, clusters or users."""
    field_name = "current-context" if kind == "context" else f"contexts[].context.{kind}"
    if not isinstance(name, str) or not name:
        raise _unusable(f"{field_name} is missing")
    entries = document.get(f"{kind}s")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(kind), dict):
            found: Mapping[str, Any] = entry[kind]
            return found
    raise _unusable(f"it has no {kind} {shown(name)}, which {field_name} names")


def _refuse_outside(entry: Mapping[str, Any], refused: tuple[str, ...], where: str) -> None:
    found = [name for name in refused if entry.get(name)]
    if found:
        raise _unusable(f"{where} has {', '.join(found)}")


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _unusable(f"{name} is not a text")
    return value.strip()


def _server(text: str) -> str:
    try:
        url = urlsplit(text)
        usable = url.scheme == "https" and bool(url.hostname) and url.port != 0
        plain = url.username is None and not url.query and not url.fragment
    except ValueError:
        usable = plain = False
    if usable and not plain:
        raise _unusable("server has a user name, a query or a fragment")
    if not usable or any(ord(char) <= 32 or char in "\\\x7f" for char in text):
        raise _unusable(f"server {shown(text)} is not an https URL")
    return text.rstrip("/")


def _namespace(text: str) -> str:
    if text and not is_namespace(text):
        raise _unusable(f"namespace {shown(text)} is not a name of a namespace")
    return text


def _token(text: str) -> str:
    if any(not 32 < ord(char) < 127 for char in text):  # it becomes part of a header
        raise _unusable("token has a character that is not printable ASCII")
    return text


def _pem(entry: Mapping[str, Any], name: str) -> str:
    """The PEM text in a field in base64."""
    text = _text(entry, name)
    if not text:
        return ""
    try:
        decoded = base64.b64decode("".join(text.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        decoded = ""
    if _BEGIN not in decoded:
        raise _unusable(f"{name} is not PEM in base64")
    return decoded


def _subject(token: str) -> str:
    """The subject of a token that is a JWT (RFC 7519); "" for another one. Nothing is verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        subject = claims["sub"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return subject if isinstance(subject, str) else ""


def _unusable(why: str) -> StepError:
    return StepError(
        Exit.INVALID,
        f"the key {KEY} of the source's secret cannot be used",
        why,
        "write a kubeconfig with one context whose CA and token, or client certificate and key, are inside "
        "of it (certificate-authority-data, token, client-certificate-data, client-key-data): no programs, "
        "files, proxies or impersonation",
    )
