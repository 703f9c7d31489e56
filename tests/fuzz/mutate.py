"""Mutations that need no knowledge of a format, and the values for fields."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Field:
    """A number at byte `at`, in a form that `struct` knows."""

    at: int
    form: str

    def get(self, data: bytes | bytearray) -> int:
        value: int = struct.unpack_from(self.form, data, self.at)[0]
        return value

    def set(self, data: bytearray, value: int) -> None:
        size = struct.calcsize(self.form)
        if self.at + size <= len(data):
            order = "little" if self.form.startswith("<") else "big"
            data[self.at : self.at + size] = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]

    @property
    def bits(self) -> int:
        return 8 * struct.calcsize(self.form)


def value(rng: random.Random, field: Field, data: bytearray) -> int:
    """Another value for a field: next to its value, a limit of its type, or any number."""
    now = field.get(data) if field.at + field.bits // 8 <= len(data) else 0
    power = 1 << rng.randrange(field.bits)
    return rng.choice(
        (
            0,
            1,
            now + 1,
            now - 1,
            now * 2,
            now // 2,
            now ^ power,
            now + rng.randrange(-64, 65),
            power,
            power - 1,
            -1,
            len(data) // 512,
            len(data),
            rng.getrandbits(field.bits),
        )
    )


def set_fields(rng: random.Random, data: bytearray, fields: Sequence[Field]) -> None:
    """Set one to three fields to other values, or swap two."""
    if len(fields) > 1 and rng.random() < 0.2:
        one, two = rng.sample(fields, 2)
        first, second = one.get(data), two.get(data)
        one.set(data, second)
        two.set(data, first)
        return
    for field in rng.sample(fields, min(len(fields), rng.choice((1, 1, 1, 2, 3)))):
        field.set(data, value(rng, field, data))


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(rng: random.Random, data: bytearray) -> None:
    unit = rng.choice((1, 512, 65536))
    del data[rng.randrange(len(data)) // unit * unit :]


def _drop(rng: random.Random, data: bytearray) -> None:
    start, size = _span(rng, data)
    del data[start : start + size]


def _double(rng: random.Random, data: bytearray) -> None:
    start, size = _span(rng, data)
    data[start:start] = data[start : start + size]


def _insert(rng: random.Random, data: bytearray) -> None:
    start, size = _span(rng, data)
    data[start:start] = rng.choice((bytes(size), rng.randbytes(size)))


def _splice(rng: random.Random, data: bytearray) -> None:
    start, size = _span(rng, data)
    to = rng.randrange(len(data))
    data[to : to + size] = data[start : start + size]


def _append(rng: random.Random, data: bytearray) -> None:
    size = rng.choice((1, 511, 512, 1024, 4096, 70000))
    data += rng.choice((bytes(size), rng.randbytes(size), bytes(data[:size])))


def _span(rng: random.Random, data: bytearray) -> tuple[int, int]:
    """A start and a size; half of them in whole sectors, as most formats count."""
    unit = rng.choice((1, 512))
    start = rng.randrange(len(data)) // unit * unit
    return start, unit * rng.choice((1, 1, 2, 4, 9, 128))


BYTES: Final[tuple[Callable[[random.Random, bytearray], None], ...]] = (
    _flip,
    _set,
    _cut,
    _drop,
    _double,
    _insert,
    _splice,
    _append,
)


def any_bytes(rng: random.Random, data: bytearray) -> None:
    """One mutation without knowledge of the format."""
    if data:
        rng.choice(BYTES)(rng, data)
