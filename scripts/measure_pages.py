"""`python scripts/measure_pages.py`: seconds per supervision step of live pages in headless Chromium, one attempt each.

The pages are those of `trm render MODEL --live`, with WebAssembly and where a browser allows none. Needs the extra
`browser`, and Chromium.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from records import Recorder, cpu_hardware, spread

import trm
from trm.errors import InputError
from trm.show.html.live import make_live_page
from trm.storage.bundled import weights_names

ALLOWED = " 'wasm-unsafe-eval'"
"""What the page's policy says to allow WebAssembly."""
LISTEN = """
window.seconds = [];
window.Worker = class extends Worker {
  constructor(url) {
    super(url);
    this.addEventListener("message", ({ data }) => { if (data.step) window.seconds.push(data.seconds); });
  }
};"""
"""Keeps the seconds that the worker says each step took."""


def main(
    models: Annotated[list[str] | None, typer.Argument(help="Models.", show_default="the bundled ones")] = None,
    steps: Annotated[
        int, typer.Option(help="Supervision steps; the first, while code is compiled, is not counted.", min=2)
    ] = 16,
    chromium: Annotated[Path | None, typer.Option(help="Chromium.", show_default="the one in PATH")] = None,
    note: Annotated[str, typer.Option(help="Circumstances that a reader of the records must know.")] = "",
    json_out: Annotated[Path | None, typer.Option("--json", help="File that the records are appended to.")] = None,
) -> None:
    # Imported here: without the extra, tests of scripts read this file too.
    from playwright.sync_api import sync_playwright

    program = chromium or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise InputError("--chromium: missing, expected the path of Chromium: there is none in PATH")
    recorder = Recorder("pages", json_out, cpu_hardware())
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        # Without a sandbox, which a container seldom allows.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name in models or weights_names():
            text = make_live_page(name, trm.load(name), steps=steps)
            for webassembly in (True, False):
                path = Path(folder) / "page.html"
                path.write_text(text if webassembly else text.replace(ALLOWED, ""), encoding="utf-8")
                seconds = _measure(browser, path)
                figures = {
                    "seconds_per_step": spread(seconds),
                    "page_mb": len(text.encode()) / 2**20,
                    "browser": f"Chromium {browser.version.partition('.')[0]}",
                }
                recorder.add(figures, note=note, model=name, webassembly=webassembly)
                how = "with" if webassembly else "without"
                print(f"{name}, {how} WebAssembly: {figures['seconds_per_step']['median']:.3f} s per supervision step")
        browser.close()


def _measure(browser: Any, path: Path) -> list[float]:
    """Return the seconds of each supervision step after the first."""
    page = browser.new_page()
    page.set_default_timeout(600_000)
    page.add_init_script(LISTEN)
    page.goto(path.as_uri())
    page.locator("#stop").select_option("never")
    page.locator("#think").click()
    page.locator("#think", has_text="Think").wait_for()
    _, *seconds = page.evaluate("window.seconds")
    page.close()
    return seconds


if __name__ == "__main__":
    typer.run(main)
