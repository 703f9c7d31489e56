"""The goals of the data path: how each figure is derived from the measurements, and its target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from tests.bench.disks import PLACED, PLACED_SIZE
from tests.bench.measure import QUIET, Cost
from tests.bench.probes import CUTS

Costs = Mapping[str, Cost]
Value = Callable[[Costs], float]
LIMITS: Final = ("curl", "inflate", "write, cached", "write, direct")
COMMON: Final = "common"


@dataclass(frozen=True)
class Row:
    """One figure. `common` is the same figure of the common practice; `timed` figures suffer from noise."""

    group: str
    figure: str
    goal: float
    needs: tuple[str, ...]
    value: Value
    common: Value | None = None
    timed: bool = True
    unit: str = ""

    def verdict(self, costs: Costs) -> str:
        """`noise` if other processes were busy during a run that counts and the goal was missed."""
        if round(self.value(costs), 2) <= self.goal:
            return "met"
        return "noise" if self.timed and self.foreign(costs) > QUIET else "missed"

    def foreign(self, costs: Costs) -> float:
        """Cores that other processes used during the worst of the runs that count."""
        return max(costs[name].foreign for name in self.needs)


def rows(allocated: int, source: int, vms: int = 5000) -> Iterator[Row]:
    """Figures of a disk with `allocated` bytes in use, whose VMDK has `source` bytes, and of `vms` VMs."""
    for wanted in ("qcow2", "raw"):
        yield _limit(wanted)
    for wanted in ("qcow2", "raw"):
        figure = f"acquire wall / curl at 1 Gbit/s, {wanted}"
        names = f"gigabit, {wanted}", "gigabit, curl", "gigabit, common"
        yield _ratio("gigabit", figure, 1.05, *names, wall="usual")
    for wanted, goal in (("qcow2", 0.5), ("raw", 0.7)):
        yield _ratio("wall", f"acquire wall / common practice, {wanted}", goal, wanted, COMMON, COMMON)
    for name, goal in (("qcow2", 0.5), ("raw", 0.5), ("qcow2, zlib", 0.75), ("raw, zlib", 0.75)):
        figure = f"CPU seconds / common practice, {name if 'zlib' in name else name + ', libdeflate'}"
        yield Row("cpu", figure, goal, (name, COMMON), sums("cpu", [name], [COMMON]), one)
    yield _bytes("scratch", "scratch bytes written / allocated", 1.0, "", "written", allocated)
    yield _bytes("scratch", "scratch bytes at the peak / allocated", 1.0, "", "peak", allocated)
    yield _bytes("onward", "onward bytes / allocated", 1.02, "onward, ", "carried", allocated)
    yield _onward()
    figure = "4 disks, each stream throttled: wall / one disk"
    yield _ratio("disks", figure, 1.1, "stream, all", "stream, one", "stream, common", wall="usual")
    yield from _memory()
    yield _broken(source)
    for count in (1, 2):
        figure = f"whole embedded import / curl + qemu-img, {count} disk{'s' if count > 1 else ''}"
        name = f"import {count}"
        yield _ratio("import", figure, 0.6, name, f"{name}, common", f"{name}, common")

    raw = "inventory, raw read"
    for name in ("inventory", "inventory, table", "inventory, report"):
        what = name.partition(", ")[2] or "JSON"
        figure = f"whole inventory of {vms} VMs / one raw read of them, {what}"
        yield _ratio("inventory", figure, 1.5, name, raw, raw)
    yield from _sources()


def one(_: Costs) -> float:
    """The common practice compared with itself."""
    return 1.0


def sums(what: str, of: list[str], to: list[str]) -> Value:
    """The sum of field `what` of some costs, relative to that of others."""
    field = attrgetter(what)
    return lambda costs: float(
        sum(field(costs[name]) for name in of) / sum(field(costs[name]) for name in to)
    )


def per(what: str, name: str, amount: float, floor: float = 0) -> Value:
    """The field `what` of a cost minus `floor`, relative to an amount."""
    field = attrgetter(what)
    return lambda costs: float(max(0, field(costs[name]) - floor) / amount)


def _limit(wanted: str) -> Row:
    return Row(
        "limit",
        f"acquire wall / largest limit, {wanted}",
        1.5,
        (*LIMITS, COMMON, wanted),
        lambda costs: costs[wanted].wall / largest_limit(costs),
        lambda costs: costs[COMMON].wall / largest_limit(costs),
    )


def largest_limit(costs: Costs) -> float:
    """The lower bound in seconds: the network, one core's inflate, the device."""
    write = min(costs["write, cached"].wall, costs["write, direct"].wall)
    return max(costs["curl"].wall, costs["inflate"].wall, write)


def _ratio(group: str, figure: str, goal: float, of: str, to: str, common: str, wall: str = "wall") -> Row:
    """Ratio of wall seconds: of the least runs, or of the `usual` ones."""
    needs = tuple(dict.fromkeys((of, to, common)))
    return Row(group, figure, goal, needs, sums(wall, [of], [to]), sums(wall, [common], [to]))


def _bytes(group: str, figure: str, goal: float, prefix: str, what: str, allocated: int) -> Row:
    ours, common = f"{prefix}qcow2", f"{prefix}{COMMON}"
    values = per(what, ours, allocated), per(what, common, allocated)
    return Row(group, f"{figure}, qcow2", goal, (ours, common), *values, timed=False)


def _onward() -> Row:
    ours, common = (["qcow2", "onward, qcow2"], [COMMON, f"onward, {COMMON}"])
    figure = "acquire + onward wall / common practice, qcow2"
    return Row("onward", figure, 0.4, (*ours, *common), sums("wall", ours, common), one)


def _memory() -> Iterator[Row]:
    for step in ("export, qcow2", "export, raw", "convert", "serve"):
        small, large = f"{step}, 1 GiB", f"{step}, 64 GiB"
        either = _most(small, large)
        yield Row("memory", f"peak memory, {step}", 64, (small, large), either, timed=False, unit="MiB")
        figure = f"peak memory, 64 GiB beyond 1 GiB, {step}"
        yield Row("memory", figure, 4, (small, large), _more(large, small), timed=False, unit="MiB")


def _most(*names: str) -> Value:
    return lambda costs: max(costs[name].memory for name in names) / 1024


def _more(of: str, than: str) -> Value:
    return lambda costs: (costs[of].memory - costs[than].memory) / 1024


def _broken(source: int) -> Row:
    figure = f"bytes read again per broken connection, % ({CUTS} of them)"
    value = per("carried", "broken", CUTS * source / 100, floor=source)
    return Row("broken", figure, 1.0, ("broken",), value, lambda _: 100.0, timed=False, unit="%")


def _sources() -> Iterator[Row]:
    ours, sdk = "oVirt", "oVirt, SDK"
    sent, common = per("carried", ours, PLACED), per("carried", sdk, PLACED)
    figure = "oVirt, 5 % in use: bytes sent / bytes in use"
    yield Row("sources", figure, 1.1, (ours, sdk), sent, common, timed=False)
    figure = "oVirt, 5 % in use: bytes sent, % of the disk"
    percent = per("carried", ours, PLACED_SIZE / 100)
    yield Row("sources", figure, 5.5, (ours,), percent, lambda _: 100.0, timed=False, unit="%")
    yield _ratio("sources", "oVirt: export wall / official SDK", 2.0, ours, sdk, sdk)
    for wanted, goal in (("raw", 1.0), ("gzip", 0.5)):
        name = f"KubeVirt, {wanted}"
        figure = f"KubeVirt: export wall / common practice, {wanted}"
        yield _ratio("sources", figure, goal, name, f"{name}, common", f"{name}, common")
