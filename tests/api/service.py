#!/usr/bin/env python3
"""service.py PROGRAM: a service of its own, on a port of the loopback.

The first line on standard output is its URL, the second the path of a repository. It ends, with all of
its taskspaces, when standard input does.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# What is generated for `project` could name any host.
GIT_CONFIG = "[protocol]\n\tallow = never\n[protocol \"file\"]\n\tallow = always\n"
PATIENCE_SECONDS = 60


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Passes on what comes, until its end."""
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def relay(client: socket.socket, path: str) -> None:
    """Connects a client with the service, until both have ended."""
    with client, socket.socket(socket.AF_UNIX) as service:
        try:
            service.connect(path)
        except OSError:
            return
        back = threading.Thread(target=pump, args=(service, client), daemon=True)
        back.start()
        pump(client, service)
        back.join()


def accept(listener: socket.socket, path: str) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=relay, args=(client, path), daemon=True).start()


def prepare(home: Path) -> dict[str, str]:
    """Makes a user's directories, and returns the environment with them."""
    environment = dict(os.environ, HOME=str(home))
    for variable, name in {
        "XDG_CONFIG_HOME": "config",
        "XDG_STATE_HOME": "state",
        "XDG_CACHE_HOME": "cache",
        "XDG_RUNTIME_DIR": "run",
    }.items():
        (home / name).mkdir(mode=0o700)
        environment[variable] = str(home / name)
    real = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    environment.setdefault("CONTAINER_HOST", f"unix://{real}/podman/podman.sock")
    settings = home / "config" / "symposium"
    settings.mkdir()
    if base := os.environ.get("TASKSPACE_TEST_BASE_IMAGE"):
        (settings / "images.yaml").write_text(f"base: {base}\n")
    (home / ".gitconfig").write_text(GIT_CONFIG)
    repository = home / "app"
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    commit = ["git", "-C", repository, *author, "commit", "-q", "--allow-empty", "-m", "first"]
    for command in (["git", "init", "-q", "-b", "main", repository], commit):
        subprocess.run(command, check=True, env=environment)
    return environment


def main() -> None:
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="taskspace-api-", ignore_cleanup_errors=True) as path:
        home = Path(path)
        environment = prepare(home)
        service = subprocess.Popen([program, "serve"], env=environment, stdin=subprocess.DEVNULL)
        try:
            endpoint = home / "run" / "symposium" / "taskspace.sock"
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not endpoint.exists():
                if service.poll() is not None or time.monotonic() > deadline:
                    sys.exit("the service does not start")
                time.sleep(0.02)
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            threading.Thread(target=accept, args=(listener, str(endpoint)), daemon=True).start()
            print(f"http://127.0.0.1:{listener.getsockname()[1]}\n{home}/app", flush=True)
            sys.stdin.read()
            listed = subprocess.check_output([program, "list", "--json"], env=environment)
            for taskspace in json.loads(listed):
                delete = [program, "delete", "--force", "--purge", taskspace["id"]]
                subprocess.run(delete, check=True, env=environment, stdout=subprocess.DEVNULL)
        finally:
            service.terminate()
            service.wait()
            shutil.rmtree(home / "state", ignore_errors=True)


main()
