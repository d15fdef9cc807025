"""Web server under errors of the operating system: they end a connection, and print no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A process of its own, since the limit of open files is that of a process.
SCRIPT = """
import resource, socket, time, urllib.request
from fer_edge.live.web_server import WebServer

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})

server = WebServer(lambda: application, "page", note=print)
port = server.start("127.0.0.1", 0, "choose another port")
urllib.request.urlopen(f"http://127.0.0.1:{port}").close()  # all modules are imported
clients = [socket.socket() for _ in range(4)]
used = clients[-1].fileno()
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for client in clients:
    client.connect(("127.0.0.1", port))
time.sleep(2.5)  # asyncio tries again after a second
for client in clients:
    client.close()
print(urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).status)
clients = [socket.socket() for _ in range(4)]
for client in clients:
    client.connect(("127.0.0.1", port))
time.sleep(0.9)
server.stop()  # while a second attempt is due
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of open files and its error are those of Linux")
def test_too_many_open_files_are_reported_once_and_the_server_goes_on() -> None:
    command = [sys.executable, "-c", SCRIPT]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert finished.stderr == ""
    assert finished.stdout.splitlines() == ["the page cannot accept connections for now: Too many open files", "204"]
