"""Whether a process of this machine is alive. Entry: `is_alive`."""

import os


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is alive; True where the system does not say."""
    if os.name == "nt":
        import ctypes

        # On Windows `os.kill(pid, 0)` would end the process.
        query, still_active = 0x1000, 259
        kernel, code = ctypes.windll.kernel32, ctypes.c_ulong()  # pyright: ignore[reportAttributeAccessIssue]
        handle = kernel.OpenProcess(query, False, pid)
        if not handle:
            return False
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == still_active
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        # The process belongs to another user, or the number is too large for a process and the system says nothing.
        return True
    return True
