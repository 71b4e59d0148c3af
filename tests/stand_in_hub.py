"""A server on this machine in place of the Hugging Face hub: it serves files and accepts commits."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import unquote

Repositories = dict[str, dict[str, bytes]]
"""Files of each repository: `datasets/OWNER/NAME` of a data set, `OWNER/NAME` of a model, each at main, or at another
revision as `OWNER/NAME@REVISION`."""

OID = "0" * 40


class Handler(BaseHTTPRequestHandler):
    """Speaks as much of the hub's protocol as downloads and commits take, large files by git LFS."""

    repositories: Repositories
    uploaded: dict[str, bytes]
    """Large files by their hashes, until a commit names them."""

    def do_HEAD(self):
        self.serve_file(with_body=False)

    def do_GET(self):
        self.serve_file(with_body=True)

    def serve_file(self, with_body: bool):
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        repository += "" if revision == "main" else f"@{unquote(revision)}"
        content = self.repositories.get(repository, {}).get(name)
        headers = {"X-Error-Code": "EntryNotFound"}
        if content is not None:
            commit = OID if revision == "main" else hashlib.sha1(revision.encode()).hexdigest()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
        self.reply(404 if content is None else 200, headers, content or b"", with_body)

    def do_POST(self):
        path, _, _ = self.path.partition("?")
        if path == "/api/repos/create":
            wanted = self.body_json()
            repository = f"{wanted['organization']}/{wanted['name']}"
            self.repositories.setdefault(repository, {})
            self.reply_json({"url": f"{self.address}/{repository}"})
        elif path == "/api/validate-yaml":
            self.reply_json({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in self.body_json()["files"]
            ]
            self.reply_json({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.address}/lfs/{wanted['oid']}"}}}
                for wanted in self.body_json()["objects"]
            ]
            self.reply_json({"objects": objects, "transfer": "basic"})
        elif path.endswith("/commit/main"):
            repository = path.removeprefix("/api/models/").removesuffix("/commit/main")
            for line in self.body().splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    self.repositories[repository][value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    self.repositories[repository][value["path"]] = self.uploaded[value["oid"]]
            self.reply_json({"commitUrl": f"{self.address}/{repository}/commit/{OID}", "commitOid": OID})
        else:
            self.reply(404, {}, b"")

    def do_PUT(self):
        content = self.body()
        oid = self.path.removeprefix("/lfs/")
        assert hashlib.sha256(content).hexdigest() == oid
        self.uploaded[oid] = content
        self.reply(200, {}, b"")

    @property
    def address(self) -> str:
        return f"http://{self.headers['Host']}"

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def body_json(self) -> Any:
        return json.loads(self.body())

    def reply_json(self, values: Any):
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(values).encode())

    def reply(self, status: int, headers: dict[str, str], content: bytes, with_body: bool = True):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object):
        pass


@contextmanager
def serve(repositories: Repositories) -> Iterator[str]:
    """Serve repositories, which commits change; yield the server's address."""
    handler = type("Handler", (Handler,), {"repositories": repositories, "uploaded": {}})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
