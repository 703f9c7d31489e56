"""The judgement of a boot, by the numbers that were measured with real guests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import pytest

from steps.model.booting import (
    BootEvidence,
    BootResult,
    History,
    Judged,
    Look,
    Rules,
    Verdict,
    concerns_of,
    judge,
    limit,
)
from steps.model.console_text import ConsoleState
from steps.model.vm_counters import Counters

MB: Final = 1_000_000
RULES: Final = Rules(seconds=600)
STEP: Final = 5.0
INITRAMFS: Final = ConsoleState(trouble="a shell of the initramfs", panics=1, fingerprint="a")

CountersAt = Callable[[float], Counters | None]


def looks(
    counters: CountersAt, *, seconds: float = 600, console: ConsoleState | None = None
) -> Iterable[Look]:
    steps = int(seconds / STEP) + 1
    return (Look(at=at, counters=counters(at), console=console) for at in (STEP * n for n in range(steps)))


def judged(seen: Iterable[Look], rules: Rules = RULES) -> tuple[Judged, float]:
    """The verdict, and when it fell."""
    history = History()
    for look in seen:
        history = history.after(look)
        if (found := judge(history, rules)) is not None:
            return found, look.at
    raise AssertionError("no verdict")


def grows(read: float, written: float, sent: int, *, until: float = 40) -> CountersAt:
    """Counters that grow for `until` seconds and then stay."""

    def at(seconds: float) -> Counters:
        share = min(1.0, seconds / until)
        return Counters(int(share * read), int(share * written), int(share * sent))

    return at


@pytest.mark.parametrize(
    ("read", "written", "sent"),
    [(59 * MB, 1.5 * MB, 2), (93 * MB, 4.0 * MB, 14)],
    ids=["the least of ten guests", "the most of ten guests"],
)
def test_a_guest_that_boots_is_booted(read: float, written: float, sent: int) -> None:
    found, at = judged(looks(grows(read, written, sent)))
    assert found.verdict is Verdict.BOOTED
    assert at <= 75, "within the boot and half a minute"


def test_a_guest_whose_card_has_lost_its_name_is_network_silent() -> None:
    found, at = judged(looks(grows(80 * MB, 2 * MB, 0)))
    assert found.verdict is Verdict.SILENT
    assert "has sent nothing to its network" in found.why
    assert at <= 120


def test_without_a_nic_nothing_must_be_sent() -> None:
    found, _ = judged(looks(grows(80 * MB, 2 * MB, 0)), Rules(seconds=600, has_nic=False))
    assert found.verdict is Verdict.BOOTED


@pytest.mark.parametrize(
    ("read", "written"), [(17 * MB, 0), (22 * MB, 0), (0.3 * MB, 34 << 10)], ids=["root 1", "root 2", "efi"]
)
def test_a_guest_that_finds_no_root_is_stuck(read: float, written: float) -> None:
    found, at = judged(looks(grows(read, written, 0, until=15)))
    assert found.verdict is Verdict.STUCK
    assert 135 <= at <= 145, "two minutes after its last read"


def test_a_shell_of_the_initramfs_is_stuck_at_once_although_it_has_written() -> None:
    found, at = judged(looks(grows(80 * MB, 2 * MB, 0), console=INITRAMFS))
    assert found.verdict is Verdict.STUCK
    assert found.why == "the guest stopped in a shell of the initramfs"
    assert at == 30


def test_a_console_that_still_speaks_after_a_bad_sign_is_judged_at_the_limit() -> None:
    def seen() -> Iterable[Look]:
        for number in range(121):
            console = INITRAMFS._replace(fingerprint=str(number))
            yield Look(at=STEP * number, counters=Counters(MB * number, 0, 0), console=console)

    found, at = judged(seen())
    assert (found.verdict, at) == (Verdict.STUCK, 600)


def test_three_panics_are_a_loop() -> None:
    console = ConsoleState(panics=3, fingerprint="b")
    found, at = judged(looks(grows(20 * MB, 0, 0), console=console))
    assert (found.verdict, at) == (Verdict.STUCK, 0)
    assert "again and again" in found.why


def test_the_agent_outweighs_everything() -> None:
    look = Look(at=20, agent=True, counters=Counters(0, 0, 3), console=INITRAMFS)
    found, _ = judged([look])
    assert found.verdict is Verdict.BOOTED
    assert "its guest agent is connected" in found.why


def test_a_login_prompt_is_enough_without_counters() -> None:
    found, _ = judged([Look(at=20, console=ConsoleState(booted=True, fingerprint="c"))])
    assert found.verdict is Verdict.BOOTED


def test_a_guest_of_which_nothing_is_seen_is_unknown_and_not_stuck() -> None:
    found, at = judged(looks(lambda _: None))
    assert (found.verdict, at) == (Verdict.UNKNOWN, 600)
    assert "no counters of its disks" in found.why
    assert "no console" in found.why


def test_a_guest_that_reads_on_is_unknown_and_not_stuck() -> None:
    found, at = judged(looks(grows(6000 * MB, 0, 0, until=600)))
    assert (found.verdict, at) == (Verdict.UNKNOWN, 600)


def test_a_guest_that_sends_is_not_stuck() -> None:
    found, _ = judged(looks(grows(20 * MB, 0, 3, until=10)))
    assert found.verdict is Verdict.UNKNOWN


def test_between_few_and_enough_writes_nothing_is_known() -> None:
    found, _ = judged(looks(grows(40 * MB, 600 << 10, 0)))
    assert found.verdict is Verdict.UNKNOWN


def test_counters_that_are_missing_for_a_while_are_no_sign_of_a_stuck_guest() -> None:
    grown = grows(20 * MB, 0, 0, until=10)
    found, at = judged(looks(lambda seconds: None if 100 < seconds < 300 else grown(seconds)))
    assert found.verdict is Verdict.STUCK
    assert at >= 400, "counted from the end of the gap"


def test_the_port_must_answer_if_the_import_names_one() -> None:
    rules = Rules(seconds=300, wants_port=True)
    counters = Counters(80 * MB, 2 * MB, 9)

    def seen(opens_at: float) -> Iterable[Look]:
        for at in (STEP * n for n in range(61)):
            yield Look(at=at, agent=at > 50, counters=counters, port_open=at >= opens_at)

    answered, at = judged(seen(100), rules)
    assert (answered.verdict, at) == (Verdict.BOOTED, 100)
    silent, at = judged(seen(1000), rules)
    assert (silent.verdict, at) == (Verdict.SILENT, 300)
    assert "does not answer at the port" in silent.why


def test_windows_has_more_time() -> None:
    assert limit(None, windows=True) > limit(None, windows=False)
    assert limit(90, windows=True) == 90


def test_concerns() -> None:
    fell_back = BootResult(verdict=Verdict.BOOTED, message="it has booted", fell_back=True)
    assert [one.code for one in concerns_of(fell_back)] == ["booted-on-sata"]
    silent = BootResult(verdict=Verdict.SILENT, message="nothing was sent", fell_back=True)
    assert [one.code for one in concerns_of(silent)] == ["booted-on-sata", "network-silent"]
    stuck = BootResult(verdict=Verdict.STUCK, message="in the initramfs", fell_back=True)
    assert concerns_of(stuck) == ()


def test_a_result_can_be_read_back() -> None:
    evidence = BootEvidence(agent=True, addresses=("192.0.2.1",), missing=("console: denied",))
    result = BootResult(verdict=Verdict.BOOTED, message="it has booted", evidence=evidence)
    assert BootResult.model_validate_json(result.to_json()) == result
