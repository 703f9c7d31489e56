"""Fuzzes the YAML text in the Secret of a `v2v.kubevirt.io` import: the controller itself reads it."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Final

from steps.model.sources import SourceKind
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from workflows.v2v_secret import ADDRESS, KEYS, LOGIN, LONGEST, OPTIONAL, SecretError, parse, read

MARK: Final = "s3cret-0123456789"
"""A value that no message may contain."""
_NAMES: Final = (ADDRESS, *LOGIN, *OPTIONAL, "verify", "<<", "=", "x" * 2000)
_PLAIN: Final = (
    *("0123", "123456", "yes", "null", "~", "", "1e3", "2026-11-30", "0x1f", "12:30:45", ".inf", "a b c"),
    *("https://vcenter.example/sdk", "administrator@vsphere.local", "-----BEGIN CERTIFICATE-----"),
)
_QUOTED: Final = ("", "a: b", "# no comment", "*alias", "&anchor", "[x]", "{x}", "\t", "\u2028", "\U0001f600")
_PARTS: Final = (
    *("{", "}", "[", "]", "- ", "? ", ": ", "&a ", "*a", "!!binary ", "!!python/name:os.system ", "!<x> "),
    *("|\n", ">-\n", "%YAML 1.1\n", "--- \n", "...\n", "'", '"', "\\", "\t", "\r", "\u0085", "\ufeff", "\0"),
    *("<<: *a\n", '"\\uD800"', '"\\UFFFFFFFF"', "[" * 70, "  " * 500, "a: &a [*a]\n", "#", ",", "\n"),
)


class V2vSecret:
    """Texts with any mistake."""

    name = "v2v-secret"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        kind = rng.choice(list(KEYS))
        expected = _login(rng)
        text = "".join(_line(rng, name, value) for name, value in expected.items())
        changes = rng.choice((0, 0, 1, 1, 2, 4))
        for _ in range(changes):
            text = _changed(rng, text)
        data = bytearray(text.encode())
        if spoilt := rng.random() < 0.1:
            mutate.any_bytes(rng, data)
        valid = not changes and not spoilt
        return Case(self.name, bytes(data), {"kind": str(kind), "expected": expected if valid else None})

    def run(self, case: Case, folder: Path) -> str:
        del folder
        kind = SourceKind(case.options["kind"])
        try:
            login = read(kind, {KEYS[kind]: base64.b64encode(case.data).decode()})
        except SecretError as error:
            if MARK in str(error):
                raise Wrong("a message has a value of the Secret") from None
            return "refused"
        json.dumps(login.credentials).encode()  # as a Secret of its own
        if not login.address or MARK in repr(login).replace(login.address, ""):
            raise Wrong("a login without an address, or one that shows a value")
        return "a login"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """What is accepted is what was meant, and the same texts, written in another way."""
        del folder
        try:
            found = parse(case.data.decode())
        except (SecretError, UnicodeDecodeError):
            if case.options["expected"] is not None:
                raise Wrong("a valid text is refused") from None
            return "no mapping" if outcome == "refused" else ""
        if case.options["expected"] not in (None, found):
            raise Wrong("a value differs from what was written")
        again = "".join(f"? {_escaped(name)}\n: {_escaped(value)}\n" for name, value in found.items())
        if len(again) > LONGEST:
            return "too long to write again"
        if parse(again) != found:
            raise Wrong("the same texts with escapes are read differently")
        return "equal"


def _login(rng: random.Random) -> dict[str, str]:
    """A mapping of names to texts, most of them a complete login."""
    found = {ADDRESS: "https://vcenter.example/sdk", "username": "admin", "password": MARK}
    for name in rng.sample(_NAMES, rng.randrange(4)):
        found[name] = rng.choice((*_PLAIN, *_QUOTED, MARK))
    if rng.random() < 0.2:
        found.pop(rng.choice(list(found)))
    names = list(found)
    rng.shuffle(names)
    return {name: found[name] for name in names}


def _line(rng: random.Random, name: str, value: str) -> str:
    """An entry; the value is quoted if it does not stand for itself, or by chance."""
    stands = value in (*_PLAIN, MARK) and value not in ("", "~", "null")
    written = value if stands and rng.random() < 0.7 else _escaped(value)
    is_long = len(name) > 1000  # a simple key has at most 1024 characters
    return f"? {name}\n: {written}\n" if is_long else f"{name}: {written}\n"


def _escaped(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def _changed(rng: random.Random, text: str) -> str:
    if rng.random() < 0.05:
        return rng.choice((text + "#" * LONGEST, "- a list\n", "only a text", ""))
    at = rng.randrange(len(text) + 1)
    if rng.random() < 0.7:
        return text[:at] + rng.choice(_PARTS) * rng.choice((1, 1, 1, 2, 30)) + text[at:]
    end = at + rng.randrange(20)
    return text[:at] + rng.choice(("", text[at:end] * 2)) + text[end:]
