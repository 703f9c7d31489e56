"""A second lab with KubeVirt and CDI next to the first one: another cluster, on another network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import pytest

from tests.real.cluster.lab import SCRIPTS, Lab

SETTINGS: Final[Mapping[str, str]] = {
    "LAB_NAME": "other",
    "LAB_NET": "10.196.0",
    "LAB_POD_CIDR": "10.246.0.0/16",
    "LAB_SERVICE_CIDR": "10.98.0.0/16",
}
UP_SECONDS: Final = 2400.0


def environment() -> dict[str, str]:
    """The environment in which the scripts of the lab mean the second one."""
    return {**os.environ, **SETTINGS}


@contextmanager
def running() -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        found = Lab.start("--kubevirt", seconds=UP_SECONDS)
    try:
        yield found
    finally:
        subprocess.run([SCRIPTS / "down"], check=True, env=environment())
