"""Fuzzes the status of a VirtualMachineExport, and the answer of the server that its links name."""

from __future__ import annotations

import copy
import itertools
import json
import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

from steps.disk.http_client import HttpClient
from steps.providers.kubevirt import exports, links, power
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.api import Api
from steps.runtime.stop import Stop
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.engine import change
from tests.unit.steps.providers.kubevirt.documents import CLAIMS, NAMESPACE, Json

CLAIM: Final = CLAIMS[0]
ADDRESS: Final = "https://export.example.com/behind"
THUMBPRINT: Final = "ab" * 20
TOKEN: Final = "s3cret-token"  # noqa: S105 - of the test
_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_HOST: Final = "https://virt-export-web.shop.svc"
_FORMATS: Final = {"raw": "disk.img", "gzip": "disk.img.gz", "dir": "dir", "tar.gz": "disk.tar.gz"}
_URLS: Final = (
    *("", "http://plain.example/volumes/x/disk.img", "https://", "https://[", "https://user:p@host/x"),
    *("https://host:0/x", "https://host:99999/x", "https://host:443/volumes/../../secrets", "//host/x"),
    *(
        "https://h\u00f6st/x",
        "https://xn--/x",
        "https://" + "a" * 300 + "/x",
        "https://a..b/x",
        "https://\u202e/x",
    ),
    *(
        "https://host/x\r\nX: y",
        "https://host/\x00",
        "https://host/a b",
        "https://host\\@other/x",
        "file:///x",
    ),
    *(f"{_HOST}/volumes/{CLAIM}/disk.img?x=1#y", f"{_HOST}/volumes/other/volumes/{CLAIM}/disk.img"),
)
_STATUSES: Final = (206, 206, 206, 200, 200, 401, 403, 404, 416, 500, 503, 302, 204)
_RANGES: Final = (
    *("bytes 0-0/4194304", "bytes 0-0/4194304", "bytes 0-0/*", "bytes 0-0/0", "bytes 1-1/5", "bytes */5"),
    *("", "x", "bytes 0-0/" + "9" * 5000, "bytes 0-0/-1", "items 0-0/1"),
)


class ExportLinks:
    """Statuses of exports with any mistake."""

    name = "export-links"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        document = _export(rng)
        changes = rng.choice((0, 1, 1, 2, 4))
        for _ in range(changes):
            rng.choice((change, _change_url))(rng, document)
        data = json.dumps(document).encode()
        if spoilt := rng.random() < 0.1:
            buffer = bytearray(data)
            mutate.any_bytes(rng, buffer)
            data = bytes(buffer)
        address = rng.choice(("", "", ADDRESS))
        options = {
            "kind": rng.choice(("choose", "choose", "choose", "not ready")),
            "address": address,
            "thumbprint": THUMBPRINT if address and rng.random() < 0.5 else "",
            "insecure": rng.random() < 0.95,  # reading the CAs of the system takes long
            "status": rng.choice(_STATUSES),
            "range": rng.choice(_RANGES),
            "breaks": rng.random() < 0.1,
            "unchanged": not changes and not spoilt,
        }
        return Case(self.name, data, options)

    def run(self, case: Case, folder: Path) -> str:
        del folder
        options = case.options
        export = Answer.parse(case.data)
        if options["kind"] == "not ready":
            raise exports._not_ready(export, CLAIM, "cannot export disk-0")
        address = links.Address(options["address"], options["thumbprint"])
        source = Api(
            server="https://api:6443",
            namespace=NAMESPACE,
            tls=_TLS,
            insecure=options["insecure"],
            stop=Stop(),
        )
        if not links.has_any(export):
            return "no links"
        with _answers(options):
            link = links.choose(source, export, CLAIM, TOKEN, "cannot export disk-0", address)
        _check(link, options)
        return "a gzip link" if link.is_gzip else "a link"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """An unchanged status with a good answer has a link, and the link is one of the status."""
        del folder
        if not case.options["unchanged"]:
            return ""
        if outcome == "no links":
            raise Wrong("the links of an unchanged status are not seen")
        return "a link of the status"


def _check(link: links.Link, options: Json) -> None:
    """What the token of an export is sent to."""
    parts = urlsplit(link.url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise Wrong(f"{link.url!r} is no https URL")
    if any(ord(char) <= 32 or char in "\\\x7f" for char in link.url):
        raise Wrong("a URL with spaces or control characters")
    if options["address"] and not link.url.startswith(ADDRESS + links.PROXY_PATH.format(NAMESPACE, "")):
        raise Wrong(f"{link.url!r} is not at the address of the source")
    if TOKEN in link.url or TOKEN in repr(link):
        raise Wrong("the token is shown")
    if link.size is not None and link.size < 0:
        raise Wrong(f"a disk of {link.size} bytes")
    if link.has_ranges and link.size is None:
        raise Wrong("ranges of a disk without a size")


@contextmanager
def _answers(options: Json) -> Iterator[None]:
    """No network: every server gives the answer of the case, and a wait takes no time."""

    class Canned(HttpClient):
        def get(self, headers: dict[str, str]) -> Any:
            if headers.get(links.TOKEN_HEADER) != TOKEN:
                raise Wrong("a request without the token")
            if options["breaks"]:
                raise ConnectionResetError(104, "Connection reset by peer")
            return SimpleNamespace(status=options["status"], headers={"Content-Range": options["range"]})

    ticks = itertools.count()
    clock, poll = power.CLOCK, power.POLL_SECONDS
    vars(links)["HttpClient"] = Canned
    vars(power).update(CLOCK=lambda: 20.0 * next(ticks), POLL_SECONDS=0.0)
    try:
        yield
    finally:
        vars(links)["HttpClient"] = HttpClient
        vars(power).update(CLOCK=clock, POLL_SECONDS=poll)


def _export(rng: random.Random) -> Json:
    """An export with a status, as KubeVirt writes it."""
    formats = rng.sample(list(_FORMATS), rng.randrange(1, len(_FORMATS) + 1))
    volumes = [
        {
            "name": name,
            "formats": [{"format": one, "url": f"{_HOST}/volumes/{name}/{_FORMATS[one]}"} for one in formats],
        }
        for name in rng.sample((CLAIM, "another"), rng.randrange(1, 3))
    ]
    found: Json = {"internal": {"cert": rng.choice(("", "-----BEGIN")), "volumes": volumes}}
    if rng.random() < 0.5:
        found["external"] = copy.deepcopy(found["internal"])
    phase = rng.choice(("Ready", "Pending", "Skipped", ""))
    reason = rng.choice(("PodReady", "InUse", "PodPending", ""))
    message = rng.choice(("", "the claim is in use", "x" * 5000, "\u202e\n\x1b[2J"))
    condition = {"type": "Ready", "status": "False", "reason": reason, "message": message}
    return {
        "metadata": {"name": "vmferry-0123", "namespace": NAMESPACE, "uid": "e"},
        "status": {"phase": phase, "links": found, "conditions": [condition]},
    }


def _change_url(rng: random.Random, document: Any) -> None:
    """Other URLs in some places."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(items):
        if isinstance(value, dict | list):
            _change_url(rng, value)
        elif key == "url" and rng.random() < 0.5:
            document[key] = rng.choice(_URLS)
