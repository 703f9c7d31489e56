"""The asking of addresses, against a NIC that answers as a guest does."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

import pytest

from tests.real.adaptation import wire
from tests.real.adaptation.wire import Cable

MAC: Final = bytes.fromhex("525400aa0001")
V4: Final = IPv4Address("192.0.2.10")
V6: Final = IPv6Address("2001:db8::10")


def answer(frame: bytes) -> bytes:
    """What a guest with the two addresses answers; b"" for what is not for it."""
    kind = int.from_bytes(frame[12:14])
    if kind == wire.ARP and frame[38:42] == V4.packed:
        body = struct.pack(">HHBBH6s4s", 1, wire.IP, 6, 4, 2, MAC, V4.packed) + frame[22:32]
        return frame[6:12] + MAC + frame[12:14] + body
    if kind == wire.IP and frame[:6] == MAC and frame[30:34] == V4.packed and _is_sound(frame[34:]):
        back = frame[14:26] + frame[30:34] + frame[26:30] + bytes([wire.ECHO_REPLY]) + frame[35:]
        return frame[6:12] + MAC + frame[12:14] + back
    if kind != wire.IP6:
        return b""
    pseudo = frame[22:54] + struct.pack(">II", len(frame) - 54, wire.ICMP6)
    if frame[62:78] == V6.packed and _is_sound(pseudo + frame[54:]):
        head = frame[14:22] + V6.packed + frame[22:38]
        body = struct.pack(">BBHI16s", wire.ADVERTISEMENT, 0, 0, 0x6000_0000, V6.packed)
        return frame[6:12] + MAC + frame[12:14] + head + body
    return b""


def _is_sound(data: bytes) -> bool:
    """Whether the Internet checksum in the data is right: then the checksum of all of it is zero."""
    return wire._with_sum(bytes(2) + data, 0)[:2] == bytes(2)


@contextmanager
def plugged(*, answers: bool) -> Iterator[Cable]:
    """A cable with a NIC at its other end."""
    with tempfile.TemporaryDirectory(prefix="vf-") as name, Cable(Path(name)) as cable:
        nic = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        nic.bind(f"{name}/nic")

        def work() -> None:
            while frame := nic.recv(65536):
                if answers and (found := answer(frame)):
                    nic.sendto(found, f"{name}/cable")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield cable
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"", f"{name}/nic")
            thread.join()
            nic.close()


def test_the_mac_address_that_answers_is_found() -> None:
    with plugged(answers=True) as cable:
        assert cable.ping("192.0.2.10") == MAC.hex(":")
        assert cable.neighbor("2001:db8::10") == MAC.hex(":")


def test_nobody_answers_for_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_PATIENCE", 0.2)
    with plugged(answers=True) as cable:
        assert cable.ping("192.0.2.11") == ""
        assert cable.neighbor("2001:db8::11") == ""


def test_a_nic_that_is_silent_or_not_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_PATIENCE", 0.2)
    with plugged(answers=False) as cable:
        assert cable.ping("192.0.2.10") == ""
    with tempfile.TemporaryDirectory(prefix="vf-") as name, Cable(Path(name)) as cable:
        assert cable.ping("192.0.2.10") == ""
