"""For all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# Who starts the tests in a shell's background lets them ignore SIGINT, and with them every program they start
# (those that a test interrupts shall behave as at a terminal).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, however slow the machine: what is found here is a fault, not an accident.
settings.register_profile("vmferry", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("vmferry")
