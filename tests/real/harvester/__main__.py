"""Harvester's own webhook and controllers, for the lab.

python -m tests.real.harvester build      builds the program and its objects, into LAB_HARVESTER
python -m tests.real.harvester status     prints one line: what exists; fails if it is not built
python -m tests.real.harvester run        in the lab of LAB_NAME, until SIGTERM: webhooks and the whole server
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from tests.real.harvester.install import Real
from tests.real.harvester.programs import NotBuiltError, Programs
from tests.real.standins.lab import NoLabError
from tests.real.standins.process import lab


def run() -> None:
    place = lab()
    real = Real.of(place, Programs.found())
    real.install()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with real.webhooks(), real.server() as url:
        sys.stdout.write(f"Harvester: {url}\n")
        sys.stdout.flush()
        ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("build", "status", "run"))
    parser.add_argument("--keep", action="store_true", help="build in Go's usual caches, which stay")
    programs = Programs.found()
    try:
        given = parser.parse_args()
        match given.what:
            case "build":
                programs.build(keep=given.keep)
            case "status":
                programs.check()
                sys.stdout.write(f"Harvester in {programs.folder}\n")
            case _:
                run()
    except (NotBuiltError, NoLabError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
