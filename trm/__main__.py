"""The start of the program: `trm` and `python -m trm`. Entry: `main`."""

import os
import signal
import sys
from typing import Any


def main() -> None:
    """Run the command line. An interrupt while the libraries are imported ends in one line and exit code 130."""
    previous = signal.signal(signal.SIGINT, _leave)
    from trm.cli.main import main

    signal.signal(signal.SIGINT, previous)
    main()


def _leave(*_: Any) -> None:
    # At once: an exception could be swallowed by a library that is being imported.
    print("error: interrupted", file=sys.stderr, flush=True)
    os._exit(130)


if __name__ == "__main__":
    main()
