"""Fuzzes the files next to a disk: `OUT.state.json` and `OUT.landed.json`, damaged, foreign or forged.

lost      the disk is missing or shorter: the landing starts over, and the disk is right
torn      bytes are changed, the checksum is not: likewise
forged    JSON is changed, with a correct checksum: refused in one line, or landed; nothing outside the folder
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Never
from unittest import mock

from steps.disk import pump
from steps.disk.land import Landed, Source, land
from steps.disk.sink import CLUSTER
from steps.disk.state import VERSION
from steps.model.contract import StepError, Stopped
from steps.runtime.stop import Stop
from tests.fuzz import mutate, sparse
from tests.fuzz.case import Case, Wrong

NAMES: Final = (
    "../canary/secret",
    "/etc/hostname",
    "../escaped",
    "in.vmdk",
    "out.state.json",
    "",
    ".",
    "..",
    "out",
    "out.source",
    "a\0b",
    "\udcff",
    "x" * 300,
)
_STRANGE: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    1,
    -1,
    1 << 63,
    1 << 70,
    -(1 << 70),
    1.5,
    "",
    "0",
    [],
    {},
    [[1, 2, 3]],
    {"a": 1},
    "zz",
    *NAMES,
)
_FOREIGN: Final = (
    b"",
    b"\0" * 100,
    b"{}",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe{",
    b"[" * 100000,
    b'{"a":' * 100000,
    b"9" * 5000,
    b'{"path": 5}',
    b"1 0\n\n",
)
_DISK: Final = 3 * 128 + 5
"""Sectors of the disk that lands."""


class Remembered:
    """A landing that finds a damaged or foreign state of an earlier one."""

    name = "state"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        grain = rng.choice((8, 128, 256))
        count = -(-_DISK // grain)
        image = sparse.Image(
            capacity=_DISK,
            grain=grain,
            entries=512,
            tables_last=rng.random() < 0.5,
            items=[
                sparse.Grain(number, sparse.compress(rng.randbytes(300).ljust(grain * 512, b"\0")))
                for number in range(count)
            ],
            descriptor=sparse.DESCRIPTOR.format(capacity=_DISK).encode(),
        )
        if image.tables_last:
            image.items += sparse.whole_tables(image)
        data = bytes(sparse.write(image).data)
        source = rng.choice(("vmdk", "vmdk", "raw"))
        if source == "raw":
            data = data.ljust(3 * CLUSTER + 512, b"x")
        when = rng.choice(("broken", "broken", "stopped", "complete", "renamed", "landed"))
        options = {
            "when": when,
            "how": rng.choice(("torn", "forged", "forged", "foreign", "lost")),
            "seed": rng.randrange(1 << 32),
            "format": rng.choice(("raw", "qcow2")),
            "source": source,
            # The attempt after this one detects a damaged table at the start, and then starts over.
            "damaged": rng.randrange(1 if when == "stopped" else len(data) * 3 // 4, len(data)),
        }
        return Case(self.name, data, options | {"valid": options["how"] != "forged"})

    def run(self, case: Case, folder: Path) -> str:
        pump.CHUNK = 4096  # type: ignore[misc]
        _before(case, folder)
        rng = random.Random(case.options["seed"])
        if case.options["how"] == "lost":
            _lose(rng, folder)
        for name in _memories(case, folder):
            _spoil(rng, folder / name, case.options["how"])
        _source(folder, case.data)
        _land(folder, case)
        landed = Landed.load(folder / "out")
        if landed.path.parent != folder or landed.path.name not in {"out", "out.source"}:
            raise Wrong(f"the reported disk is {landed.path}")
        return f"landed after {case.options['when']}, {case.options['how']}"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        if case.options["how"] == "forged":
            return ""  # who can write here can also write the disk
        (folder / "good").mkdir()
        _source(folder / "good", case.data)
        _land(folder / "good", case)
        if (folder / "good" / "out").read_bytes() != (folder / "out").read_bytes():
            raise Wrong("a torn memory was trusted")
        return "the same as without a memory"


def _source(folder: Path, data: bytes | bytearray) -> None:
    (folder / "in.vmdk").write_bytes(data)
    os.utime(folder / "in.vmdk", ns=(0, 0))


def _land(folder: Path, case: Case, stops_at: int | None = None) -> None:
    options, stop = case.options, Stop()

    def report(done: int, total: int) -> None:
        if stops_at is not None and done >= stops_at:
            stop.set()

    land(
        Source(f"file://{folder / 'in.vmdk'}", format=options["source"], identity="the disk"),
        folder / "out",
        format=options["format"],
        capacity=None,
        report=report,
        stop=stop,
    )


def _before(case: Case, folder: Path) -> None:
    """An earlier attempt: interrupted, stopped, crashed before or after its last rename, or finished."""
    data = bytearray(case.data)
    if case.options["when"] == "broken":
        data[case.options["damaged"]] ^= 0x55
    _source(folder, data)
    with contextlib.suppress(StepError, Stopped, Crash), _dying(case.options["when"]):
        _land(folder, case, stops_at=case.options["damaged"] if case.options["when"] == "stopped" else None)


class Crash(Exception):  # noqa: N818 - an event
    """The process dies here."""


def _crash(*_: object) -> Never:
    raise Crash


@contextlib.contextmanager
def _dying(when: str) -> Iterator[None]:
    """The process dies before the last rename, or right after it."""
    places = {
        "complete": "steps.disk.landed.LandingFiles.finish",
        "renamed": "steps.disk.landed.replace_file",
    }
    with mock.patch(places[when], _crash) if when in places else contextlib.nullcontext():
        yield


def _memories(case: Case, folder: Path) -> list[str]:
    there = [name for name in ("out.state.json", "out.landed.json") if (folder / name).exists()]
    return there or ["out.state.json", "out.landed.json"]


def _state(body: str) -> bytes:
    raw = body.encode(errors="surrogatepass")
    return f"{VERSION} {zlib.crc32(raw)}\n".encode() + raw + b"\n"


def _spoil(rng: random.Random, path: Path, how: str) -> None:
    now = path.read_bytes() if path.exists() else (_state("{}") if path.name == "out.state.json" else b"{}")
    if how == "torn":
        data = bytearray(now)
        # Without a checksum a changed digit cannot be detected: a record is truncated or overwritten.
        change = mutate.any_bytes if path.name == "out.state.json" else _tear
        if data:
            change(rng, data)
        path.write_bytes(data)
    elif how == "lost":
        return
    elif how == "foreign":
        text = rng.choice(_FOREIGN)
        signed = path.name == "out.state.json" and rng.random() < 0.7
        path.write_bytes(_state(text.decode("latin-1")) if signed else text)
    else:
        is_state = path.name == "out.state.json"
        body = json.dumps(_forge(rng, json.loads(now.split(b"\n")[1] if is_state else now)))
        path.write_bytes(_state(body) if is_state else body.encode())


def _lose(rng: random.Random, folder: Path) -> None:
    """What the state describes is missing or shorter."""
    for path in (folder / "out.partial", folder / "out"):
        if path.exists() and rng.random() < 0.5:
            path.unlink()
        elif path.exists():
            os.truncate(path, max(0, path.stat().st_size - rng.choice((1, 512, 65536))))


def _tear(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(max(1, len(data) - 2))
    rng.choice((lambda: data.__delitem__(slice(at, None)), lambda: data.__setitem__(at, 0)))()


def _forge(rng: random.Random, fields: Any) -> Any:
    """One or two values of the JSON changed, at any depth."""
    forged = copy.deepcopy(fields)
    for _ in range(rng.choice((1, 1, 2))):
        holders = _holders(forged)
        if not holders:
            return rng.choice(_STRANGE)
        holder, key = rng.choice(holders)
        rng.choice(_FORGERIES)(rng, holder, key)
    return forged


def _holders(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: its container, and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    places: list[tuple[Any, Any]] = []
    for key in keys:
        places += [(value, key), *_holders(value[key])]
    return places


def _replace(rng: random.Random, holder: Any, key: Any) -> None:
    holder[key] = rng.choice(_STRANGE)


def _remove(rng: random.Random, holder: Any, key: Any) -> None:
    if key in holder if isinstance(holder, dict) else key < len(holder):
        del holder[key]


def _near(rng: random.Random, holder: Any, key: Any) -> None:
    now = holder[key]
    if isinstance(now, int):
        holder[key] = now + rng.choice((-1, 1, 512, -512, 65536, 1 << 32))
    elif isinstance(now, str):
        holder[key] = rng.choice((*NAMES, now[:-1], now + "0", now.upper()))


def _name(rng: random.Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[rng.choice(("path", "landed", "unknown", "format", "kind"))] = rng.choice(NAMES)


_FORGERIES: Final[tuple[Callable[[random.Random, Any, Any], None], ...]] = (_replace, _remove, _near, _name)
