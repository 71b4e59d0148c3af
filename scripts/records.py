"""Records: measured figures, one line of JSON each, with all that is needed to measure them again.

Entries: `Recorder` writes records, `read_records` reads them, `spread` summarises repeated timings. `scripts/tables`
turns the records of `scripts/results` into the tables of the READMEs.
"""

import dataclasses
import json
import os
import re
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

from beartype.door import is_bearable
from jax.sharding import Mesh

from trm.errors import InputError


@dataclasses.dataclass(frozen=True)
class Record:
    """One measurement."""

    benchmark: str
    """Name of the command that measured: "step", "memory", "parity"."""
    figures: dict[str, Any]
    """Numbers by name, with the unit in the name. A repeated measurement is a `spread`."""
    hardware: dict[str, Any]
    """`device`, `platform`, `devices`, `cores`, `features`; `described` where a compiler was asked, not a device."""
    date: str
    """ISO 8601: a day, or a time with its zone."""
    versions: dict[str, str]
    """Of trm, jax and whatever else was measured."""
    command: str
    """The command line that measures this again, from the root of the repository."""
    config: str = ""
    """Name of the configuration."""
    settings: list[str] = dataclasses.field(default_factory=list)
    """Overridden keys, as `--set` takes them."""
    seed: int | None = None
    case: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What tells this record from the others of one command: batch size, program, board."""
    note: str = ""
    """Circumstances that a reader must know."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Summarise repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


class Recorder:
    """Makes the records of one command and appends them to a file."""

    def __init__(
        self, benchmark: str, json_out: Path | None, hardware: Mapping[str, Any], packages: Sequence[str] = ("jax",)
    ):
        """Raise InputError where the file cannot be written: before hours go into measuring."""
        self._benchmark, self._json_out, self._hardware = benchmark, json_out, dict(hardware)
        self._versions = {name: version(name) for name in ("trm", *packages)}
        if json_out:
            try:
                json_out.open("a").close()
            except OSError as error:
                raise InputError(f"--json: {json_out}: cannot write: {error.strerror}") from error

    def add(
        self,
        figures: Mapping[str, Any],
        *,
        config: str = "",
        settings: Sequence[str] = (),
        seed: int | None = None,
        command: str = "",
        note: str = "",
        **case: Any,
    ) -> Record:
        """Append a record at once, so that a later failure does not lose it; return it.

        `command`: what measures this one record, where that is not the whole command line.
        """
        record = Record(
            benchmark=self._benchmark,
            config=config,
            settings=list(settings),
            seed=seed,
            case=case,
            figures=dict(figures),
            hardware=self._hardware,
            date=datetime.now().astimezone().isoformat(timespec="seconds"),
            versions=self._versions,
            command=command or command_line(sys.argv),
            note=note,
        )
        if self._json_out:
            with self._json_out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n")
        return record


def command_line(argv: Sequence[str]) -> str:
    """Return the command that was typed, without `--json` and `--note`, which change no figure."""
    arguments = list(argv[1:])
    for option in ("--json", "--note"):
        if option in arguments:
            at = arguments.index(option)
            del arguments[at : at + 2]
    program = Path(argv[0])
    program = program.parent if program.name == "__main__.py" else program
    return shlex.join(["python", f"scripts/{program.name}", *arguments])


# Hardware


def cpu_hardware() -> dict[str, Any]:
    """Describe the processor: its model, the cores that this process may use, its units for matrix products."""
    cpu = _cpu_info()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = cpu.get("flags", "").split()
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return {"device": _cpu_name(cpu), "platform": "cpu", "devices": 1, "cores": cores, "features": features}


def hardware(mesh: Mesh, described: bool = False) -> dict[str, Any]:
    """Describe the devices of a mesh; `described`: they need not be there, a compiler works for them."""
    device = mesh.devices.flat[0]
    found = {"device": device.device_kind, "platform": device.platform, "devices": mesh.size}
    if described:
        return found | {"described": True}
    if device.platform == "cpu":
        return cpu_hardware() | {"devices": mesh.size}
    return cpu_hardware() | found


def _cpu_info() -> dict[str, str]:
    """Read what Linux says of the first core; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


_ZEN = {(23, 0x00): "Zen", (23, 0x30): "Zen 2", (25, 0x00): "Zen 3", (25, 0x10): "Zen 4", (25, 0x20): "Zen 3"} | {
    (25, 0x60): "Zen 4",
    (26, 0x00): "Zen 5",
}
"""AMD's microarchitectures: family and first model of a range."""


def _cpu_name(cpu: Mapping[str, str]) -> str:
    name = re.sub(r" \d+-Core Processor$", "", cpu.get("model name", "CPU"))
    if cpu.get("vendor_id") == "AuthenticAMD":
        family, model = int(cpu["cpu family"]), int(cpu["model"])
        starts = [start for found, start in _ZEN if found == family and start <= model]
        if starts and "Zen" not in name:
            name += f" ({_ZEN[family, max(starts)]})"
    return name


# Reading


def read_records(path: Path) -> list[Record]:
    """Read a file of records, or all `.jsonl` files of a folder in order of their names; raise InputError."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: found no .jsonl file, expected at least one")
    return [record for file in files for record in _read_file(file)]


def _read_file(path: Path) -> list[Record]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read: {error}") from error
    return [_parse(f"{path}:{number}", line) for number, line in enumerate(lines, 1)]


def _parse(where: str, line: str) -> Record:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: found no JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{where}: found {type(values).__name__}, expected an object")
    fields = {field.name: field for field in dataclasses.fields(Record)}
    types = get_type_hints(Record)
    for name in values.keys() - fields.keys():
        raise InputError(f"{where}: {name}: unknown field, expected {', '.join(fields)}")
    for name, field in fields.items():
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name not in values and needed:
            raise InputError(f"{where}: {name}: missing")
        if name in values and not is_bearable(values[name], types[name]):
            raise InputError(f"{where}: {name}: found {values[name]!r:.40}, expected {field.type}")
    return Record(**values)
