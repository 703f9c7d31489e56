"""`python -m tests.real.openstack.stack up|down|status|install`: the OpenStack services of the tests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import operate
from .layout import CACHE, Settings, StackError, saved


def main() -> int:
    """Exit code 0: success, or it runs; 1: it does not run; 2: the command line is wrong."""
    options = _arguments()
    state = options.state.absolute()
    try:
        if options.verb == "up":
            operate.up(state, Settings(host=options.host, base_port=options.base_port, tls=options.tls))
        elif options.verb == "install":
            operate.install()
        elif options.verb == "down":
            operate.down(state)
        else:
            return _status(state)
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; whatever ran was ended\n")
        return 130
    return 0


def _arguments() -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m tests.real.openstack.stack", description=__doc__)
    parser.add_argument("verb", choices=("up", "down", "status", "install"))
    parser.add_argument("--state", type=Path, default=CACHE / "state", help="folder of all it keeps")
    parser.add_argument("--host", default=default.host, help="address the APIs listen on and are found under")
    parser.add_argument("--base-port", type=int, default=default.base_port, help="Keystone's; others follow")
    parser.add_argument("--tls", action="store_true", help="public endpoints are https, with a CA of its own")
    return parser.parse_args()


def _status(state: Path) -> int:
    layout = saved(state)
    if layout is None:
        print(f"never started in {state}")  # noqa: T201
        return 1
    lacking = operate.lacking(layout)
    text = f"not running: {', '.join(lacking)}" if lacking else f"running at {layout.public('keystone')}/v3"
    print(text)  # noqa: T201
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
