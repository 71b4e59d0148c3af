"""Markdown of one table. Entries: `Table`, `Column`, `figure`, `case`, `render`.

A table takes the records of one benchmark. Of several records of the same measurement the latest counts. Records with
an equal `row` share a line, and a cell lists a figure of each. A column names the hardware where there are several.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from records import Record

Cell = Callable[[Sequence[Record]], str]
"""Writes one cell from the records of a line."""


class Column(NamedTuple):
    """A column with its title."""

    title: str
    cell: Cell


class Table(NamedTuple):
    """A table of one benchmark."""

    benchmark: str
    columns: tuple[Column, ...]
    keep: Callable[[Record], bool] = lambda record: True
    """Which records of the benchmark it takes."""
    row: Callable[[Record], Any] | None = None
    """Records for which this is equal share a line; None: each has its own."""


def render(table: Table, records: Sequence[Record]) -> str:
    """Return the table with a caption; a sentence where there is no record."""
    found = latest([record for record in records if record.benchmark == table.benchmark and table.keep(record)])
    if not found:
        return "Not measured yet.\n"
    lines: dict[str, list[Record]] = {}
    for number, record in enumerate(found):
        key = [hardware_name(record), table.row(record)] if table.row else number
        lines.setdefault(json.dumps(key), []).append(record)
    columns = table.columns
    if len({hardware_name(record) for record in found}) > 1:
        columns = (*columns, Column("on", lambda group: hardware_name(group[0])))
    rows = [[column.cell(group) for column in columns] for group in lines.values()]
    titles = [column.title for column in columns]
    markdown = [_line(titles), _line(["---"] * len(titles)), *map(_line, rows)]
    return "\n".join([*markdown, "", "\n\n".join(caption(found))]) + "\n"


def latest(records: Sequence[Record]) -> list[Record]:
    """Return the latest record of each measurement, in the order in which measurements first appear."""
    kept: dict[str, Record] = {}
    for record in records:
        key = json.dumps([record.config, record.settings, record.seed, record.case, record.hardware], sort_keys=True)
        if key not in kept or record.date >= kept[key].date:
            kept[key] = record
    return list(kept.values())


def caption(records: Sequence[Record]) -> list[str]:
    """Say where, when, with which versions and by which commands the records were measured."""
    groups: dict[str, list[str]] = {}
    for record in records:
        verb = "Computed for" if record.hardware.get("described") else "Measured on"
        versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
        text = f"{verb} {hardware_name(record)}, {record.date[:10]}, {versions}"
        text += f". {record.note}" if record.note else ""
        commands = groups.setdefault(text, [])
        if f"`{record.command}`" not in commands:
            commands.append(f"`{record.command}`")
    return [f"{text.rstrip('.')}. {_commands(commands)}" for text, commands in groups.items()]


def _commands(commands: Sequence[str]) -> str:
    if len(commands) <= 2:
        return f"Command{'s' if len(commands) > 1 else ''}: {' and '.join(commands)}."
    return f"Commands: {commands[0]} and {len(commands) - 1} like it, one in each record."


def hardware_name(record: Record) -> str:
    """Name the device, with the number of its cores or of the devices."""
    hardware = record.hardware
    if hardware["platform"] == "cpu":
        cores = hardware["cores"]
        return f"{hardware['device']}, {cores} core{'s' if cores > 1 else ''}"
    count = hardware["devices"]
    return hardware["device"] if count == 1 else f"{count} x {hardware['device']}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


# Cells


def figure(name: str, form: str = "{:,.1f}", scale: float = 1, of: str = "median") -> Cell:
    """Return a cell of a figure; of a spread, its median, or what `of` names, or its ends where that is missing."""

    def text(value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, dict):
            if of not in value:
                ends = [form.format(scale * value[end]) for end in ("min", "max") if end in value]
                return " to ".join(dict.fromkeys(ends))
            value = value[of]
        return form.format(scale * value)

    return lambda group: _listed([text(record.figures.get(name)) for record in group])


def case(name: str, form: str = "{}") -> Cell:
    """Return a cell of what tells the records apart."""
    return lambda group: _listed([form.format(record.case[name]) for record in group])


def configuration(group: Sequence[Record]) -> str:
    """Name the configuration and its settings."""
    settings = "".join(f", `{re.sub(r'=true$', '', setting)}`" for setting in group[0].settings)
    return f"`{group[0].config}`{settings}"


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts) if any(texts) else ""
