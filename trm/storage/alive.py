"""Whether a process of this machine is alive. Entry: `is_alive`."""

import os


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is alive; when in doubt, it is."""
    if os.name == "nt":
        import ctypes

        # Signal 0 would end it there.
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
        # Of another user; or no number of a process, and then nothing is known.
        return True
    return True
