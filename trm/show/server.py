"""The server of live pages, on this machine alone: JAX runs the network, and each supervision step is streamed.

Entry: `PageServer`. GET / is the page. POST /think takes a job as JSON (`trm.show.jobs`) and answers with lines of
JSON, one for each step; POST /tasks takes ARC tasks as text, and answers with those that the model was trained on. Bad
input is answered with one line of text, as `trm solve` prints it. Every request needs the token; requests from pages of
other servers are refused.
"""

import json
import secrets
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from trm.errors import InputError
from trm.show.jobs import Boards, Tasks, think

HOST = "127.0.0.1"
MOST_BYTES = 2**16
"""Maximum size of a request."""
MOST_TASK_BYTES = 2**24
"""Maximum size of a request with ARC tasks; a collection of 400 has 4 MB."""
PATIENCE_SECONDS = 30
"""Seconds that a client has to send its request, and that a puzzle waits while another is solved."""
MOST_DRAINED, DRAIN_SECONDS = 2**26, 10
"""Bytes and seconds of a refused request that are read: a client that still sends would see a reset, not the answer."""


def hosts(port: int) -> set[str]:
    """Return the names of this server in requests to it; clients leave out the port of HTTP."""
    named = {f"{HOST}:{port}", f"localhost:{port}"}
    return named | {HOST, "localhost"} if port == 80 else named


class PageServer(ThreadingHTTPServer):
    """Serves one page, and one model that solves one puzzle at a time."""

    daemon_threads = True

    def __init__(self, reader: Boards | Tasks, page: str, port: int):
        self.reader, self.page = reader, page.encode()
        self.token, self._once = secrets.token_urlsafe(), secrets.token_urlsafe()
        self.thinking, self.stopping, self._lock = threading.Lock(), threading.Event(), threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(f"--port: {port}: {error.strerror}, expected a free port (0: any)") from error

    @property
    def address(self) -> str:
        """The address of the page, with the token that every request needs: other users reach this port too."""
        return f"{self._origin}/?token={self.token}"

    @property
    def address_once(self) -> str:
        """An address that opens the page once: other users can read a browser's command line."""
        return f"{self._origin}/?token={self._once}"

    @property
    def _origin(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"

    def use_once(self, token: str) -> bool:
        """Return whether a token is that of `address_once`; it is valid only once."""
        with self._lock:
            used = secrets.compare_digest(token.encode(), self._once.encode())
            if used:
                self._once = secrets.token_urlsafe()
            return used

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of a fault; a page that was closed, or has stopped its job, is none."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Stop serving, after the supervision step that is being computed."""
        self.stopping.set()
        self.server_close()
        with self.thinking:
            pass


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_SECONDS
    _is_read = False
    """Whether the body of the request is read."""

    @property
    def _page_server(self) -> PageServer:
        assert isinstance(self.server, PageServer)
        return self.server

    def do_GET(self) -> None:
        if not self._is_from_here():
            return
        path, server = self.path.partition("?")[0], self._page_server
        if path == "/favicon.ico":
            self._answer(HTTPStatus.NO_CONTENT, "text/plain", b"")
        elif path == "/" and server.use_once(self._token):
            self._head(HTTPStatus.SEE_OTHER, "text/plain", 0, Location=server.address)
        elif not self._has_token():
            return
        elif path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", server.page)
        else:
            self._complain(HTTPStatus.NOT_FOUND, "expected / or /think")

    def do_POST(self) -> None:
        if not self._is_from_here() or not self._has_token():
            return
        path, reader = self.path.partition("?")[0], self._page_server.reader
        try:
            if path == "/think":
                job = reader.read(self._body(MOST_BYTES))
            elif path == "/tasks" and isinstance(reader, Tasks):
                found = json.dumps(reader.read_tasks(self._body(MOST_TASK_BYTES).get("text"))).encode()
                return self._answer(HTTPStatus.OK, "application/json", found)
            else:
                return self._complain(HTTPStatus.NOT_FOUND, "expected POST /think")
        except InputError as error:
            return self._complain(HTTPStatus.BAD_REQUEST, str(error))
        if not self._page_server.thinking.acquire(timeout=PATIENCE_SECONDS):
            return self._complain(HTTPStatus.SERVICE_UNAVAILABLE, "another puzzle is being solved")
        try:
            self._head(HTTPStatus.OK, "application/x-ndjson")
            for message in think(job):
                if self._page_server.stopping.is_set():
                    break
                self._send_line(message)
        except OSError:
            # The connection is lost: nobody waits for the other steps.
            raise
        except Exception as error:
            self._send_line({"error": " ".join(f"{type(error).__name__}: {error}".split())})
            raise
        finally:
            self._page_server.thinking.release()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: a line for each request is of no use."""

    def _is_from_here(self) -> bool:
        """Return whether a page of this server or a program sent the request; refuse others, also by DNS rebinding."""
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if host in hosts(self._page_server.server_address[1]) and origin in (None, f"http://{host}"):
            return True
        self._complain(HTTPStatus.FORBIDDEN, "expected a request from a page of this server")
        return False

    @property
    def _token(self) -> str:
        return parse_qs(self.path.partition("?")[2]).get("token", [""])[0]

    def _has_token(self) -> bool:
        """Return whether the request has the token; refuse it otherwise."""
        # As bytes: text beyond ASCII cannot be compared.
        if secrets.compare_digest(self._token.encode(), self._page_server.token.encode()):
            return True
        self._complain(HTTPStatus.FORBIDDEN, "expected ?token=TOKEN, as in the address that trm play printed")
        return False

    def _body(self, most: int) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json":
            raise InputError(f"Content-Type: found {self.headers.get_content_type()}, expected application/json")
        if not length.isdecimal() or len(length) > 9 or int(length) > most:
            raise InputError(f"Content-Length: found {length or 'none'}, expected at most {most} bytes")
        try:
            text = self.rfile.read(int(length))
            self._is_read = True
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"request: {error}, expected JSON") from error
        if not isinstance(values, dict):
            raise InputError(f"request: found {type(values).__name__}, expected an object")
        return values

    def _complain(self, status: HTTPStatus, line: str) -> None:
        self._drain()
        # Half a pair of surrogates, which JSON can name, has no other encoding.
        self._answer(status, "text/plain; charset=utf-8", f"error: {line}\n".encode(errors="backslashreplace"))

    def _drain(self) -> None:
        """Read the body of a request that is refused without it."""
        length = self.headers.get("Content-Length", "")
        if self._is_read or not length.isdecimal():
            return
        left = MOST_DRAINED if len(length) > 9 else min(int(length), MOST_DRAINED)
        end = time.monotonic() + DRAIN_SECONDS
        with suppress(TimeoutError):
            while left and (seconds := end - time.monotonic()) > 0 and (part := self._read_some(left, seconds)):
                left -= len(part)
        self.connection.settimeout(self.timeout)

    def _read_some(self, most: int, seconds: float) -> bytes:
        self.connection.settimeout(seconds)
        return self.rfile.read1(min(most, 2**16))

    def _send_line(self, message: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(message).encode() + b"\n")
        self.wfile.flush()

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
