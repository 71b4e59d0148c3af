"""Messages and exit codes of failed commands. Entry: `failure_of`."""

import errno

from trm.errors import InputError
from trm.parallel.environment import as_input_error


def failure_of(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit code for an exception; None for a fault of the program, which needs a traceback."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, FloatingPointError):
        return str(error), 1
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}", 2
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        # Files are written with their names: this is what is printed.
        return f"standard output: cannot write: {error.strerror}", 2
    if isinstance(error, Exception) and (about_environment := as_input_error(error)):
        return str(about_environment), 2
    # JAX's own exception is one of these.
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        try_this = "--set model.remat=true, a larger --set train.microbatches=N or a smaller batch"
        return f"out of device memory: try {try_this}", 1
    return None
