"""Times TFLite files with LiteRT, in a process of its own: `python -m squeeze_export.processes.stopwatch RUNS FILE...`."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

THREADS: Final = (1, 2)
_WARM_UP: Final = 2
# The files take turns, so that what else the machine does for a while is spread over all of them.
_ROUNDS: Final = 5


def milliseconds(paths: list[Path], runs: int) -> list[tuple[float, ...]]:
    """The median over at least `runs` executions of each file, in ms, with each number of THREADS."""
    made = [[_prepared(path, threads) for threads in THREADS] for path in paths]
    taken: list[list[list[float]]] = [[[] for _ in THREADS] for _ in paths]
    rounds = min(_ROUNDS, runs)
    for _ in range(rounds):
        for interpreters, times in zip(made, taken, strict=True):
            for interpreter, own in zip(interpreters, times, strict=True):
                for _ in range(_WARM_UP):
                    interpreter.invoke()
                for _ in range(-(-runs // rounds)):
                    began = time.perf_counter()
                    interpreter.invoke()
                    own.append(1000 * (time.perf_counter() - began))
    return [tuple(round(statistics.median(own), 3) for own in times) for times in taken]


def _prepared(path: Path, threads: int) -> Any:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    pixels = np.random.default_rng(0).integers(0, 256, tuple(given["shape"]))
    interpreter.set_tensor(given["index"], pixels.astype(given["dtype"]))
    return interpreter


def main(arguments: list[str]) -> int:
    """Print one JSON line with a list of milliseconds per file."""
    runs, *paths = arguments
    print(json.dumps({"milliseconds": milliseconds([Path(path) for path in paths], int(runs))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
