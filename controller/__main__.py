"""`python -m controller`: runs the controller in a cluster (docs/operations.md)."""

from __future__ import annotations

import sys

from controller.operator.main import main

if __name__ == "__main__":
    sys.exit(main())
