"""The proxy of a URL, according to the environment."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from steps import providers
from steps.model.contract import Exit, StepError
from steps.model.plan import ProxyPlan
from steps.providers import Access
from steps.runtime import proxy
from steps.runtime.stop import Stop
from tests.unit.builders import a_plan

PROXY = "http://proxy.corp:3128"


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("http://a/", {}, None),
        ("http://a/", {"http_proxy": PROXY}, "proxy.corp:3128"),
        ("http://a/", {"HTTP_PROXY": PROXY}, "proxy.corp:3128"),
        ("https://a/", {"HTTP_PROXY": PROXY}, None),
        ("https://a/", {"HTTPS_PROXY": PROXY}, "proxy.corp:3128"),
        ("https://a/", {"ALL_PROXY": PROXY}, "proxy.corp:3128"),
        ("https://a/", {"https_proxy": "other:81", "HTTPS_PROXY": PROXY}, "other:81"),
        ("https://a/", {"HTTPS_PROXY": "  "}, None),
        ("https://a/", {"HTTPS_PROXY": "proxy.corp"}, "proxy.corp:80"),
        ("file:///a", {"ALL_PROXY": PROXY}, None),
    ],
)
def test_the_variable_of_the_scheme_counts(
    url: str, environment: dict[str, str], expected: str | None
) -> None:
    found = proxy.for_url(url, environment)
    assert (str(found) if found else None) == expected


@pytest.mark.parametrize(
    ("exempt", "host", "is_direct"),
    [
        ("*", "a.corp", True),
        ("a.corp", "a.corp", True),
        ("A.Corp", "a.corp", True),
        ("corp", "a.corp", True),
        (".corp", "a.corp", True),
        ("*.corp", "a.corp", True),
        ("corp", "acorp", False),
        ("a.corp", "b.corp", False),
        ("b.corp, a.corp", "a.corp", True),
        ("a.corp:443", "a.corp", True),
        ("a.corp:8443", "a.corp", False),
        ("a.corp:8443", "a.corp:8443", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[FD00:0::1]", "[fd00::1]", True),
        ("[fd00::2]", "[fd00::1]", False),
        ("[fd00::1]:443", "[fd00::1]", True),
        ("[fd00::1]:8443", "[fd00::1]", False),
        ("", "a.corp", False),
        (",", "a.corp", False),
    ],
)
def test_no_proxy_exempts_hosts(exempt: str, host: str, is_direct: bool) -> None:
    found = proxy.for_url(f"https://{host}/x", {"HTTPS_PROXY": PROXY, "NO_PROXY": exempt})
    assert (found is None) == is_direct


@pytest.mark.parametrize(
    "given",
    [
        *("socks5://proxy:1080", "https://proxy:443", "http://", "http://proxy:99999", "http://proxy:0"),
        *("http://[fd00::1", "http:/proxy:3128", "http://proxy server:3128", "http://proxy:3128/path"),
        # Unencoded special characters in a password: the text before them would be read as the host.
        *("http://me:hunter@2/x@proxy:3128", "http://me:hunter@2#x@proxy:3128", "http://me#hunter2@proxy"),
    ],
)
def test_an_unusable_proxy_is_reported(given: str) -> None:
    with pytest.raises(StepError, match="HTTPS_PROXY cannot be used") as caught:
        proxy.for_url("https://a/", {"HTTPS_PROXY": given})
    assert caught.value.code is Exit.INVALID
    assert "hunter" not in str(caught.value)


def test_the_login_of_a_proxy_is_sent_only_to_it_and_never_shown() -> None:
    found = proxy.for_url("https://a/", {"HTTPS_PROXY": "http://me:hunter%402@proxy:3128"})
    assert found is not None
    assert found.headers == {"Proxy-Authorization": "Basic bWU6aHVudGVyQDI="}
    assert "hunter" not in f"{found} {found!r}"
    with pytest.raises(StepError) as caught:
        proxy.for_url("https://a/", {"HTTPS_PROXY": "socks5://me:hunter2@proxy:3128"})
    assert "hunter" not in str(caught.value)


def test_the_proxy_of_a_profile_replaces_all_of_the_environment() -> None:
    environment = {
        "HTTP_PROXY": "http://a:1",
        "https_proxy": "http://a:1",
        "ALL_PROXY": "http://a:1",
        "NO_PROXY": "b",
    }
    proxy.use("", "http://proxy:3128", ".local", environment)
    assert environment == {"https_proxy": "http://proxy:3128", "no_proxy": ".local"}
    assert str(proxy.for_url("https://vcenter/sdk", environment)) == "proxy:3128"
    assert proxy.for_url("http://vcenter/sdk", environment) is None
    proxy.use("", "", "", environment)
    assert environment == {}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(None, "http://of-the-installation:1"), (ProxyPlan(https="http://proxy:3128"), "http://proxy:3128")],
)
def test_a_step_connects_to_its_source_by_the_proxy_of_its_plan(
    wanted: ProxyPlan | None, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    def connect(_: Access) -> AbstractContextManager[None]:
        seen.append(os.environ.get("https_proxy", ""))
        return nullcontext()

    monkeypatch.setenv("https_proxy", "http://of-the-installation:1")
    monkeypatch.setattr(importlib, "import_module", lambda _: SimpleNamespace(connect=connect))
    plan = a_plan().source.model_copy(update={"proxy": wanted})
    access = Access(plan=plan, credentials=tmp_path, stop=Stop(), run="r", step="s", state_folder=tmp_path)
    with providers.connect(access):
        assert seen == [expected]
