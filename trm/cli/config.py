"""`trm config`: the resolved values of a configuration, and the JSON schema of configuration files."""

import dataclasses
import json
from typing import Annotated, Any, Literal

import typer

from trm.cli.options import Settings
from trm.configuration.json_schema import schema_text
from trm.configuration.reading import DEFAULT, SETTINGS, Layer, notes_of, sources, toml_value
from trm.show.console import print_lines, print_warning
from trm.storage.bundled import bundled_name
from trm.training.experiment import config_and_layers, registered_names

config_app = typer.Typer(no_args_is_help=True, help="Show configurations, and the schema of their files.")


@config_app.command("show")
def show_command(
    config: Annotated[str, typer.Argument(help="TOML file, run folder, or name of a bundled configuration.")],
    settings: Settings = None,
    output: Annotated[
        Literal["text", "toml", "json"],
        typer.Option("--format", help="text: in columns; toml: a file without a base; json: with sources."),
    ] = "text",
) -> None:
    """Print every value of a configuration, and where it comes from: the default, a file, or --set.

    Example: `trm config show sudoku_mlp_no_ema --set train.epochs=10`
    """
    resolved, layers = config_and_layers(config, settings or [])
    for line in notes_of(layers):
        print_warning(line)
    values = dataclasses.asdict(resolved)
    origin = _origins(layers)
    if output == "json":
        found = {
            section: {key: {"value": value, "source": origin[section][key]} for key, value in table.items()}
            for section, table in values.items()
        }
        print_lines(json.dumps(found, indent=2, ensure_ascii=False))
    elif output == "toml":
        print_lines(_toml(values, origin))
    else:
        print_lines(_columns(values, origin))


@config_app.command("schema")
def schema_command() -> None:
    """Print the JSON schema of configuration files, for editors that complete and check them.

    Example: `trm config schema > schema.json`, and `#:schema ./schema.json` as a file's first line.
    """
    print_lines(schema_text(registered_names()).rstrip())


def _origins(layers: list[Layer]) -> dict[str, dict[str, str]]:
    """Return the displayed source of each value: a bundled file by its name, any other by its path."""
    files = [layer.source for layer in layers if layer.source != SETTINGS]
    called = {DEFAULT: "default", SETTINGS: "--set"}
    for path in files:
        called[path] = (bundled_name(path) or path) + (" (base)" if path != files[-1] else "")
    return {section: {key: called[source] for key, source in keys.items()} for section, keys in sources(layers).items()}


def _toml(values: dict[str, dict[str, Any]], origin: dict[str, dict[str, str]]) -> str:
    lines = []
    for section, table in values.items():
        lines.append(f"[{section}]")
        for key, value in table.items():
            line = f"# {key}: unset" if value is None else f"{key} = {toml_value(value)}"
            lines.append(f"{line}  # {_one_line(origin[section][key])}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _columns(values: dict[str, dict[str, Any]], origin: dict[str, dict[str, str]]) -> str:
    rows = [
        (f"{section}.{key}", "unset" if value is None else toml_value(value), _one_line(origin[section][key]))
        for section, table in values.items()
        for key, value in table.items()
    ]
    names, shown = (max(len(row[column]) for row in rows) for column in (0, 1))
    # A long list of directories does not push the last column out of sight.
    shown = min(shown, 32)
    return "\n".join(f"{name:<{names}}  {value:<{shown}}  {source}" for name, value, source in rows)


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)
