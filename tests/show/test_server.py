"""The server of live pages: it streams what JAX thinks, and refuses bad input and pages from elsewhere."""

import base64
import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from conftest import in_float32

import trm
from trm.errors import InputError
from trm.show.jobs import Boards, Job
from trm.show.server import HOST, MOST_BYTES, PageServer, hosts
from trm.solving.attempt_traces import trace_puzzles
from trm.solving.trained_model import TrainedModel

PUZZLE = "3654.24...5..32.4..4..232....4.....5"


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return in_float32(trm.load("sudoku-6x6"))


@pytest.fixture(scope="module")
def server(model: TrainedModel) -> Iterator[PageServer]:
    opened = PageServer(Boards(model, most_views=16), "<p>page</p>", port=0)
    thread = threading.Thread(target=opened.serve_forever, daemon=True)
    thread.start()
    yield opened
    opened.shutdown()
    opened.close()
    thread.join(10)
    assert not thread.is_alive()


def ask(
    server: PageServer, body: Any = None, path: str = "/think", token: str | None = None, **headers: str
) -> tuple[int, str]:
    """Post a body, or get a path without one; return status and text."""
    path += f"?token={server.token if token is None else token}"
    connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=60)
    sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = {} if sent is None else {"Content-Type": "application/json"}
    connection.request("GET" if sent is None else "POST", path, sent, content | named)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_it_streams_what_a_trace_says(server: PageServer, model: TrainedModel):
    status, text = ask(server, {"puzzle": PUZZLE, "steps": 3, "stop": "never"})
    assert status == 200
    *steps, end = [json.loads(line) for line in text.splitlines()]
    assert end == {"end": True}
    assert [message["step"] for message in steps] == [1, 2, 3]
    (traced,) = trace_puzzles(model, model.parse(PUZZLE).astype(np.int32)[None], steps=3)
    (expected,) = traced.attempts
    for number, message in enumerate(steps):
        (attempt,) = message["attempts"]
        tokens = np.frombuffer(base64.b64decode(attempt["tokens"]), "<u2").reshape(2, 36)
        np.testing.assert_array_equal(tokens, expected.predictions[number])
        np.testing.assert_allclose(attempt["q_halt"], expected.q_halt[number], atol=1e-5)
        wrong = np.frombuffer(base64.b64decode(attempt["wrong"]), np.uint8).reshape(2, 36)
        np.testing.assert_array_equal(wrong, expected.wrong[number])


def test_views_are_undone_and_an_end_is_found(server: PageServer, model: TrainedModel):
    question = model.parse(PUZZLE).tolist()
    _, text = ask(server, {"puzzle": question, "steps": 16, "stop": "rules", "views": [0, 1, 2]})
    *_, last, end = [json.loads(line) for line in text.splitlines()]
    assert end == {"end": True}
    solved = [attempt for attempt in last["attempts"] if attempt["solved"][-1]]
    assert solved
    tokens = np.frombuffer(base64.b64decode(solved[0]["tokens"]), "<u2").reshape(2, 36)
    assert model.kind.solved(np.array([question]), tokens[-1:].astype(int))[0]


def test_a_view_is_the_same_whatever_else_is_asked(server: PageServer):
    found = []
    for views in ([5], [0, 5, 15]):
        _, text = ask(server, {"puzzle": PUZZLE, "steps": 1, "stop": "never", "views": views})
        found.append(json.loads(text.splitlines()[0])["attempts"][views.index(5)])
    assert found[0]["tokens"] == found[1]["tokens"]
    assert found[0]["confidence"] == found[1]["confidence"]


def test_guesses_are_given(server: PageServer, model: TrainedModel):
    """The attempt sees them; the rules judge the puzzle without them."""
    question = model.parse(PUZZLE).astype(np.int32)
    guessed = question.copy()
    cell = int(np.flatnonzero(question == 1)[0])
    guessed[cell] = 6 if question[0] != 6 else 5
    body = {"puzzle": question.tolist(), "steps": 1, "views": [0, 0], "guesses": [[], [[cell, int(guessed[cell])]]]}
    _, text = ask(server, body | {"stop": "never"})
    attempts = json.loads(text.splitlines()[0])["attempts"]
    for attempt, seen in zip(attempts, (question, guessed), strict=True):
        (traced,) = trace_puzzles(model, seen[None], steps=1)
        tokens = np.frombuffer(base64.b64decode(attempt["tokens"]), "<u2").reshape(2, 36)
        np.testing.assert_array_equal(tokens, traced.attempts[0].predictions[0])
        wrong = np.frombuffer(base64.b64decode(attempt["wrong"]), np.uint8).reshape(2, 36)
        np.testing.assert_array_equal(wrong, model.kind.wrong_cells(np.stack([question] * 2), tokens.astype(int)))
    assert attempts[0]["tokens"] != attempts[1]["tokens"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "puzzle: found None, expected text, or 36 tokens from 1 to 7"),
        ({"puzzle": PUZZLE[1:]}, "found 35 cells"),
        ({"puzzle": "33" + PUZZLE[2:]}, "puzzle: contradictory clues: two 3 in a row"),
        ({"puzzle": [9] * 36}, "puzzle: found [9, 9"),
        ({"puzzle": PUZZLE, "steps": 129}, "steps: found 129, expected 1 to 128"),
        ({"puzzle": PUZZLE, "steps": True}, "steps: found True"),
        ({"puzzle": PUZZLE, "noise": "much"}, "noise: found 'much'"),
        ({"puzzle": PUZZLE, "noise": float("nan")}, "noise: found nan"),
        ({"puzzle": PUZZLE, "seed": 10**400}, "seed: found 1000"),
        ({"puzzle": PUZZLE, "views": [0] * 17}, "views: found [0, 0"),
        ({"puzzle": PUZZLE, "views": [16]}, "views[0]: found 16, expected 0 to 15"),
        ({"puzzle": PUZZLE, "stop": "never ever"}, "stop: found 'never ever'"),
        ({"puzzle": PUZZLE, "guesses": [[], []]}, "guesses: found [[], []], expected for each view (1) a list"),
        ({"puzzle": PUZZLE, "guesses": [[[4, 9]]]}, "guesses: found [4, 9], expected a cell and the token of a digit"),
        ({"puzzle": PUZZLE, "guesses": [[[36, 2]]]}, "guesses: found [36, 2], expected a cell"),
        ({"puzzle": PUZZLE, "guesses": [[[4]]]}, "guesses: found [4], expected a cell"),
        ({"puzzle": PUZZLE, "guesses": [[[0, 2]]]}, "guesses: found [0, 2], expected a blank cell"),
        ({"puzzle": PUZZLE, "guesses": [[[4, 2], 7]]}, "guesses: found 7, expected a cell"),
        ({"puzzle": PUZZLE, "guesses": [[[4, 2], [5.0, 2]]]}, "guesses: found [5.0, 2], expected a cell"),
        ({"puzzle": PUZZLE, "guesses": [[[4, 2], [True, 2]]]}, "guesses: found [True, 2], expected a cell"),
        ({"puzzle": PUZZLE, "guesses": [7]}, "guesses: found [7], expected for each view (1) a list"),
        ({"puzzle": [1] * 35 + ["x"]}, "puzzle: found [1, 1"),
        ({"puzzle": PUZZLE, "views": [0] * 15 + ["x"]}, "views: found [0, 0"),
        ([PUZZLE], "request: found list, expected an object"),
        (b"{", "request: Expecting property name"),
        (b"[" * 60_000, "request: "),
        (b'"' + b"x" * MOST_BYTES + b'"', f"expected at most {MOST_BYTES} bytes"),
    ],
)
def test_bad_input_is_answered_by_one_line(server: PageServer, body: Any, says: str):
    status, text = ask(server, body)
    assert status == 400
    assert text.startswith("error: ")
    assert says in text
    assert text.count("\n") == 1


def test_only_its_own_page_may_ask(server: PageServer):
    port = server.server_address[1]
    body = {"puzzle": PUZZLE, "steps": 1}
    assert ask(server, body, Origin=f"http://127.0.0.1:{port}")[0] == 200
    for headers in (
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{port}"},
        {"Host": "example.org"},
    ):
        assert ask(server, body, **headers) == (403, "error: expected a request from a page of this server\n")
    # What a form of another page can send without asking first.
    status, text = ask(server, body, Content_Type="text/plain")
    assert (status, "expected application/json" in text) == (400, True)
    assert ask(server, path="/", Host="example.org")[0] == 403


@pytest.mark.parametrize("token", ["", "x", "\xe4", "x" * 43])
def test_nobody_may_ask_without_the_token(server: PageServer, token: str):
    says = "error: expected ?token=TOKEN, as in the address that trm play printed\n"
    assert ask(server, {"puzzle": PUZZLE, "steps": 1}, token=quote(token)) == (403, says)
    assert ask(server, path="/", token=quote(token)) == (403, says)
    assert server.address.endswith(f"/?token={server.token}")
    assert len(server.token) >= 43


def test_what_a_browser_is_started_with_opens_the_page_once(server: PageServer):
    connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=60)
    once = server.address_once
    connection.request("GET", once[once.index("/?") :])
    response = connection.getresponse()
    assert (response.status, response.headers["Location"]) == (303, server.address)
    connection.close()
    used = once.partition("=")[2]
    assert ask(server, path="/", token=used)[0] == 403
    # It never lets anyone think.
    assert ask(server, {"puzzle": PUZZLE}, token=server.address_once.partition("=")[2])[0] == 403


def test_it_serves_its_page_and_nothing_else(server: PageServer):
    assert ask(server, path="/") == (200, "<p>page</p>")
    assert ask(server, body={}, path="/tasks")[0] == 404
    assert ask(server, path="/../../etc/passwd")[0] == 404
    assert ask(server, body={}, path="/other")[0] == 404


def test_a_refusal_is_heard_by_a_client_that_still_sends(server: PageServer):
    status, text = ask(server, b'"' + b"x" * 2**25 + b'"')
    assert (status, text) == (400, f"error: Content-Length: found {2**25 + 2}, expected at most {MOST_BYTES} bytes\n")


def test_text_without_an_encoding_is_escaped(server: PageServer):
    status, text = ask(server, {"puzzle": "\ud800" + PUZZLE[1:]})
    assert status == 400
    assert "\\ud800" in text


def test_the_port_of_http_is_left_out():
    assert hosts(8642) == {"127.0.0.1:8642", "localhost:8642"}
    assert hosts(80) == {"127.0.0.1", "localhost", "127.0.0.1:80", "localhost:80"}


def test_a_fault_while_it_thinks_is_told(server: PageServer, monkeypatch: pytest.MonkeyPatch):
    def think(_: Job) -> Iterator[dict[str, Any]]:
        yield {"step": 1}
        raise RuntimeError("RESOURCE_EXHAUSTED:\nout of memory")

    monkeypatch.setattr("trm.show.server.think", think)
    status, text = ask(server, {"puzzle": PUZZLE})
    assert status == 200
    error = {"error": "RuntimeError: RESOURCE_EXHAUSTED: out of memory"}
    assert [json.loads(line) for line in text.splitlines()] == [{"step": 1}, error]


def test_a_lost_connection_is_no_fault(
    server: PageServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    handle, handled = server.handle_error, threading.Event()

    def note(*arguments: Any) -> None:
        handle(*arguments)
        handled.set()

    monkeypatch.setattr(server, "handle_error", note)
    port = server.server_address[1]
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(f"GET /?token={server.token} HTTP/1.1\r\nHost: {HOST}:{port}\r\n".encode())
        # It is reset when it is closed.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert handled.wait(20)
    assert capsys.readouterr().err == ""


def test_a_reader_that_leaves_stops_the_thinking(server: PageServer):
    connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=60)
    body = json.dumps({"puzzle": PUZZLE, "steps": 128, "stop": "never"})
    connection.request("POST", f"/think?token={server.token}", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert json.loads(response.readline())["step"] == 1
    response.close()
    connection.close()
    # The next puzzle gets its turn, long before all steps of the first are made.
    status, text = ask(server, {"puzzle": PUZZLE, "steps": 1, "stop": "never"})
    assert (status, len(text.splitlines())) == (200, 2)


def test_a_port_in_use_is_named(server: PageServer, model: TrainedModel):
    port = server.server_address[1]
    with pytest.raises(InputError, match=f"^--port: {port}: Address already in use"):
        PageServer(Boards(model, 1), "", port)
