"""The exception for bad input, raised at every boundary of the program."""


class InputError(ValueError):
    """Bad input from outside: a file, an option, a configuration, a device count.

    The message is one line that names the file or field, what was found there and what was expected. The command line
    prints it and exits with code 2; a library user catches it like any `ValueError`.
    """
