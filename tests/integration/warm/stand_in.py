"""What forked commands of the tests find as `sys.executable`: a worker begins in a Python that has its SDK imported already.

Run as `python -IS stand_in.py OWNER FOLDER ARGUMENTS`; ARGUMENTS are the interpreter's own. Whatever is no worker becomes a real
interpreter. It imports nothing that takes time.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPORTS, EVALUATES = "squeeze_export.processes.worker", "squeeze_export.evaluation.worker"
NOT_FORKED = "onnx-tf"  # TensorFlow has threads of its own, which no fork takes along


def main(owner: str, folder: str, arguments: list[str]) -> None:
    """Be the worker or the interpreter that ARGUMENTS ask for."""
    if arguments[:2] != ["-P", "-m"] or arguments[2] not in (EXPORTS, EVALUATES) or NOT_FORKED in arguments:
        os.execv(sys.executable, [sys.executable, *arguments])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a worker leaves Ctrl-C to its parent
    what = arguments[5:8] if arguments[2] == EXPORTS else _evaluated(Path(arguments[3]))
    server = _connected(Path(folder), owner, *what)
    request = {"module": arguments[2], "arguments": arguments[3:], "cwd": str(Path.cwd()), "env": dict(os.environ)}
    message = f"{json.dumps(request)}\n".encode()
    sent = socket.send_fds(server, [message], [0, 1, 2])
    server.sendall(message[sent:])
    with server.makefile() as answer:
        code = int(answer.readline() or 1)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def _evaluated(folder: Path) -> tuple[str, str, str]:
    """Target, kind and route of the worker that needs what an evaluation's worker does; a reference needs PyTorch."""
    job = json.loads((folder / "job.json").read_bytes())
    return job.get("target", "torchscript"), "judge", "-"


def _connected(folder: Path, owner: str, target: str, kind: str, route: str) -> socket.socket:
    """The server of this kind of worker, which is started where there is none yet."""
    kind = "judge" if kind == "answer" or target in ("coreml", "torchscript") else kind  # these import the same
    path = folder / f"{target}-{kind}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _start([sys.executable, "-P", str(HERE / "workers.py"), owner, str(path), target, kind, route], f"{path}.log")
        for _ in range(600):
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(path))
            except OSError:
                server.close()
                time.sleep(0.05)
            else:
                return server
    raise SystemExit(f"the server of {target} {kind} did not start: see {path}.log")


def _start(command: list[str], log: str) -> None:
    """Start a process that is no child of ours: forked twice."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT)
    for number, opened in ((0, nothing), (1, written), (2, written)):
        os.dup2(opened, number)
    os.closerange(3, 64)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
