"""`trm play` and the browser that it opens."""

import http.client
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import run_trm

from trm.cli import play
from trm.show.server import PageServer


def test_a_browser_in_the_terminal_is_served_too(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """`webbrowser.open` returns only when such a browser has ended."""
    opened: list[PageServer] = []
    answers: list[int] = []

    class Recorded(PageServer):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            opened.append(self)

    def browse(address: str) -> None:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.netloc, timeout=20)
        connection.request("GET", f"{parts.path}?{parts.query}")
        answers.append(connection.getresponse().status)
        connection.close()
        opened[0].shutdown()

    monkeypatch.setattr(play, "PageServer", Recorded)
    monkeypatch.setattr(play.webbrowser, "open", browse)
    code, _, err = run_trm(capsys, "play", "sudoku-6x6", "--port", 0)
    assert (code, err, answers) == (0, "", [303])
