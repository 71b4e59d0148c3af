"""JSON files, plain or gzip. Entry: `read_json`."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from trm.errors import InputError

_GZIP = b"\x1f\x8b"


def read_json(path: Path) -> Any:
    """Read a JSON file, plain or gzip; raise InputError when it is missing or malformed."""
    return parse_json(unpack(path), str(path))


def unpack(path: Path) -> bytes:
    """Read a file, unpacked if name or content show that it is gzip; raise InputError when it is missing or damaged."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" or data.startswith(_GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON; raise InputError, beginning with `where`, for malformed text."""
    try:
        return json.loads(text)
    # Thousands of nested brackets end in a RecursionError.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON file: {error}") from error
