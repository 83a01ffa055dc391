"""The command line: one file a verb, each loaded only when it is asked for."""

import sys
import time

STARTED = time.perf_counter()
"""When the command began: --minutes counts from here."""


def main() -> None:
    """Run `unrolled` with the arguments of this process; never returns."""
    from unrolled.cli.app import run

    sys.exit(run(sys.argv[1:]))
