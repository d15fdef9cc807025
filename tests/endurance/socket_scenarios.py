"""Scenarios of the sweep that use sockets: requests to the server, and outputs of a live session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fer_edge.serve import FaceServer, ServeOptions
from tests.endurance.faults import SOCKET_FAULTS
from tests.endurance.scenario import Scenario, bundle_and_photo, bundle_and_photos, command

# One fault may end one connection; the request after it has to be answered.
CLIENT = """
import http.client, sys
port, data = int(sys.argv[1]), open(sys.argv[2], "rb").read()
failures = 0
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
for _ in range(3):
    while True:
        try:
            connection.request("POST", "/v1/faces?crop=true", data)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200 and b"happiness" in body, (answer.status, body)
            break
        except (OSError, http.client.HTTPException):
            connection.close()
            failures += 1
            assert failures < 3, "a second connection failed"
"""

# Receiver of a webhook; it prints its port, and ends with its standard input.
RECEIVER = """
import http.server, os, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.handle_error = lambda *arguments: None
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
os._exit(0)
"""


def _peer(code: str, *arguments: object) -> tuple[Sequence[str], dict[str, str]]:
    """Return command and environment of a process without faults."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return [sys.executable, "-S", "-c", code, *map(str, arguments)], environment


def _serve(folder: Path) -> int:
    options = ServeOptions(port=0, workers=1)
    with FaceServer(folder / "tiny.fer", engine="onnxruntime", options=options) as server:
        arguments, environment = _peer(CLIENT, server.url.rpartition(":")[2].strip("/"), folder / "face.png")
        finished = subprocess.run(arguments, env=environment, check=False)
    return 70 if finished.returncode else 0


@contextmanager
def _receiver() -> Iterator[int]:
    """Run a receiver of a webhook, and yield its port."""
    arguments, environment = _peer(RECEIVER)
    with subprocess.Popen(arguments, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def _send(folder: Path) -> int:
    with _receiver() as port:
        targets = ("osc://127.0.0.1:9?app=vrchat", f"webhook+http://127.0.0.1:{port}/", folder / "out.jsonl")
        return command(
            *("live", folder / "photos", "--bundle", folder / "tiny.fer", "--no-page", "--engine", "onnxruntime"),
            *(part for target in targets for part in ("--to", target)),
        )


def _check_sent(folder: Path) -> None:
    assert len([json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]) == 3


SOCKET_SCENARIOS = (
    Scenario("serve", bundle_and_photo, _serve, faults=SOCKET_FAULTS),
    Scenario("send", bundle_and_photos, _send, frozenset({"out.jsonl"}), _check_sent, faults=SOCKET_FAULTS),
)
