"""Pages: `player.html` and other files with parts inserted. Entry: `make_page`, `fill`, `insert`."""

import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

PAGES = (".html", ".htm")
"""Endings of the names of pages."""


def make_page(title: str, intro: str, data: Any, script: str, style: str, ask: str = "", policy: str = "") -> str:
    """Return a page: `data` for its script, `ask` above the boards, `policy` at the end of its security policy."""
    parts = {
        "title": html.escape(title),
        "intro": html.escape(intro),
        "style": style,
        "script": script,
        "data": _json_in_html(data),
        "ask": ask,
        "policy": policy,
    }
    return fill("player.html", parts)


def fill(name: str, parts: Mapping[str, str]) -> str:
    """Return the text of a file with parts inserted."""
    return insert(read(name), parts)


def insert(text: str, parts: Mapping[str, str]) -> str:
    """Return a text with `{{part}}` replaced by the part of that name; parts are inserted as they are."""
    text = re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], text)
    # Names of files that are not UTF-8 have characters without an encoding.
    return text.encode(errors="backslashreplace").decode()


def read(*names: str) -> str:
    """Return the text of files, joined."""
    return "\n".join(files("trm.show.html").joinpath(name).read_text(encoding="utf-8") for name in names)


def _json_in_html(data: Any) -> str:
    """Return JSON that cannot end the HTML element around it."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
