"""A Python that has imported the SDK of one kind of worker, and forks for every such worker.

Run as a script: OWNER SOCKET TARGET KIND ROUTE. stand_in.py sends it what a worker is to be; OWNER is the process that it must
not outlive. A worker's own modules are imported after the fork, so what it does is its own doing.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import socket
import sys
import tempfile
import traceback
from contextlib import suppress
from typing import NoReturn


def main(owner: int, path: str, target: str, kind: str, route: str) -> None:
    """Serve until the owner has ended."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    from squeeze_export.processes import worker

    worker._preload(target, kind, route)  # type: ignore[arg-type]
    del sys.modules[worker.__name__]
    gc.freeze()  # a collection in a forked process would copy all of that
    clients: dict[socket.socket, int] = {}  # and the processes that were forked for them
    ends: dict[int, socket.socket] = {}  # by the file descriptor that becomes readable when the process has ended
    while True:
        ready, _, _ = select.select([listener, *clients, *ends], [], [], 2)
        for one in ready:
            if one is listener:
                client = listener.accept()[0]
                process = _begin(client, [listener, *clients])
                clients[client] = process
                ends[os.pidfd_open(process)] = client
            elif isinstance(one, int):
                os.close(one)
                client = ends.pop(one)
                code = os.waitstatus_to_exitcode(os.waitpid(clients.pop(client), 0)[1])
                with suppress(OSError):
                    client.sendall(f"{code}\n".encode())
                client.close()
            elif one in clients:  # its client has ended, or was ended
                with suppress(ProcessLookupError):
                    os.kill(clients[one], 9)
        if not ready and not _alive(owner):
            return


def _begin(client: socket.socket, others: list[socket.socket]) -> int:
    message, descriptors, _, _ = socket.recv_fds(client, 1 << 20, 3)
    while not message.endswith(b"\n"):
        message += client.recv(1 << 20)
    process = os.fork()
    if not process:
        for opened in (client, *others):
            opened.close()
        _become(descriptors, **json.loads(message))
    for descriptor in descriptors:
        os.close(descriptor)
    return process


def _become(descriptors: list[int], module: str, arguments: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
    """Be `python -P -m MODULE` with these arguments, to its end."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    sys.argv = ["worker", *arguments]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the server's own says that it is at its end
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except BaseException:
        traceback.print_exc()
    os._exit(1)  # a worker ends itself


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
