"""A Python that has imported the libraries of the command line and forks for every command, so that none has to load them again.

Run as a script. Takes requests as JSON lines on standard input; answers each with the process id, and at its end with the exit
code. Nothing of squeeze_export is imported before the fork: what a command imports, and in what order, is still its own doing.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
import threading
import traceback
from typing import NoReturn


def main() -> None:
    """Serve until standard input is closed."""
    import jinja2
    import msgspec
    import numpy
    import PIL.Image
    import rich.console
    import safetensors.torch
    import torch.export
    import typer

    assert all((jinja2, msgspec, numpy, PIL.Image, rich.console, safetensors.torch, torch.export, typer))
    gc.freeze()  # a collection in a forked process would copy all of that
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            become(**request)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def become(arguments: list[str], cwd: str, env: dict[str, str], out: str, err: str, executable: str) -> NoReturn:
    """Be `python -m squeeze_export` with these arguments, to its end."""
    for number, path, how in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        opened = os.open(path, how)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.executable = executable  # stand_in.py: what begins the workers
    sys.argv, sys.path[0] = ["squeeze_export", *arguments], cwd
    code: object = 0
    try:
        runpy.run_module("squeeze_export", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()  # as the interpreter does; what it does beyond that takes half a second with torch in it
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
