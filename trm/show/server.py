"""The server of live pages, on this machine alone: JAX thinks, and each supervision step is streamed as it is made.

Entry: `PageServer`. GET / is the page. POST /think takes a `Job` as JSON and answers with lines of JSON, one for each
step; bad input is answered by one line of text, as `trm solve` prints it. Only pages of this server may ask.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

import numpy as np
from beartype.door import is_bearable
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.ranges import check_range
from trm.show.html.live import MOST_ATTEMPTS, MOST_STEPS, STEPS
from trm.solving.attempt_traces import AttemptTrace, stream_attempts
from trm.solving.trained_model import TrainedModel

HOST = "127.0.0.1"
MOST_BYTES = 2**16
"""Bytes of a request, at most."""
MOST_NOISE = 10
"""Standard deviation of the noise, at most."""
PATIENCE_SECONDS = 30
"""Time that a client has to send its request, and that a puzzle waits while another is thought about."""


class Job(NamedTuple):
    """A puzzle to think about, checked."""

    question: Integer[np.ndarray, " seq_len"]
    views: list[int]
    """The view of each attempt."""
    steps: int
    stop: Literal["halt", "rules", "never"]
    noise: float
    seed: int


class PageServer(ThreadingHTTPServer):
    """Serves one page, and one model that thinks about one puzzle at a time."""

    daemon_threads = True

    def __init__(self, model: TrainedModel, page: str, port: int, most_views: int):
        self.model, self.page, self.most_views = model, page.encode(), most_views
        self.thinking, self.stopping = threading.Lock(), threading.Event()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(f"--port: {port}: {error.strerror}, expected a free port (0: any)") from error

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def close(self) -> None:
        """Stop serving, after the supervision step that is being made."""
        self.stopping.set()
        self.server_close()
        with self.thinking:
            pass


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_SECONDS

    @property
    def _page_server(self) -> PageServer:
        assert isinstance(self.server, PageServer)
        return self.server

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        if self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self._page_server.page)
        elif self.path == "/favicon.ico":
            self._answer(HTTPStatus.NO_CONTENT, "text/plain", b"")
        else:
            self._complain(HTTPStatus.NOT_FOUND, "expected / or /think")

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        if self.path != "/think":
            return self._complain(HTTPStatus.NOT_FOUND, "expected POST /think")
        try:
            job = read_job(self._body(), self._page_server.model, self._page_server.most_views)
        except InputError as error:
            return self._complain(HTTPStatus.BAD_REQUEST, str(error))
        if not self._page_server.thinking.acquire(timeout=PATIENCE_SECONDS):
            return self._complain(HTTPStatus.SERVICE_UNAVAILABLE, "another puzzle is being thought about")
        try:
            self._head(HTTPStatus.OK, "application/x-ndjson")
            for message in think(self._page_server.model, job):
                if self._page_server.stopping.is_set():
                    break
                self.wfile.write(json.dumps(message).encode() + b"\n")
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            # The page is gone or has stopped it: nobody waits for the other steps.
            self.close_connection = True
        finally:
            self._page_server.thinking.release()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: a line for each request says nothing that a person asked for."""

    def _is_ours(self) -> bool:
        """Return whether a page of this server asks. Others are refused, also where a name was bent to this machine."""
        port = self._page_server.server_address[1]
        hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if host in hosts and origin in (None, f"http://{host}"):
            return True
        self._complain(HTTPStatus.FORBIDDEN, "expected a request from a page of this server")
        return False

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json":
            raise InputError(f"Content-Type: found {self.headers.get_content_type()}, expected application/json")
        if not length.isdecimal() or len(length) > 9 or int(length) > MOST_BYTES:
            raise InputError(f"Content-Length: found {length or 'none'}, expected at most {MOST_BYTES} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise InputError(f"request: {error}, expected JSON") from error

    def _complain(self, status: HTTPStatus, line: str) -> None:
        self._answer(status, "text/plain; charset=utf-8", f"error: {line}\n".encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


def read_job(values: Any, model: TrainedModel, most_views: int) -> Job:
    """Return the job in a request; raise InputError, naming the key, for what is none.

    `puzzle` is text, in any form that `trm solve` takes, or a list of tokens.
    """
    if not isinstance(values, dict):
        raise InputError(f"request: found {type(values).__name__}, expected an object")
    question = _read_question(values.get("puzzle"), model)
    views = values.get("views", [0])
    if not is_bearable(views, list[int]) or not 1 <= len(views) <= MOST_ATTEMPTS:
        raise InputError(f"views: found {views!r:.60}, expected 1 to {MOST_ATTEMPTS} numbers of views")
    check_range("views", np.array(views), most_views)
    noise = values.get("noise", 0.0)
    if type(noise) not in (int, float) or not 0 <= noise <= MOST_NOISE:
        raise InputError(f"noise: found {noise!r:.60}, expected 0 to {MOST_NOISE}")
    steps = _read_integer(values, "steps", default=STEPS, least=1, most=MOST_STEPS)
    seed = _read_integer(values, "seed", default=0, least=0, most=2**31 - 1)
    stop = values.get("stop", "halt")
    if stop not in ("halt", "rules", "never"):
        raise InputError(f"stop: found {stop!r:.60}, expected 'halt', 'rules' or 'never'")
    return Job(question, views, steps, stop, float(noise), seed)


def _read_question(puzzle: Any, model: TrainedModel) -> Integer[np.ndarray, " seq_len"]:
    cells, tokens = model.metadata.seq_len, model.metadata.vocab_size
    if isinstance(puzzle, str):
        question = model.parse(puzzle)
    elif is_bearable(puzzle, list[int]) and len(puzzle) == cells and all(0 < token < tokens for token in puzzle):
        question = np.array(puzzle)
    else:
        raise InputError(f"puzzle: found {puzzle!r:.60}, expected text, or {cells} tokens from 1 to {tokens - 1}")
    problem = model.kind.problem(question)
    if problem is not None and problem.hopeless:
        raise InputError(f"puzzle: {problem.text}")
    return question


def _read_integer(values: dict[str, Any], key: str, default: int, least: int, most: int) -> int:
    found = values.get(key, default)
    if type(found) is not int or not least <= found <= most:
        raise InputError(f"{key}: found {found!r:.60}, expected {least} to {most}")
    return found


def think(model: TrainedModel, job: Job) -> Iterator[dict[str, Any]]:
    """Yield a message after each supervision step, as the worker of a page posts them, then one at the end."""
    done = np.zeros(len(job.views), bool)
    begun = time.perf_counter()
    steps = stream_attempts(model, job.question, job.views, job.steps, job.noise, job.seed)
    for step, attempts in enumerate(steps, start=1):
        # An attempt that has halted stays as it is.
        described = [None if halted else _describe(a) for a, halted in zip(attempts, done, strict=True)]
        yield {"step": step, "attempts": described, "seconds": time.perf_counter() - begun}
        begun = time.perf_counter()
        if job.stop == "halt":
            done |= [attempt.halting_step is not None for attempt in attempts]
        if done.all() or (job.stop == "rules" and any(attempt.solved_after for attempt in attempts)):
            break
    yield {"end": True}


def _describe(attempt: AttemptTrace) -> dict[str, Any]:
    return {
        "tokens": _encode(attempt.predictions.astype("<u2")),
        "confidence": _encode(np.rint(attempt.confidence * 255).astype(np.uint8)),
        "wrong": _encode(attempt.wrong.astype(np.uint8)),
        "solved": None if attempt.solved is None else attempt.solved.ravel().tolist(),
        "q_halt": attempt.q_halt.astype(float).ravel().tolist(),
        "halts": attempt.halting_step is not None,
    }


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
