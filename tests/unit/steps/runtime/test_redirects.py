"""Which redirects are followed, and where credentials go."""

from __future__ import annotations

import pytest

from steps.model.contract import Exit, StepError
from steps.runtime import guard, redirects
from steps.runtime.redirects import Redirects

HOME = "https://files.example.com/m.ova"


@pytest.mark.parametrize(
    ("after", "named", "installation", "followed"),
    [
        ("https://files.example.com/v2/m.ova", (), "", True),
        ("https://FILES.example.com:8443/m.ova", (), "", True),
        ("https://cdn.example.com/m.ova", (), "", False),
        ("https://cdn.example.com/m.ova", ("cdn.example.com",), "", True),
        ("https://cdn.example.com/m.ova", (), "s3.example.net, cdn.example.com", True),
        ("https://cdn.example.com/m.ova", (), "*.example.com", True),
        ("https://example.com/m.ova", (), "*.example.com", False),
        ("https://cdn.example.com.evil.test/m.ova", ("cdn.example.com",), "*.example.com", False),
        ("https://evil.test/m.ova?cdn.example.com", ("cdn.example.com",), "", False),
        ("https://cdn.example.com@evil.test/m.ova", ("cdn.example.com",), "", False),
        ("https://evil.test/m.ova", (), "*", True),
        ("https://evil.test/m.ova", ("*",), "", True),
        ("https://[2001:db8::1]/m.ova", ("[2001:db8::1]",), "", True),
        ("https://192.0.2.1/m.ova", ("192.0.2.1",), "", True),
        ("http://files.example.com/m.ova", (), "*", False),
    ],
)
def test_a_redirect_stays_at_the_source_or_goes_to_an_allowed_host(
    after: str, named: tuple[str, ...], installation: str, *, followed: bool
) -> None:
    rule = Redirects.read(HOME, named, {guard.REDIRECT_HOSTS: installation})
    if followed:
        rule.check(HOME, after, "it")
        return
    with pytest.raises(StepError) as caught:
        rule.check(HOME, after, "it")
    assert caught.value.code is Exit.INVALID


def test_hosts_are_not_restricted_without_the_variable() -> None:
    rule = Redirects.read(HOME, (), {})
    rule.check(HOME, "https://anywhere.test/m.ova", "it")
    with pytest.raises(StepError, match="lose its encryption"):
        rule.check(HOME, "http://anywhere.test/m.ova", "it")


def test_an_allowed_host_may_redirect_back_to_the_source() -> None:
    rule = Redirects.read(HOME, ("cdn.example.com",), {guard.REDIRECT_HOSTS: ""})
    rule.check("https://cdn.example.com/m.ova", HOME, "it")
    with pytest.raises(StepError):
        rule.check("https://cdn.example.com/m.ova", "https://evil.test/m.ova", "it")


def test_the_message_names_the_host_and_where_to_allow_it() -> None:
    rule = Redirects.read(HOME, (), {guard.REDIRECT_HOSTS: ""})
    with pytest.raises(StepError) as caught:
        rule.check(HOME, "https://cdn.example.net/x?signature=secret", HOME)
    message = str(caught.value)
    assert f"{HOME} redirects to the host 'cdn.example.net'" in message
    assert "spec.redirectHosts of the source" in message
    assert "sourceNetwork.redirectHosts" in message
    assert "secret" not in message


def test_a_long_name_does_not_make_a_long_message() -> None:
    rule = Redirects.read(HOME, (), {guard.REDIRECT_HOSTS: ""})
    with pytest.raises(StepError) as caught:
        rule.check(HOME, f"https://{'a' * 5000}.test/", HOME)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("entry", ["https://cdn.example.com", "cdn.example.com:443", "a b", "*x"])
def test_a_list_of_the_environment_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(StepError, match=guard.REDIRECT_HOSTS) as caught:
        Redirects.read(HOME, (), {guard.REDIRECT_HOSTS: f"cdn.example.com,{entry}"})
    assert caught.value.code is Exit.INVALID


@pytest.mark.parametrize(
    ("location", "resolved"),
    [
        ("/v2/m.ova", "https://files.example.com/v2/m.ova"),
        ("m2.ova#part", "https://files.example.com/m2.ova"),
        ("//cdn.example.com/m.ova", "https://cdn.example.com/m.ova"),
        ("https://cdn.example.com/m.ova?a=b", "https://cdn.example.com/m.ova?a=b"),
        ("", HOME),
        ("/My Files/web.ova", "https://files.example.com/My%20Files/web.ova"),
        (" /a b.ova?name=a b ", "https://files.example.com/a%20b.ova?name=a%20b"),
        ("/a%20b c.ova", "https://files.example.com/a%20b%20c.ova"),
        ("/M\u00f6bel.ova".encode().decode("latin-1"), "https://files.example.com/M%C3%B6bel.ova"),
        ("/M\u00f6bel.ova", "https://files.example.com/M%F6bel.ova"),
        ("/\u684c.ova", "https://files.example.com/%E6%A1%8C.ova"),
        ("//m\u00f6bel.example/a b".encode().decode("latin-1"), "https://m\u00f6bel.example/a%20b"),
    ],
)
def test_a_location_is_resolved(location: str, resolved: str) -> None:
    assert redirects.resolve(HOME, location, "it") == resolved


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "ftp://files.example.com/m.ova", "gopher://x", "javascript:alert(1)"),
        *("http://", "https://[::1", "https://host:port/", "https://host:99999/", "http:///etc/passwd"),
        *(
            "https://evil.test\\@files.example.com/",
            "https://a b/",
            "https://a\r\nCookie: x",
            "https://a\0b/",
            "https://a\u00a0b/",
            "https://\u00ff\u00fe/",
            "/a\tb",
        ),
    ],
)
def test_a_location_that_is_no_url_is_refused_and_not_quoted(location: str) -> None:
    with pytest.raises(StepError, match="redirects to an address that cannot be used") as caught:
        redirects.resolve(HOME, location, "it")
    assert caught.value.code is Exit.INVALID
    for part in ("passwd", "evil", "99999", "alert", "Cookie"):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    ("home", "url", "kept"),
    [
        ("http://host/v3", "http://HOST:80/v3/", True),
        ("http://host/v3", "https://host/v3", True),
        ("https://host:5000/v3", "https://host:5000/identity/v3", True),
        ("http://host:5000/v3", "https://host:5000/v3", False),
        ("http://host/v3", "http://host:8080/v3", False),
        ("https://host/v3", "http://host/v3", False),
        ("https://host/v3", "https://host.example.com/v3", False),
        ("https://host/v3", "https://host@evil.test/v3", False),
        ("https://host/v3", "file:///v3", False),
        ("https://host/v3", "https://host:x/v3", False),
    ],
)
def test_credentials_stay_at_their_origin(home: str, url: str, *, kept: bool) -> None:
    assert redirects.keeps_credentials(home, url) is kept
