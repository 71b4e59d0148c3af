"""`python scripts/benchmark`: starts the command line of `cli.py`."""

import sys
from pathlib import Path

# Python puts this folder on the path; the package is found from the folder above.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmark.cli import main

if __name__ == "__main__":
    main()
