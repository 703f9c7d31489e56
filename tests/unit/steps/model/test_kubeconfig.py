"""A kubeconfig from a person: what is read, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kubeconfig import LONGEST, Kubeconfig, account_of
from workflows.accounts import account_text

PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nx\n").decode()


def text(cluster: Any = None, user: Any = None, **more: Any) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [
            {"name": "other", "context": {"cluster": "no", "user": "no"}},
            {"name": "it", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "abc", **(user or {})}}],
        **more,
    }
    return json.dumps(document)


def refused(kubeconfig: str) -> str:
    with pytest.raises(StepError) as caught:
        Kubeconfig.parse(kubeconfig)
    assert caught.value.code is Exit.INVALID
    return str(caught.value)


def test_the_current_context_is_read() -> None:
    found = Kubeconfig.parse(text({"certificate-authority-data": PEM}))
    assert (found.server, found.namespace, found.token) == ("https://api.example:6443", "shop", "abc")
    assert found.ca.startswith("-----BEGIN")
    assert "abc" not in repr(found)


def test_yaml_is_read_as_kubectl_writes_it() -> None:
    written = """
apiVersion: v1
clusters:
- cluster:
    server: https://api.example:6443
  name: c
contexts:
- context: {cluster: c, user: u}
  name: it
current-context: it
kind: Config
preferences: {}
users:
- name: u
  user:
    token: abc
"""
    assert Kubeconfig.parse(written).namespace == ""


@pytest.mark.parametrize(
    "user",
    [
        {"exec": {"command": "sh"}},
        {"auth-provider": {"name": "gcp"}},
        {"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"},
        {"client-certificate": "/etc/x", "client-key": "/etc/y"},
        {"as": "system:admin"},
        {"as-groups": ["system:masters"]},
        {"username": "u", "password": "hunter2"},
    ],
)
def test_programs_files_and_other_people_are_refused(user: Any) -> None:
    message = refused(text(user=user))
    assert next(iter(user)) in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "cluster", [{"certificate-authority": "/etc/x"}, {"proxy-url": "http://x"}, {"tls-server-name": "x"}]
)
def test_files_and_proxies_of_a_cluster_are_refused(cluster: Any) -> None:
    assert next(iter(cluster)) in refused(text(cluster))


@pytest.mark.parametrize(
    "server",
    [
        *("http://x", "x", "", "https://", "https://[", "https://x:0", "https://x:99999", "https://u:p@x"),
        *("https://x?a=b", "https://x#a", "https://x y", "https://x\\y", 7, None, ["https://x"]),
    ],
)
def test_a_server_that_is_no_plain_https_url_is_refused(server: Any) -> None:
    assert len(refused(text({"server": server}))) < 700


@pytest.mark.parametrize(
    "change",
    [
        {"current-context": "none"},
        {"current-context": ""},
        {"current-context": 7},
        {"contexts": {}},
        {"contexts": [7, {"name": "it"}]},
        {"clusters": None},
        {"users": []},
        {"kind": "Secret"},
    ],
)
def test_a_kubeconfig_without_a_whole_context_is_refused(change: Any) -> None:
    refused(text(**change))


@pytest.mark.parametrize(
    "user",
    [
        {"token": ""},
        {"token": "a\r\nX-Header: 1"},
        {"token": "ä"},
        {"token": 7},
        {"token": "", "client-certificate-data": PEM},
        {"client-key-data": PEM},
        {"client-certificate-data": "no base64!", "client-key-data": PEM},
        {"client-certificate-data": base64.b64encode(b"no pem").decode(), "client-key-data": PEM},
    ],
)
def test_credentials_that_cannot_be_used_are_refused(user: Any) -> None:
    refused(text(user=user))


@pytest.mark.parametrize(
    "malformed",
    [
        *("", "7", "[]", "{", "a: *b", "\t", "!!python/object:os.system {}", "a: &a [*a]", "\0"),
        "x" * (LONGEST + 1),
        "[" * 5000,
        "[" * 999,
        "- " * 60_000,
    ],
)
def test_what_is_no_kubeconfig_is_one_clear_error(malformed: str) -> None:
    assert len(refused(malformed)) < 700


def jwt(**claims: Any) -> str:
    parts = ({"alg": "RS256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts]
    return ".".join((*encoded, "signature"))


def test_a_renewed_token_is_the_same_account() -> None:
    subject = "system:serviceaccount:shop:importer"
    one, other = (text(user={"token": jwt(sub=subject, iat=number)}) for number in (1, 2))
    assert account_of(one) == account_of(other) == subject
    assert account_of(text(user={"token": "x"})) != account_of(text(user={"token": "y"}))
    assert account_of("no kubeconfig") != account_of("another one")
    assert account_of(text(user={"token": "x"})) != "x"


@pytest.mark.parametrize("token", ["a.b.c", "..", "a.W10.c", jwt(), jwt(sub=7)])
def test_a_token_without_a_subject_is_an_account_by_its_digest(token: str) -> None:
    assert len(account_of(text(user={"token": token}))) == 64


def test_limits_and_checks_know_the_account_of_a_kubeconfig() -> None:
    subject = "system:serviceaccount:shop:importer"
    encoded = base64.b64encode(text(user={"token": jwt(sub=subject)}).encode()).decode()
    assert account_text("kubeconfig", encoded) == subject
    assert account_text("username", base64.b64encode(b" Admin ").decode()) == "admin"


MERGES = "b0: &b0\n  x: 1\n" + "".join(
    f"b{n}: &b{n}\n  <<:\n    - *b{n - 1}\n    - *b{n - 1}\n" for n in range(1, 60)
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("document", "why"),
    [
        (MERGES, "aliases are not supported"),
        ("kind: &a Config\nx: *a\n", "aliases are not supported"),
        ("- " * 60_000, "RecursionError"),
        ("? " * 60_000, "RecursionError"),
        ("a: 9" + "9" * 5000, "ValueError"),
    ],
)
def test_a_text_that_grows_without_a_bound_is_refused(document: str, why: str) -> None:
    """The controller reads the kubeconfigs of tenants: with merge keys each line doubles the time."""
    assert f"it is not YAML ({why})" in refused(document)
    assert len(account_of(document)) == 64
