"""Lists of hosts that a person writes."""

from __future__ import annotations

import pytest

from steps.model import hosts


@pytest.mark.parametrize(
    "entry",
    [
        *("cdn.example.com", "CDN.Example.com.", "files", "*.example.com", "*", "192.0.2.1", "s3_eu.example"),
        *("2001:db8::1", "[2001:db8::1]", "::1", "bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_entries_that_are_hosts(entry: str) -> None:
    assert hosts.is_pattern(entry)


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "",
            " ",
            "https://cdn.example.com",
            "cdn.example.com/x",
            "cdn.example.com:443",
            "a b",
            "*example.com",
        ),
        *("a.*.example.com", "**", "*.", ".example.com", "a..b", "-a", "user@host", "a,b", "a\nb", "a\0"),
        "a" * 256,
    ],
)
def test_entries_that_are_no_hosts(entry: str) -> None:
    assert not hosts.is_pattern(entry)


@pytest.mark.parametrize(
    ("pattern", "host", "named"),
    [
        ("cdn.example.com", "cdn.example.com", True),
        ("CDN.example.com", "cdn.EXAMPLE.com.", True),
        ("cdn.example.com", "x.cdn.example.com", False),
        ("*.example.com", "cdn.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("*.example.com", "example.com.evil.test", False),
        ("*", "anything.test", True),
        ("[2001:db8::1]", "2001:db8::1", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("192.0.2.1", "192.0.2.10", False),
    ],
)
def test_which_hosts_an_entry_names(pattern: str, host: str, *, named: bool) -> None:
    assert hosts.matches(pattern, host) is named
