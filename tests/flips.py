"""One bit of a TFLite file flipped, again and again, in a process of its own: no native crash ends the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import random
import sys
from pathlib import Path
import numpy as np
from squeeze_export.errors import ArtifactError
from squeeze_export.validation.runners.litert import file as litert_file, runner as litert
from tests.tflite_cases import declared, settings
from {module} import {source}
content, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
weights = [w.tobytes() for w in litert_file.read(content).constants.values() if w.nbytes > 64]
spans = [(content.index(w), content.index(w) + len(w)) for w in weights]
choose = random.Random(5)
signature = declared({source}(), settings())
refused = 0
for _ in range({count}):
    at = choose.randrange(len(content))
    while any(a <= at < b for a, b in spans):
        at = choose.randrange(len(content))
    flipped = bytearray(content)
    flipped[at] ^= 1 << choose.randrange(8)
    path.write_bytes(flipped)
    print(at, flipped[at], flush=True)
    try:
        litert.open(path, signature, "fp32").run({{"image": np.zeros((1, {side}, {side}, 3), np.float32)}})
    except ArtifactError:
        refused += 1
print(refused)
"""


def refused_of_flips(content: bytes, folder: Path, *, module: str, source: str, side: int, count: int) -> int:
    """Flip a bit outside of the weights `count` times and open and run each file; how many were refused by name.

    `source` of `module` gives the source model, `side` is its input's. Fails where the process dies or raises anything else.
    """
    path = folder / "whole.tflite"
    path.write_bytes(content)
    script = _SCRIPT.format(module=module, source=source, side=side, count=count)
    command = [sys.executable, "-c", script, str(path), str(folder / "flipped.tflite")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[1])
    assert ended.returncode == 0, ended.stdout[-40:] + ended.stderr
    return int(ended.stdout.split()[-1])
