"""The child side of an evaluation: a process that runs one artifact, or the reference, over the crops it is sent.

Run as `python -m squeeze_export.evaluation.worker FOLDER`; the words it speaks are in evaluation.jobs. It ends when its standard
input does, so it never outlives the parent.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from squeeze_export.bundle.manifest import decode
from squeeze_export.errors import ArtifactError, SourceError, SqueezeExportError
from squeeze_export.evaluation.jobs import JOB, LOG, Answer, ArtifactJob, CapturedJob, Job, Lost, Ready, ReferenceJob, Reply

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, PixelArray
    from squeeze_export.contracts.source import SourceModel

    # One crop (1, H, W, 3) uint8 RGB to its scores (classes,).
    Scorer = Callable[[PixelArray], Array]


def main(arguments: list[str]) -> int:
    """Answer frame after frame until the input ends; whatever went wrong is said in words before."""
    folder = Path(arguments[0])
    # Ctrl-C reaches the whole process group; the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = _private_stdout(folder / LOG)
    try:
        _serve(read_job((folder / JOB).read_bytes()), replies)
    except BrokenPipeError:
        pass  # the parent is gone
    except Exception as error:
        _say(replies, _lost(error))
    # Native runtimes may crash while the interpreter shuts down; everything is said.
    os._exit(0)


def read_job(written: bytes) -> Job:
    """Read a job of any kind."""
    match json.loads(written)["kind"]:
        case "artifact":
            return decode(written, ArtifactJob)
        case "captured":
            return decode(written, CapturedJob)
        case _:
            return decode(written, ReferenceJob)


def _serve(job: Job, replies: BinaryIO) -> None:
    import numpy as np

    from squeeze_export.validation.accuracy import top_classes

    match job:
        case ArtifactJob():
            executor, scores_of = _open_artifact(job)
        case ReferenceJob():
            executor, scores_of = _open_reference(job)
        case CapturedJob():
            executor, scores_of = _open_captured(job)
    _say(replies, Ready(executor=executor))
    shape = (1, job.height, job.width, 3)
    size = job.height * job.width * 3
    while head := _read(4):
        for _ in range(struct.unpack("<I", head)[0]):
            crop = np.frombuffer(_read(size), np.uint8).reshape(shape)
            scores = scores_of(crop)
            if scores.size != job.num_classes:
                raise ArtifactError(
                    f"It gives {scores.shape} scores where {job.num_classes} classes are declared. Export it again."
                )
            try:
                (top,) = top_classes(scores.reshape(1, -1))
            except ValueError as error:
                raise ArtifactError(f"It gives {error}. Run squeeze-export verify on the bundle.") from error
            _say(replies, Answer(top=tuple(top.tolist())))


def _open_artifact(job: ArtifactJob) -> tuple[str, Scorer]:
    from squeeze_export.validation.runners import RUNNERS

    runner = RUNNERS[job.target][0].open(job.path, job.signature, job.precision)
    encode, given, output = job.signature.input.encode, job.signature.input.name, job.signature.outputs[0]

    def scores_of(crop: PixelArray) -> Array:
        outputs = runner.run({given: encode(crop)})
        if output.name not in outputs:
            raise ArtifactError(f"It has no output {output.name!r}, only {', '.join(outputs) or 'none'}. Export it again.")
        return output.decode(outputs[output.name])

    return runner.executor, scores_of


def _open_reference(job: ReferenceJob) -> tuple[str, Scorer]:
    from squeeze_export.sources.source import load_source
    from squeeze_export.sources.weights import parse_weights

    source = load_source(
        name="reference",
        model=job.model,
        weights=parse_weights(job.weights),
        weights_sha256=job.sha256,  # of several in a checkpoint, those that the bundle was made from
        seed=job.seed,
        labels=None,
        preprocessing=job.preprocessing,
        unnamed_classes=job.num_classes,
        head_relu=job.head_relu,
    )
    if source.weights.sha256 != job.sha256:
        raise SourceError(
            f"The weights {job.weights} are not those that the bundle was made from: their sha256 is "
            f"{source.weights.sha256[:12]}…, the manifest's {job.sha256[:12]}…. "
            "Pass the bundle's own with --weights, or --no-reference."
        )
    return _eager(source)


def _open_captured(job: CapturedJob) -> tuple[str, Scorer]:
    from squeeze_export.sources.source import restore_source

    return _eager(restore_source(job.source), "captured, in eager")


def _eager(source: SourceModel, how: str = "eager") -> tuple[str, Scorer]:
    import torch

    from squeeze_export.preprocessing.pixels import normalise

    torch.set_num_threads(1)

    def scores_of(crop: PixelArray) -> Array:
        # One image at a time, like the golden pack and the artifacts: a larger batch may be computed by other kernels.
        with torch.inference_mode():
            logits: Array = source.module(torch.from_numpy(normalise(crop, source.preprocessing))).numpy()
        return logits

    return f"{how} PyTorch {torch.__version__.partition('+')[0]}", scores_of


def _lost(error: Exception) -> Lost:
    known = isinstance(error, SqueezeExportError)
    return Lost(
        error=type(error).__name__ if known else "ArtifactError",
        message=str(error) if known else f"An unexpected {type(error).__name__}: {error}. Report what --verbose prints.",
        traceback=traceback.format_exc(),
    )


def _read(size: int) -> bytes:
    """Exactly `size` bytes; none at the end of the input."""
    data = sys.stdin.buffer.read(size)
    if len(data) not in (0, size) or (not data and size > 4):
        os._exit(3)  # the parent went away in the middle of a frame
    return data


def _say(replies: BinaryIO, reply: Reply) -> None:
    replies.write(msgspec.json.encode(reply) + b"\n")
    replies.flush()


def _private_stdout(log: Path) -> BinaryIO:
    """Keep the real standard output for replies; whatever else writes to descriptors 1 and 2 goes to `log`."""
    replies = os.fdopen(os.dup(1), "wb")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    return replies


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
