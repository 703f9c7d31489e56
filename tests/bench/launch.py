"""Run a program and write its cost as JSON to a file: `python launch.py FILE PROGRAM ARGUMENTS...`.

It is a small process of its own: a child's peak memory is at least its parent's (getrusage(2) counts what a
vforked child borrowed).
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    out, argv = sys.argv[1], sys.argv[2:]
    start = time.perf_counter()
    child = os.posix_spawnp(argv[0], argv, os.environ)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    wall = time.perf_counter() - start
    lines = dict(line.split(": ") for line in Path(f"/proc/{child}/io").read_text().splitlines())
    _, status, usage = os.wait4(child, 0)
    cost = {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss,
        "written": int(lines["write_bytes"]),
    }
    Path(out).write_text(json.dumps(cost))
    sys.exit(os.waitstatus_to_exitcode(status) and 1)


if __name__ == "__main__":
    main()
