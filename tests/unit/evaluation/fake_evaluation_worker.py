"""The evaluation's worker with a runner that obeys its artifact, a JSON file, in place of every SDK.

The picture of class c has grey 10 * c everywhere; the fake classifies by that, except where `do` says otherwise for the class.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from squeeze_export.errors import ArtifactError
from squeeze_export.evaluation import worker
from squeeze_export.validation import runners

CLASSES = 7


class FakeRunner:
    executor = "fake runner 1.0"

    def __init__(self, told):
        self.told = told

    def run(self, inputs):
        (value,) = {float(value) for value in np.unique(inputs["image"])}
        shown = round(value / 10)
        if "pids" in self.told:
            Path(self.told["pids"], str(os.getpid())).touch()
        time.sleep(self.told.get("seconds", 0))
        scores = -np.abs(np.arange(CLASSES, dtype=np.float32) - shown)
        match self.told.get("do", {}).get(str(shown)):
            case None:
                pass
            case "second":  # the right class comes second
                scores[(shown + 1) % CLASSES] = 1
            case "last":
                scores[shown] = -100
            case "nan":
                scores[0] = np.nan
            case "crash":
                print("the runtime says goodbye", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)
            case "raise":
                raise ZeroDivisionError("by the runtime")
            case "refuse":
                raise ArtifactError("The file is no fake.")
            case "short":
                scores = scores[:-1]
            case "rename":
                return {"other": scores[None]}
        print("noise on standard output")
        return {"scores": scores[None]}


def open_fake(path, signature, precision):
    told = json.loads(path.read_text())
    if told.get("open") == "refuse":
        raise ArtifactError("The file cannot be opened.")
    time.sleep(told.get("open_seconds", 0))
    return FakeRunner(told)


FAKE = SimpleNamespace(NAME="fake", PACKAGES=(), open=open_fake)

if __name__ == "__main__":
    runners.RUNNERS = dict.fromkeys(("coreml", "tflite", "torchscript"), (FAKE,))
    if "perfect-reference" in sys.argv:
        worker._open_reference = lambda job: ("fake reference", lambda crop: FakeRunner({}).run({"image": crop})["scores"])
    sys.exit(worker.main(sys.argv[-1:]))
