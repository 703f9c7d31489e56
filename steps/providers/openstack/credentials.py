"""How to authenticate with Keystone, read from the files of the source's secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from keystoneauth1.identity import v3
from keystoneauth1.plugin import BaseAuthPlugin

from steps.model.contract import Exit, StepError
from steps.runtime import secret

CA: Final = "ca_cert"
"""The key of the CA's certificates, as in vm-import-controller."""
_APPLICATION_PREFIX: Final = "application_credential"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What keystoneauth1 needs to authenticate, and the CA to trust."""

    method: Literal["password", "application-credential", "token"]
    options: dict[str, str] = field(repr=False)
    ca: str = ""
    """PEM certificates, one or more."""

    @classmethod
    def read(cls, folder: Path) -> Credentials:
        """Read an application credential, a token or a password; the first of them that is there counts.

        application_credential_secret with application_credential_id (or _name, username and domain), or
        username, password, project_name and domain_name. `user_domain_name` and `project_domain_name` are
        more specific than `domain_name`, which is for both; `project_id` replaces name and domain. A token
        needs the project too: Keystone makes another token from it, for that project (Identity API v3, "Token
        authentication with scoped authorization").

        Raises:
            StepError: INVALID, naming the key that is missing, empty or not text.
        """
        values = {key: secret.read_text(folder, key).strip() for key in _KEYS}
        entries = {key: value for key, value in values.items() if value}
        ca = secret.read_text(folder, CA).strip()
        if f"{_APPLICATION_PREFIX}_secret" in entries:
            return cls(method="application-credential", options=_application_options(entries), ca=ca)
        if "token" in entries:
            options = {"token": entries["token"], **_project_options(entries)}
            return cls(method="token", options=options, ca=ca)
        return cls(method="password", options=_password_options(folder, entries), ca=ca)

    def plugin(self, address: str) -> BaseAuthPlugin:
        """The plugin that authenticates at Keystone's `address`."""
        plugin: BaseAuthPlugin = _PLUGINS[self.method](address, **self.options)
        return plugin


_PLUGINS: Final = {
    "password": v3.Password,
    "application-credential": v3.ApplicationCredential,
    "token": v3.Token,
}
_KEYS: Final = (
    "username",
    "user_id",
    "domain_name",
    "user_domain_name",
    "project_domain_name",
    "project_name",
    "project_id",
    "token",
    f"{_APPLICATION_PREFIX}_id",
    f"{_APPLICATION_PREFIX}_name",
    f"{_APPLICATION_PREFIX}_secret",
)


def _application_options(entries: dict[str, str]) -> dict[str, str]:
    """Options of keystoneauth1's v3.ApplicationCredential: it is bound to a project, so none is named."""
    options = {key: value for key, value in entries.items() if key.startswith(_APPLICATION_PREFIX)}
    if f"{_APPLICATION_PREFIX}_id" in options:
        return options
    if f"{_APPLICATION_PREFIX}_name" in options:
        return options | _user_options(entries)
    raise _missing(f"{_APPLICATION_PREFIX}_id")


def _password_options(folder: Path, entries: dict[str, str]) -> dict[str, str]:
    options = _user_options(entries) | {"password": secret.read_required(folder, "password")}
    return options | _project_options(entries)


def _project_options(entries: dict[str, str]) -> dict[str, str]:
    if "project_id" in entries:
        return {"project_id": entries["project_id"]}
    if "project_name" not in entries:
        raise _missing("project_name")
    domain = _domain(entries, "project_domain_name")
    return {"project_name": entries["project_name"], "project_domain_name": domain}


def _user_options(entries: dict[str, str]) -> dict[str, str]:
    if "user_id" in entries:
        return {"user_id": entries["user_id"]}
    if "username" not in entries:
        raise _missing("username")
    return {"username": entries["username"], "user_domain_name": _domain(entries, "user_domain_name")}


def _domain(entries: dict[str, str], key: str) -> str:
    domain = entries.get(key) or entries.get("domain_name")
    if not domain:
        raise _missing(f"{key} or domain_name")
    return domain


def _missing(key: str) -> StepError:
    return StepError(
        Exit.INVALID,
        f"the source's secret has no {key}",
        f"the key {key} is missing or empty",
        f"set {key} in the secret",
    )
