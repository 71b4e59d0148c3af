"""Commands whose modules are imported when they are called: `trm --help` imports no JAX. Entry: `LazyGroup`."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from trm.cli.interrupts import leave_on_interrupt

MARKUP = "markdown"
COMMANDS = {
    "quickstart": (
        "quickstart:quickstart_command",
        "Train a small network on 6x6 Sudokus and watch it solve one that it has never seen.",
    ),
    "train": ("train:train_command", "Train a network on all devices."),
    "sweep": (
        "sweep:sweep_command",
        "Train a configuration with several seeds, and print mean and interval of its score.",
    ),
    "plot": (
        "plot:plot_command",
        "Draw curves of runs beside each other, with seeds of one experiment as mean and band.",
    ),
    "config": ("config:config_app", "Show configurations, and the schema of their files."),
    "data": ("data:data_app", "Build puzzle sets, and check them."),
    "evaluate": (
        "evaluate:evaluate_command",
        "Measure accuracy on a whole puzzle set, after every supervision step; with ARC also by votes.",
    ),
    "solve": (
        "solve:solve_command",
        "Solve Sudokus and mazes as text, or ARC tasks that the model was trained on as JSON.",
    ),
    "render": (
        "render:render_command",
        "Write a page that plays how a network reasons about puzzles, step by step.",
    ),
    "play": (
        "play:play_command",
        "Serve a page on this machine: type a Sudoku, draw a maze or choose an ARC task; see each supervision step.",
    ),
    "inspect": (
        "inspect:inspect_command",
        "Write a page of figures on how a network reasons about the puzzles of a set.",
    ),
    "export": (
        "weights:export_command",
        "Write the weights of a checkpoint to a file, for this program or for the original.",
    ),
    "import": (
        "weights:import_command",
        "Convert a checkpoint of the original PyTorch program, or of one derived from it.",
    ),
    "push": ("weights:push_command", "Publish weights on the Hugging Face hub, with a model card (extra `hub`)."),
    "info": ("info:info_command", "Print the contents of a checkpoint, a puzzle set or a configuration."),
}
"""Module and attribute below `trm.cli`, and the line in the list of commands, by name."""


class LazyCommand(TyperCommand):
    """A command in the list of commands. Calling it imports the real one."""

    def __init__(self, name: str, target: str, help: str):
        super().__init__(name, help=help, callback=None, rich_markup_mode=MARKUP)
        self._target = target

    def load(self) -> Any:
        """Import the command."""
        module, _, attribute = self._target.partition(":")
        with leave_on_interrupt():
            source = import_module(f"trm.cli.{module}")
        found = getattr(source, attribute)
        parent = typer.Typer(rich_markup_mode=MARKUP, add_completion=False)
        parent.callback()(lambda: None)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=self.name)
        else:
            parent.command(self.name, cls=getattr(source, "COMMAND_CLASS", TyperCommand))(found)
        group: Any = typer.main.get_command(parent)
        return group.commands[self.name]

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Return the context of the real command, with which it is called and completed."""
        return self.load().make_context(*arguments, **extra)


class LazyGroup(TyperGroup):
    """The commands of `trm`."""

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        for name, (target, line) in COMMANDS.items():
            self.add_command(LazyCommand(name, target, line))

    def invoke(self, ctx: Any) -> Any:
        """Call a command. An interrupt becomes typer.Abort: typer itself would give an exit code without a message."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise typer.Abort from error
