"""The start of the program: `trm` and `python -m trm`. Entry: `main`."""

from trm.cli.interrupts import leave_on_interrupt


def main() -> None:
    """Run the command line. An interrupt while the libraries are imported ends in one line and exit code 130."""
    with leave_on_interrupt():
        from trm.cli.main import main
    main()


if __name__ == "__main__":
    main()
