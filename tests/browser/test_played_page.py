"""`trm play` in headless Chromium: JAX runs the network, the page shows each step, Ctrl-C ends it."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import DESK

pytestmark = [pytest.mark.browser, pytest.mark.processes]

PUZZLE = "3654.24...5..32.4..4..232....4.....5"


WITH_INTERRUPTS = """
import signal
import sys

# A shell makes programs in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from trm.__main__ import main

main()
"""


def test_the_command_serves_a_page_that_solves(open_page: Callable):
    command = [sys.executable, "-c", WITH_INTERRUPTS, "play", "sudoku-6x6", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            word, address, hint = process.stdout.readline().split(" ", 2)
            assert (word, hint) == ("open", "in a browser; Ctrl-C ends it\n")
            page = open_page(address, also=(address.replace("/?", "/think?"),), **DESK)
            page.locator("#clear").click()
            page.locator("#editor td").first.click()
            page.keyboard.type(PUZZLE)
            page.locator("#attempts").fill("2")
            page.locator("#think").click()
            page.locator("#think", has_text="Think").wait_for()
            assert "obey the rules, the first after step" in page.locator("#verdict").inner_text()
            assert page.locator("#puzzles figure.winner strong.good").inner_text() == "solved"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out, err) == (0, "ended\n", "")
        finally:
            # A test that fails must not wait for a server that goes on.
            process.kill()
