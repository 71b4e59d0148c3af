"""Bytes to text: gzip and encodings by content, variants of a character normalised. Entry: `read_text`, `open_text`."""

import codecs
import gzip
import io
import sys
import unicodedata
import zlib
from pathlib import Path
from typing import BinaryIO

from trm.errors import InputError

GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks; the longer one first where one begins another."""


def read_text(path: str | Path) -> str:
    """Read a text file of any encoding, plain or gzip; raise InputError for a file that is not text."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
    return decode(data, str(path))


def read_standard_input() -> str:
    """Read standard input as `read_text` reads a file."""
    if sys.stdin is None:
        raise InputError("standard input: found it closed, expected text")
    buffer = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read() if buffer is None else decode(buffer.read(), "standard input")


def decode(data: bytes, where: str) -> str:
    """Return the text of bytes, as `read_text` does."""
    try:
        while data.startswith(GZIP):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{where}: cannot read: {error}") from error
    try:
        text = data.decode(_encoding(data[:4096]))
    except UnicodeDecodeError as error:
        # Comments may have names in an older encoding; puzzles are ASCII.
        text = data.decode("latin-1")
        if not text.isascii() and _share_of_controls(text) == 0 and "\n" in text:
            return text
        raise InputError(f"{where}: cannot read: found no text: {error}") from error
    if _share_of_controls(text[:4096]) > 0.02:
        raise InputError(f"{where}: cannot read: found no text, expected puzzles as text")
    return text


def open_text(path: str | Path) -> io.TextIOBase:
    """Open a text file for reading, line ends unchanged; the caller handles errors of reading."""
    file = Path(path).open("rb")
    try:
        reader = io.BufferedReader(_Gzip(file)) if file.peek(2)[:2] == GZIP else file
        return io.TextIOWrapper(reader, _encoding(reader.peek(4096)[:4096]), errors="replace", newline="")
    except BaseException:
        file.close()
        raise


class _Gzip(gzip.GzipFile):
    """A compressed file that also closes the file that it reads."""

    def __init__(self, below: BinaryIO) -> None:
        super().__init__(fileobj=below)
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


def _encoding(start: bytes) -> str:
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    if start.count(0) > len(start) // 20:
        # UTF-16 without a byte-order mark: take the order that gives more plain and frame characters.
        even = start[: len(start) // 2 * 2]
        shares = {name: _share_of_plain(even.decode(name, "replace")) for name in ("utf-16-le", "utf-16-be")}
        return max(shares, key=lambda name: shares[name])
    return "utf-8"


def _share_of_plain(text: str) -> float:
    return sum(c.isascii() or "\u2500" <= c < "\u25a0" for c in text) / max(1, len(text))


def _share_of_controls(text: str) -> float:
    controls = sum(1 for c in text if unicodedata.category(c) == "Cc" and c not in "\t\r\n\f\v\x1a")
    return controls / max(1, len(text))


def _one_sign_for_many() -> dict[int, str]:
    table = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # Full-width forms of ASCII.
    table |= dict.fromkeys(
        map(ord, "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"), " "
    )
    table |= dict.fromkeys(map(ord, "\u205f\u3000\u2800"), " ")
    table |= dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f\u20e3\x1a"), "")
    table |= dict.fromkeys(map(ord, "\u00b7\u2022\u2219\u22c5\u2024\u3002\u30fb\u25e6\u2027"), ".") | {0x2026: "..."}
    table |= dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0xFE63], "-")  # Hyphens, dashes, minus.
    table |= dict.fromkeys(map(ord, "\u201c\u201d\u201e\u2033\u00ab\u00bb"), '"')
    table |= dict.fromkeys(map(ord, "\u2018\u2019\u201a\u2032`"), "'")
    table |= dict.fromkeys(map(ord, "\u00d7\u2573\u2715\u2717"), "x")
    return table


_TABLE = _one_sign_for_many()


def normalise(text: str) -> str:
    """Normalise variants of digits, spaces, dots, dashes, quotes and line ends to the plain ASCII character."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x1a", "").rstrip("\0")
    if text.isascii():
        return text
    text = text.translate(_TABLE)
    # Digits of other scripts, and circled ones.
    return "".join(c if c.isascii() or not c.isdigit() else str(unicodedata.digit(c)) for c in text)
