"""`python -m trm`."""

from trm.cli import main

main()
