"""NumPy files, whole and damaged: each damage is one line that names the file."""

import io
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trm.errors import InputError
from trm.storage.npy import map_npy, read_npz


def with_header(text: str, numbers: bytes = b"") -> bytes:
    """Return a file of NumPy's format 1.0 with any text in the place of its header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1") + numbers


WHOLE = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n"
DAMAGED = {
    "an open bracket": (with_header("{'descr': '<i4', 'shape': (2\n"), "EOF in multi-line statement"),
    "no literal": (with_header("exit()\n"), "malformed node"),
    "a size beyond 64 bits": (with_header(WHOLE.replace("(2,)", f"({10**30},)")), ""),
    "objects": (
        with_header(WHOLE.replace("<i4", "|O"), b"N."),
        "(Python objects in dtype|Object arrays cannot be loaded)",
    ),
    # NumPy divides by the bytes of an element, which ends the process.
    "elements of no bytes": (with_header("{'descr': [], 'fortran_order': False, 'shape': (-1,), }\n"), "of 0 bytes"),
    "a negative size": (with_header(WHOLE.replace("(2,)", "(-1,)"), b"\0" * 8), r"in shape \(-1,\)"),
    "numbers that are missing": (with_header(WHOLE, b"\0\0\0\0"), ""),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("archived", [True, False])
def test_damaged_arrays(damage: str, archived: bool, tmp_path: Path):
    content, says = DAMAGED[damage]
    path = tmp_path / "a"
    if archived:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
    else:
        path.write_bytes(content)
    ending = "npz" if archived else "npy"
    with pytest.raises(InputError, match=re.escape(f"{path}: not a whole .{ending} file: ") + f".*{says}") as caught:
        _ = read_npz(path) if archived else map_npy(path)
    assert "\n" not in str(caught.value)


def test_whole_arrays(tmp_path: Path):
    numbers = struct.pack("<2i", 3, -4)
    (tmp_path / "a.npy").write_bytes(with_header(WHOLE, numbers))
    assert map_npy(tmp_path / "a.npy").tolist() == [3, -4]
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.ones(()))
    assert {name: array.tolist() for name, array in read_npz(tmp_path / "a.npz").items()} == {"x": [0, 1, 2], "y": 1}


def test_headers_of_python_2(tmp_path: Path):
    """Their numbers end in L. NumPy reads them and warns, which is an error here."""
    content = with_header(WHOLE.replace("(2,)", "(2L,)"), struct.pack("<2i", 3, -4))
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    for array in (map_npy(tmp_path / "a.npy"), read_npz(tmp_path / "a.npz")["a"]):
        assert array.tolist() == [3, -4]


def test_a_member_that_is_no_array(tmp_path: Path):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
        archive.writestr("y.npy", b"not an array")
    with pytest.raises(InputError, match=r"a\.npz: 'y\.npy': found no array, expected one in NumPy's format"):
        read_npz(tmp_path / "a.npz")
