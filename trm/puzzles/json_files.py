"""JSON files, plain or gzip. Entry: `read_json`."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from trm.errors import InputError


def read_json(path: Path) -> Any:
    """Read a JSON file, gzip when its name ends in .gz; raise InputError when it is missing or malformed."""
    try:
        data = path.read_bytes()
        return parse_json(gzip.decompress(data) if path.suffix == ".gz" else data, str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON; raise InputError, beginning with `where`, for what is none."""
    try:
        return json.loads(text)
    # Thousands of nested brackets end in a RecursionError.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON file: {error}") from error
