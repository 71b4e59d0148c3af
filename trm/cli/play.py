"""`trm play`: a page on this machine, on which a person asks a network and watches it think. Entry: `play_command`."""

import math
import webbrowser
from typing import Annotated

import typer

from trm.cli.options import CheckpointFile
from trm.parallel.programs import keep_programs
from trm.show.console import print_lines, print_warning
from trm.show.html.live import MOST_ATTEMPTS, make_live_page
from trm.show.server import PageServer
from trm.solving.trained_model import load

PORT = 8642


def play_command(
    checkpoint: CheckpointFile = "sudoku",
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any that is free.", min=0, max=65535)] = PORT,
    open_browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Serve a page on this machine: type a Sudoku or draw a maze, and watch the network think.

    The page is that of `trm render --live`, but JAX does the thinking, on any device and with networks of any size.
    Each supervision step is shown as soon as it is made. No other machine can reach the page. Ctrl-C ends it.
    """
    keep_programs()
    model = load(checkpoint)
    for line in model.notes:
        print_warning(line)
    page = make_live_page(f"{checkpoint}: watch it think", model, embed=False)
    views = min(MOST_ATTEMPTS, model.kind.most_views(model.metadata.seq_len) or math.inf)
    server = PageServer(model.in_fast_dtype(), page, port, int(views))
    print_lines(f"{server.address}: open it in a browser; Ctrl-C ends it")
    if open_browser:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        # The way to end it.
        print_lines("ended")
    finally:
        server.close()
