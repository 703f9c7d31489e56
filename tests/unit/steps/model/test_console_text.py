"""The end of a serial console: what a guest writes is foreign."""

from __future__ import annotations

import time

import pytest

from steps.model.console_text import (
    LONGEST_LINE,
    LONGEST_QUOTE,
    LONGEST_TEXT,
    MOST_LINES,
    cleaned,
    quote,
    state_of,
)

DEBIAN = """\
[    2.1] Freeing unused kernel image (text/rodata gap) memory: 2040K
Loading, please wait...
Begin: Running /scripts/local-block ... done.
Gave up waiting for root file system device.  Common problems:
ALERT!  UUID=2f1d does not exist.  Dropping to a shell!
"""
SHELL = "\n\nBusyBox v1.35.0 (Debian) built-in shell (ash)\n(initramfs) "
LOGIN = "\n\nDebian GNU/Linux 12 debian ttyS0\n\ndebian login: "
EMERGENCY = (
    'You are in emergency mode. After logging in, type "journalctl -xb"\nPress Enter for maintenance\n'
)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        (DEBIAN, "its root file system was not found"),
        (DEBIAN + SHELL, "a shell of the initramfs"),
        (EMERGENCY, "emergency mode"),
        ("[  4.0] Kernel panic - not syncing: VFS: Unable to mount root fs", "kernel panic"),
        ("[ 190.1] dracut-initqueue[310]: Warning: dracut-initqueue timeout - starting", "dracut"),
        ("UEFI Interactive Shell v2.2\nShell> ", "EFI shell"),
        ("SeaBIOS (version 1.16.2)\nNo bootable device.\n", "the firmware"),
        ("error: no such device: 2f1d.\nEntering rescue mode...\ngrub rescue> ", "boot loader"),
    ],
)
def test_signs_of_a_guest_that_is_stuck(text: str, trouble: str) -> None:
    state = state_of(cleaned(text))
    assert trouble in state.trouble
    assert not state.booted


@pytest.mark.parametrize(
    "text",
    [
        LOGIN,
        "[  OK  ] Reached target Multi-User System.\n",
        "[    9.1] systemd[1]: Startup finished in 3s (kernel) + 5s (userspace) = 8s.\n",
        DEBIAN + "[    0.000000] Linux version 6.1.0\n" + LOGIN,
        EMERGENCY + LOGIN,
    ],
)
def test_signs_of_a_guest_that_has_booted(text: str) -> None:
    state = state_of(cleaned(text))
    assert state.booted
    assert state.trouble == ""
    assert state.panics == 0


def test_a_boot_after_a_panic_is_another_try() -> None:
    text = "Kernel panic - not syncing: Attempted to kill init!\n[    0.000000] Linux version 6.1.0\n"
    assert state_of(text).trouble == ""
    assert state_of(text * 3).panics == 3


def test_control_sequences_are_left_out_and_other_characters_escaped() -> None:
    text = cleaned("\x1b[2J\x1b[1;31mred\x1b[0m \x1b]0;title\x07a\x08b\u202egnp.exe\tx\r\nnext\r")
    assert text == "red a\\x08b\\u202egnp.exe x\nnext"


def test_text_after_the_escapes_is_printable_on_any_terminal() -> None:
    text = cleaned("".join(map(chr, range(1, 0x400))))
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_gigabytes_are_cut() -> None:
    many_lines = cleaned("a line\n" * 1_000_000)
    assert many_lines.count("\n") == MOST_LINES - 1
    endless = cleaned("x" * 50_000_000)
    assert len(endless) <= LONGEST_LINE + 1
    full = cleaned(("y" * LONGEST_LINE + "\n") * MOST_LINES)
    assert len(full) <= LONGEST_TEXT


def test_a_hostile_console_takes_no_time() -> None:
    hostile = "ALERT! " * 100_000 + "\x1b]" * 100_000 + "dracut-initqueue" * 50_000 + "\x1b[" * 100_000
    start = time.process_time()
    state_of(cleaned(hostile))
    assert time.process_time() - start < 2


def test_a_quote_is_one_short_line() -> None:
    assert quote("one\n\n two  words\nthree\nfour\n") == "two words / three / four"
    long = quote("z" * 5000)
    assert len(long) == LONGEST_QUOTE
    assert long.startswith("…")
    assert quote("") == ""
