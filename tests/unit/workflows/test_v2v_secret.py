"""Secrets of `v2v.kubevirt.io`: a YAML text whose scalars stay as they are written."""

from __future__ import annotations

import base64
import contextlib
import random
import re

import pytest
import yaml  # type: ignore[import-untyped]
from yaml import YAMLError

from steps.model.sources import SourceKind
from workflows.v2v_secret import LONGEST, SecretError, parse, read

VMWARE, OVIRT = SourceKind.VMWARE, SourceKind.OVIRT
LOGIN = {"apiUrl": "https://host/sdk", "username": "admin@internal", "password": "x"}


def data(kind: SourceKind, text: str) -> dict[str, str]:
    key = "vmware" if kind is VMWARE else "ovirt"
    return {key: base64.b64encode(text.encode()).decode()}


def text_of(**values: str) -> str:
    return "".join(f"{name}: {value}\n" for name, value in values.items())


def decoded(kind: SourceKind, text: str) -> dict[str, str]:
    login = read(kind, data(kind, text))
    return {name: base64.b64decode(value).decode() for name, value in login.credentials.items()}


@pytest.mark.parametrize("scalar", ["123456", "0123", "yes", "1e3", "true", "2020-01-01", "0x10", "1_000"])
def test_a_scalar_stays_as_it_is_written(scalar: str) -> None:
    assert decoded(OVIRT, text_of(**{**LOGIN, "password": scalar}))["password"] == scalar


@pytest.mark.parametrize("null", ["", "~", "null", "Null", "NULL"])
def test_null_is_empty(null: str) -> None:
    with pytest.raises(SecretError, match="vmware secret password cannot be empty"):
        read(VMWARE, data(VMWARE, text_of(**{**LOGIN, "password": null})))


def test_a_quoted_null_is_a_text() -> None:
    assert decoded(VMWARE, text_of(**{**LOGIN, "password": '"null"'}))["password"] == "null"  # noqa: S105


@pytest.mark.parametrize("name", LOGIN)
@pytest.mark.parametrize(("kind", "title"), [(VMWARE, "vmware"), (OVIRT, "oVirt")])
def test_a_missing_attribute(kind: SourceKind, title: str, name: str) -> None:
    rest = {key: value for key, value in LOGIN.items() if key != name}
    with pytest.raises(SecretError) as caught:
        read(kind, data(kind, text_of(**rest)))
    assert str(caught.value) == f"{title} secret must contain {name} attribute"


def test_no_key_is_an_empty_mapping() -> None:
    with pytest.raises(SecretError, match="oVirt secret must contain apiUrl attribute"):
        read(OVIRT, {})


PEM = "|\n  -----BEGIN CERTIFICATE-----\n  abc\n  -----END CERTIFICATE-----"


@pytest.mark.parametrize("key", ["caCert", "ca.cert"])
def test_a_ca_under_either_name(key: str) -> None:
    found = decoded(OVIRT, text_of(**LOGIN, **{key: PEM}))
    assert found[key].startswith("-----BEGIN")
    assert "-----BEGIN" in decoded(VMWARE, text_of(**LOGIN, **{key: PEM}))["caCert"]


def test_only_vsphere_has_a_thumbprint() -> None:
    text = text_of(**LOGIN, thumbprint="21:EA")
    assert decoded(VMWARE, text)["thumbprint"] == "21:EA"
    assert "thumbprint" not in decoded(OVIRT, text)


@pytest.mark.parametrize(
    "text",
    [
        "- a",
        "s3cret",
        "a: {s3cret: c}",
        "a: [s3cret]",
        "{s3cret",
        "a: s3cret\na: s3cret",
        "? [s3cret]\n: b",
        "[" * 60,
        "{a: " * 60,
        "a: &x s3cret\nb: *y",
        "\ts3cret: x",
        'a: "s3cret \\UFFFFFFFF"',
        "a: \x00s3cret",
        "a: b\n--- \ns3cret: d",
    ],
    ids=range(14),
)
def test_what_is_no_mapping_of_texts_is_refused_without_a_value(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        parse(text)
    assert "s3cret" not in str(caught.value)


def test_a_warning_quotes_nothing(recwarn: pytest.WarningsRecorder) -> None:
    assert parse("&a s3cret: x\nb: &a s3cret\n") == {"s3cret": "x", "b": "s3cret"}
    assert list(recwarn) == []


@pytest.mark.parametrize("blanks", ['"  "', '"\\u2028"', "' \t'"])
def test_an_address_of_blanks_is_an_empty_one(blanks: str) -> None:
    with pytest.raises(SecretError, match="vmware secret apiUrl cannot be empty"):
        read(VMWARE, data(VMWARE, text_of(**{**LOGIN, "apiUrl": blanks})))


@pytest.mark.parametrize("name", ["password", "apiUrl"])
def test_half_a_character_is_refused(name: str) -> None:
    with pytest.raises(SecretError, match="half a character"):
        read(VMWARE, data(VMWARE, text_of(**{**LOGIN, name: '"\\uD800"'})))


_PARTS = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "!!str ",
    "!",
    "|",
    ">-",
    '"',
    "'",
    "\\UFFFFFFFF",
]
_PARTS += [
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "\t",
    "\n",
    "\r",
    "\x85",
    "\u2028",
    "\x00",
    "#",
    "~",
    ", ",
    "<<: ",
]


def test_changed_texts_are_read_or_refused_and_two_parsers_agree() -> None:
    """The other one is PyYAML, which reads scalars as texts, too."""
    text = text_of(**LOGIN, **{"ca.cert": PEM})
    accepted = 0
    for number in range(3000):
        rng = random.Random(number)
        changed = text
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(changed))
            end = min(len(changed), at + rng.randint(0, 6))
            changed = changed[:at] + rng.choice([*_PARTS, ""]) + changed[end:]
        try:
            found = parse(changed)
        except SecretError:
            continue
        accepted += 1
        with contextlib.suppress(YAMLError):  # it refuses more
            other = yaml.load(changed, yaml.BaseLoader)  # noqa: S506 - makes texts only
            # Line breaks beyond those of ASCII are read in two ways.
            if isinstance(other, dict) and changed.isascii():
                assert {key: value for key, value in other.items() if not _NULL.fullmatch(value)}.items() <= (
                    found.items()
                ), changed
    assert accepted > 500


_NULL = re.compile(r"~|null|Null|NULL|")


def test_a_long_text_is_not_read() -> None:
    with pytest.raises(SecretError, match="at most"):
        parse("a: " + "x" * LONGEST)


def test_nesting_costs_no_time() -> None:
    """The time of the parser grows with the square of the nesting: 60 thousand brackets took a minute."""
    for text in ("[" * 60_000, "{" * 60_000, "a: " + "[" * 60_000):
        with pytest.raises(SecretError, match="is nested"):
            parse(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SecretError, match="not a text"):
        read(VMWARE, {"vmware": base64.b64encode(b"\xff\xfe").decode()})
