"""The tags and texts of a page that the program writes. Entry: `read_page`."""

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "input", "img", "link", "br"}


class Page(HTMLParser):
    """Collects the tags of a page, its texts and scripts; requires that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        self.texts.append(data)


def read_page(text: str) -> Page:
    """Read a page that is whole."""
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    return page
