"""Metrics as TensorBoard events in the run folder (extra `tensorboard`): `tensorboard --logdir runs` shows all runs.

Entry: `TensorboardTracker`.
"""

import bisect
import datetime
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.training.tracking.tracker import Position, Seen, position_of

FOLDER = "tensorboard"
FLUSH_SECONDS = 10
MAX_WAITING = 10_000
"""Largest number of events that wait for the thread that writes."""


class TensorboardTracker:
    """Writes `RUN/tensorboard/`. A run that is resumed, or rewinds, replaces its events of later steps."""

    def __init__(self, run: Path, config: Config):
        """Raise InputError when the package is missing."""
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise InputError(
                "--track tensorboard: the package tensorboard is missing, expected `pip install 'trm[tensorboard]'`"
            ) from error
        self._folder = run / FOLDER
        # The generated modules make these classes when they are imported.
        events: Any = event_pb2
        summaries: Any = summary_pb2
        self._event, self._summary, self._writer_class = events.Event, summaries.Summary, EventFileWriter
        self._writer: Any = None
        self._seen = Seen()

    def log(self, metrics: dict[str, Any], /) -> None:
        if self._writer is None or self._seen.is_again(metrics):
            self.close()
            self._cut(position_of(metrics))
            self._writer = self._writer_class(str(self._folder), MAX_WAITING, FLUSH_SECONDS)
            self._seen = Seen()
        self._seen.add(metrics)
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in metrics.items()
            if name != "step" and isinstance(value, int | float)
        ]
        wall_time = datetime.datetime.fromisoformat(metrics["time"]).timestamp()
        event = self._event(wall_time=wall_time, step=metrics["step"], summary=self._summary(value=values))
        self._writer.add_event(event)

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None

    def _cut(self, position: Position) -> None:
        """Cut off events at or after a position. Events are in the order in which the run made them."""
        for path in self._folder.glob("events.out.tfevents.*"):
            data = path.read_bytes()
            # The first record of a file holds its version.
            records = list(records_of(data))[1:]

            def place(record: tuple[int, int], data: bytes = data) -> Position:
                event = self._event.FromString(data[record[0] + 12 : record[1] - 4])
                return position_of({value.tag: 0 for value in event.summary.value} | {"step": event.step})

            first = bisect.bisect_left(records, position, key=place)
            if not first:
                path.unlink()
            elif (end := records[first - 1][1]) < len(data):
                os.truncate(path, end)


def records_of(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the whole records in a file of events.

    A record is its length in 8 bytes, 4 of a checksum, the event, 4 of another checksum.
    """
    begin = 0
    while begin + 12 <= len(data):
        end = begin + 16 + struct.unpack_from("<Q", data, begin)[0]
        if end > len(data):
            return
        yield begin, end
        begin = end
