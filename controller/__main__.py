"""`python -m controller`: the controller in a cluster (docs/how-to/operate.md)."""

from __future__ import annotations

import sys

from controller.operator.main import main

if __name__ == "__main__":
    sys.exit(main())
