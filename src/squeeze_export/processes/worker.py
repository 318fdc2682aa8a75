"""The child side of an export: one process per artifact, which converts, re-opens the file and judges it.

Run as `python -m squeeze_export.processes.worker JOB_FOLDER NAME TARGET export|judge|answer ROUTE`; NAME is the artifact's
key in file names, ROUTE the one to TFLite.
It imports its SDK at once and waits for the line "go" on standard input, so that the import overlaps with the parent's own work.
Stages go to standard output as JSON lines; whatever an SDK prints goes to a log file in the job folder. It ends when its standard
input is closed, so it never outlives the parent.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast, get_args

from squeeze_export.contracts.artifact import Target
from squeeze_export.errors import ArtifactError, SqueezeExportError, TargetUnavailableError, UsageError
from squeeze_export.processes.jobs import CALIBRATION, GOLDEN, SOURCE, AnswerJob, ExportJob, Failure, Job, JudgeJob, Result
from squeeze_export.sdks import load_coremltools

if TYPE_CHECKING:
    from squeeze_export.contracts.agreements import Witness

# What is imported while the parent still reads the weights. Core ML's SDK has a door of its own.
_PRELOADED: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("tflite", "export", "litert-torch"): ("litert_torch", "ai_edge_litert.interpreter"),
    ("tflite", "export", "onnx-tf"): ("torch", "onnx", "tensorflow", "ai_edge_litert.interpreter"),
    ("tflite", "judge"): ("ai_edge_litert.interpreter",),
    ("torchscript", "export"): ("torch",),
    ("torchscript", "judge"): ("torch",),
    ("onnx", "export"): ("torch", "onnx", "onnxruntime"),
    ("onnx", "judge"): ("onnx", "onnxruntime"),
}


def main(arguments: list[str]) -> int:
    """Carry out one job; the exit code only says whether a result file was written."""
    folder, name, target, *work = Path(arguments[0]), arguments[1], cast("Target", arguments[2]), *arguments[3:]
    if target not in get_args(Target):
        raise SystemExit(f"unknown target {target}")
    events = _private_stdout(folder / f"{name}.log")
    go = threading.Event()
    threading.Thread(target=_watch_parent, args=(go,), daemon=True).start()
    _say(events, "loading")
    _preload(target, *work)
    go.wait()
    began = time.monotonic()
    result = _carry_out(folder, name, events, began)
    from squeeze_export.bundle.manifest import encode

    partial = folder / f"{name}.result.partial"
    partial.write_bytes(encode(result))
    partial.rename(folder / f"{name}.result.json")
    events.flush()
    # Native runtimes may crash while the interpreter shuts down; the result is already on disk.
    os._exit(0)


def _carry_out(folder: Path, name: str, events: TextIO, began: float) -> Result:
    job = _read_job((folder / f"{name}.job.json").read_bytes())
    try:
        result = _run(folder, job, events)
    except Exception as error:
        told = _tell(error, folder)
        failure = Failure(error=type(told).__name__, message=str(told), traceback=traceback.format_exc())
        result = Result(key=job.key, artifact=None, reports=(), failure=failure, seconds=0)
    return replace(result, seconds=time.monotonic() - began)


def _read_job(written: bytes) -> Job:
    from squeeze_export.bundle.manifest import decode

    match json.loads(written)["kind"]:
        case "judge":
            return decode(written, JudgeJob)
        case "answer":
            return decode(written, AnswerJob)
        case _:
            return decode(written, ExportJob)


def _run(folder: Path, job: Job, events: TextIO) -> Result:
    match job:
        case ExportJob():
            return _export(folder, job, events)
        case JudgeJob():
            return _judge(job, events)
        case AnswerJob():
            return _answer(job, events)


def _export(folder: Path, job: ExportJob, events: TextIO) -> Result:
    import numpy as np

    from squeeze_export.exporters import EXPORTERS
    from squeeze_export.golden.files import read_golden
    from squeeze_export.sources.source import restore_source
    from squeeze_export.sources.spread import far_apart
    from squeeze_export.validation.judgement import judge_file

    target = job.key.target
    source = restore_source(folder / SOURCE)
    _say(events, "converting")
    images = folder / CALIBRATION
    calibration = np.load(images) if images.is_file() else None
    artifact = EXPORTERS[target].export(source, job.settings, job.destination, calibration, lambda stage: _say(events, stage))
    _say(events, "checking")
    # The golden pack is read again from disk: the judge sees what `verify` will see, nothing that is only in memory.
    pack = read_golden(folder / GOLDEN)
    reports = judge_file(
        target,
        artifact.path,
        artifact.signature,
        artifact.precision,
        pack,
        labels=source.labels,
        folded=artifact.folded_weights,
        chosen=artifact.chosen_weights,
    )
    if artifact.precision.startswith("int") and reports[0].verdict == "FAILED":
        told = far_apart(source)
        reports = (replace(reports[0], reason=f"{reports[0].reason}. {told}"), *reports[1:]) if told else reports
    return Result(key=job.key, artifact=artifact, reports=reports, failure=None, seconds=0)


def _judge(job: JudgeJob, events: TextIO) -> Result:
    from squeeze_export.golden.files import read_golden
    from squeeze_export.validation.contents import contents_of
    from squeeze_export.validation.judgement import judge_file, witnesses_of

    _say(events, "checking")
    pack, folded, chosen = read_golden(job.golden), job.folded_weights, job.chosen_weights
    file = (job.key.target, job.path, job.signature, job.key.precision, pack)
    witnesses: tuple[Witness, ...] = ()
    reports = judge_file(*file, labels=job.labels, folded=folded, chosen=chosen)
    if job.witness:
        _say(events, "hearing witnesses")
        witnesses = witnesses_of(*file, folded=folded, chosen=chosen)
    try:
        contents = contents_of(job.key.target, job.path)
    except ArtifactError:
        contents = None  # the reports say why it cannot be opened
    return Result(key=job.key, artifact=None, reports=reports, failure=None, seconds=0, witnesses=witnesses, contents=contents)


def _answer(job: AnswerJob, events: TextIO) -> Result:
    import numpy as np

    from squeeze_export.golden.files import read_golden
    from squeeze_export.validation.judgement import answers_of

    _say(events, "executing")
    executor, found = answers_of(job.key.target, job.path, job.signature, job.key.precision, read_golden(job.golden))
    np.save(job.answers, found[job.signature.outputs[0].name])
    return Result(key=job.key, artifact=None, reports=(), failure=None, seconds=0, executor=executor)


def _tell(error: Exception, folder: Path) -> Exception:
    """A full disk shows itself as many things inside an SDK, and a broken SDK as a failed import: say what it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            break
        cause = cause.__cause__ or cause.__context__
    if cause is None and shutil.disk_usage(folder).free > 1_000_000:
        if isinstance(error, ImportError):  # what is not installed was refused before any work
            return TargetUnavailableError(
                f"An SDK is installed but broken ({type(error).__name__}: {error}). squeeze-export targets tells which, "
                "and how to mend it."
            )
        return error
    if isinstance(error, SqueezeExportError) and not isinstance(error.__cause__, Exception):
        return error
    return UsageError(
        f"No space is left for {folder.parent.parent}. Free some (an export needs about 100 MB) or choose another --output."
    )


def _watch_parent(go: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "go":
            go.set()
    os._exit(3)


def _private_stdout(log: Path) -> TextIO:
    """Keep the real standard output for events; whatever else writes to descriptors 1 and 2 goes to `log`."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    return events


def _say(events: TextIO, stage: str) -> None:
    print(json.dumps({"stage": stage}), file=events, flush=True)


def _preload(target: Target, kind: str, route: str) -> None:
    """Import what the target needs; a module that is missing is reported later, by name."""
    try:
        if target == "coreml":
            load_coremltools()
        work = "judge" if kind == "answer" else kind
        for name in _PRELOADED.get((target, work), _PRELOADED.get((target, work, route), ())):
            importlib.import_module(name)
    except Exception:
        traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
