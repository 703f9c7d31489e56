"""Asks the addresses of a VM as another computer of its network would, frame by frame.

`Cable` is the other end of a NIC: QEMU's netdev `dgram` sends each Ethernet frame as a datagram (qemu(1)), so
it needs no right and no bridge. As a program, `python3 wire.py BRIDGE IPV4 IPV6` asks on a bridge of the
node, as root, and writes the MAC address that answers for each, or `-`.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, Self

V4: Final = IPv4Address("192.0.2.1")
V6: Final = IPv6Address("2001:db8::1")
BROADCAST: Final = b"\xff" * 6
ARP, IP, IP6 = 0x0806, 0x0800, 0x86DD
ICMP, ICMP6 = 1, 58
ECHO, ECHO_REPLY, SOLICITATION, ADVERTISEMENT = 8, 0, 135, 136
_NUMBER: Final = 0x7666
_PATIENCE: Final = 1.0
_SHORTEST: Final = 42
"""Bytes of an ARP packet in its frame."""
_ALL: Final = 3  # ETH_P_ALL, linux/if_ether.h


class Computer:
    """A computer of the VM's network, with the addresses of the router of the test guests."""

    def __init__(self, mac: bytes) -> None:
        self.mac = mac

    def send(self, frame: bytes) -> bool:
        """Whether the frame could be sent."""
        raise NotImplementedError

    def receive(self, seconds: float) -> bytes:
        """The next frame; b"" if none comes in time."""
        raise NotImplementedError

    def ping(self, address: str) -> str:
        """The MAC address that answers a ping of an IPv4 address; "" if there is no answer now."""
        wanted = IPv4Address(address)
        arp = struct.pack(">HHBBH6s4s6s4s", 1, IP, 6, 4, 1, self.mac, V4.packed, bytes(6), wanted.packed)
        answer = self._exchange(
            BROADCAST + self.mac + struct.pack(">H", ARP) + arp,
            lambda frame: frame[12:14] == struct.pack(">H", ARP) and frame[28:32] == wanted.packed,
        )
        if not answer:
            return ""
        echo = _with_sum(struct.pack(">BBHHH", ECHO, 0, 0, _NUMBER, 1) + bytes(32), 2)
        head = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(echo), 1, 0, 64, ICMP, 0, V4.packed, wanted.packed
        )
        found = self._exchange(
            answer[6:12] + self.mac + struct.pack(">H", IP) + _with_sum(head, 10) + echo,
            lambda frame: frame[23:24] == bytes([ICMP]) and frame[34] == ECHO_REPLY
            and frame[26:30] == wanted.packed and frame[38:40] == struct.pack(">H", _NUMBER),
        )  # fmt: skip
        return found[6:12].hex(":")

    def neighbor(self, address: str) -> str:
        """The MAC address that answers a neighbor solicitation for an IPv6 address; "" if none does now."""
        wanted = IPv6Address(address)
        group = IPv6Address("ff02::1:ff00:0").packed[:13] + wanted.packed[13:]
        body = struct.pack(">BBHI16sBB6s", SOLICITATION, 0, 0, 0, wanted.packed, 1, 1, self.mac)
        pseudo = V6.packed + group + struct.pack(">II", len(body), ICMP6)
        body = _with_sum(body, 2, pseudo)
        head = struct.pack(">IHBB16s16s", 0x6000_0000, len(body), ICMP6, 255, V6.packed, group)
        found = self._exchange(
            b"\x33\x33" + group[12:] + self.mac + struct.pack(">H", IP6) + head + body,
            lambda frame: frame[12:14] == struct.pack(">H", IP6) and frame[20] == ICMP6
            and frame[54] == ADVERTISEMENT and frame[62:78] == wanted.packed,
        )  # fmt: skip
        return found[6:12].hex(":")

    def _exchange(self, frame: bytes, is_answer: Callable[[bytes], bool]) -> bytes:
        """Send a frame, and return the answer; b"" after a moment without one."""
        if not self.send(frame):
            return b""
        end = time.monotonic() + _PATIENCE
        while (left := end - time.monotonic()) > 0:
            found = self.receive(left)
            if len(found) >= _SHORTEST and is_answer(found.ljust(80, b"\0")):
                return found
        return b""


class Cable(Computer):
    """The other end of a NIC of QEMU; `argv` are QEMU's arguments for its own end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(bytes.fromhex("020000000001"))
        self._ours, self._theirs = str(folder / "cable"), str(folder / "nic")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def argv(self) -> list[str]:
        ends = f"local.type=unix,local.path={self._theirs},remote.type=unix,remote.path={self._ours}"
        return ["-netdev", f"dgram,id=lan,{ends}"]

    def send(self, frame: bytes) -> bool:
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.sendto(frame, self._theirs)
        except OSError:  # QEMU has not opened its end yet, or the guest does not read
            return False
        return True

    def receive(self, seconds: float) -> bytes:
        return _received(self._socket, seconds)


class Bridge(Computer):
    """The node itself, on a bridge of it."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        self._socket.bind((name, 0))
        super().__init__(self._socket.getsockname()[4])

    def send(self, frame: bytes) -> bool:
        return self._socket.send(frame) == len(frame)

    def receive(self, seconds: float) -> bytes:
        return _received(self._socket, seconds)


def _received(channel: socket.socket, seconds: float) -> bytes:
    channel.settimeout(seconds)
    try:
        return channel.recv(65536)
    except TimeoutError:
        return b""


def _with_sum(data: bytes, at: int, before: bytes = b"") -> bytes:
    """The data with its Internet checksum (RFC 1071) in the two bytes from `at` on."""
    words = before + data + bytes(len(before + data) % 2)
    total = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack(">H", ~total & 0xFFFF) + data[at + 2 :]


def main() -> None:
    name, v4, v6 = sys.argv[1:]
    bridge = Bridge(name)
    sys.stdout.write(f"{bridge.ping(v4) or '-'} {bridge.neighbor(v6) or '-'}\n")


if __name__ == "__main__":
    main()
