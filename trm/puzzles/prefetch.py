"""Reading ahead on a thread. Entry: `Prefetcher`."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Prefetcher(Iterator[T]):
    """Runs an iterator on a thread, `depth` items ahead, so that the device does not wait for the host.

    An error in the iterator is raised where the item would have come, and again by every later call. Close it to end
    the thread.
    """

    def __init__(self, items: Iterator[T], depth: int = 4):
        self._queue: queue.Queue = queue.Queue(depth)
        self._closed = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, args=(items,), daemon=True, name="trm-prefetch")
        self._thread.start()

    def _fill(self, items: Iterator[T]):
        try:
            for item in items:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:
            # Any error goes to the consumer, who would otherwise wait for ever.
            self._put((None, error))

    def _put(self, entry) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> T:
        if self._end is not None:
            raise self._end
        item, self._end = self._take()
        if self._end is not None:
            self.close()
            raise self._end
        return item

    def _take(self) -> tuple:
        while True:
            # Read before the queue, so that items which the thread puts there before it ends are not lost.
            alive = self._thread.is_alive()
            try:
                return self._queue.get(timeout=1 if alive else 0)
            except queue.Empty:
                if not alive:
                    return None, RuntimeError("the thread that reads ahead ended without an error")

    def close(self) -> None:
        """End the thread; items that were prefetched are dropped."""
        self._closed.set()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
