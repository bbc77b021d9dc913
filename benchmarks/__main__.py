"""``python -m benchmarks``; what it imports, the processes that it starts need not."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main())
