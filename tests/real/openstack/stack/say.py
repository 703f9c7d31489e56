"""Messages for the user while the stack starts."""

from __future__ import annotations

import sys
import time
from typing import Final

_BEGAN: Final = time.monotonic()


def say(text: str) -> None:
    sys.stderr.write(f"openstack {time.monotonic() - _BEGAN:5.1f} s: {text}\n")
    sys.stderr.flush()
