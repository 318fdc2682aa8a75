"""The precision ladder: what every rung weighs, how well it answers, how long it takes, and which rungs no other one beats."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from squeeze_export import signals
from squeeze_export.bundle.folder import storage_error
from squeeze_export.bundle.manifest import decode
from squeeze_export.contracts.request import ExportRequest, Progress
from squeeze_export.errors import ArtifactError, SourceError, UsageError
from squeeze_export.evaluation.images import DEMO_COUNT, demo_images, limited, read_images
from squeeze_export.evaluation.limit import check_floor, check_images, check_limit, exceeds, falls_short
from squeeze_export.evaluation.report import Accuracy
from squeeze_export.files.litter import is_litter
from squeeze_export.ladders.advice import Advice, advise, sentences
from squeeze_export.ladders.rungs import Rung, fronted
from squeeze_export.pipeline.walk import source_of
from squeeze_export.processes.jobs import worst
from squeeze_export.sources.source import default_name
from squeeze_export.tabular import Tabular

if TYPE_CHECKING:
    from squeeze_export.evaluation.report import Evaluation
    from squeeze_export.pipeline.results import Bundle

CSV, JSON, PNG = "ladder.csv", "ladder.json", "ladder.png"
FILES: Final = (CSV, JSON, PNG)
RUNS: Final = 50
NOT_TIMED: Final = (
    "ms are medians of LiteRT on this machine, so of TFLite files only: what executes the other formats here is not what "
    "executes them on a phone, and its times would say nothing."
)
# ZIP's own beginning of time: the size of a download must not hang on when it was packed.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the rungs are held to: `max_drop` in points, `min_accuracy` in percent; None for any."""

    max_drop: float | None = None
    min_accuracy: float | None = None

    def unfit(self, found: Evaluation) -> str | None:
        """Why the reference is no measure for these limits, or None."""
        return replace(found, max_accuracy_drop=self.max_drop, min_accuracy=self.min_accuracy).unfit


@dataclass(frozen=True, kw_only=True, repr=False)
class Ladder(Tabular):
    """All rungs over the same `images` pictures of `source`. `reference` is None where it was NOT_RUN.

    `runs`: of how many executions a time is the median. `max_accuracy_drop`: the limit asked for, in points; `min_accuracy`:
    the floor, in percent. `problems`: why `exit_code` is not 0, as of an evaluation. `advice`: which rungs to take.
    """

    schema_version: Literal[1] = 1
    name: str
    source: str
    images: int
    runs: int
    reference: Accuracy | None
    max_accuracy_drop: float | None = None
    min_accuracy: float | None = None
    rungs: tuple[Rung, ...]
    exit_code: int
    problems: tuple[str, ...]
    advice: tuple[Advice, ...] = ()

    @property
    def advised(self) -> tuple[str, ...]:
        """Which rung to take, a sentence per platform."""
        return sentences(self.advice, self.max_accuracy_drop)

    @property
    def headline(self) -> tuple[str, str]:
        """Which model on how many images; how many rungs were measured, and the exit code of the command."""
        measured = sum(rung.status == "MEASURED" for rung in self.rungs)
        told = f"{measured} of {len(self.rungs)} precisions measured, exit code {self.exit_code}"
        return f"Ladder of {self.name} on {self.images} images of {self.source}", told

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per rung: bytes, accuracies as fractions, milliseconds."""
        return [
            {
                "target": rung.target,
                "precision": rung.name,
                "bytes": rung.bytes,
                "zip_bytes": rung.zip_bytes,
                "status": rung.status,
                "top1": None if rung.accuracy is None else rung.accuracy.top1.value,
                "top1_difference": None if rung.comparison is None else rung.comparison.top1_difference.value,
                "agreement": None if rung.comparison is None else rung.comparison.agreement.value,
                "ms_1_thread": rung.ms_1_thread,
                "ms_2_threads": rung.ms_2_threads,
            }
            for rung in self.rungs
        ]

    @property
    def limits_words(self) -> str:
        """What the mark of a refused rung means, empty without limits."""
        drop, floor = self.max_accuracy_drop, self.min_accuracy
        words = [] if drop is None else [f"drops by more than {drop:g} points"]
        words += [] if floor is None else [f"is right on less than {floor:g} %"]
        return f" ✗: {' or '.join(words)}." if words else ""


def check(
    request: ExportRequest, images: Path | Literal["demo"], *, limit: int | None, runs: int, limits: Limits | None = None
) -> None:
    """Refuse before the long work what its end would refuse: ladder files that stand there, images that cannot be used.

    Raises UsageError, and SourceError for weights that cannot be loaded.
    """
    limits = limits or Limits()
    for option, value in (("--limit", limit), ("--runs", runs)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: it must be at least 1.")
    if limits.max_drop is not None:
        check_limit(limits.max_drop)
    if limits.min_accuracy is not None:
        check_floor(limits.min_accuracy)
    if request.head != "classifier":
        raise UsageError(
            f"A ladder holds classifiers against each other, and --head {request.head} has no classes. Leave it out."
        )
    name = request.name or default_name(request.model_name, request.weights, request.head)
    if name in FILES:
        raise UsageError(f"--name {name} is the name of one of the ladder's own files. Choose another.")
    standing = [file for file in FILES if (request.output / file).exists()]
    if standing and not request.force:
        raise UsageError(f"{request.output / standing[0]} exists. Pass --force to replace it, or choose another --output.")
    folders = [file for file in standing if (request.output / file).is_dir()]
    if folders:
        raise UsageError(f"{request.output / folders[0]} is a folder. Move it away, or choose another --output.")
    source = source_of(request, name)
    if images == "demo":
        found = demo_images(limit or DEMO_COUNT, source.labels)
    else:
        found = limited(read_images(images, num_classes=source.num_classes, labels=source.labels), limit)
    if limits.max_drop is not None:
        check_images(limits.max_drop, len(found.images))


def assemble(
    bundle: Bundle,
    found: Evaluation,
    *,
    runs: int,
    progress: Progress,
    limits: Limits | None = None,
    lost: Sequence[tuple[str, int]] = (),
) -> Ladder:
    """Weigh and time the artifacts, and lay that beside what the evaluation found. Raises ArtifactError as `timed` does.

    `lost`: the rungs that could not be made, each with its exit code.
    """
    limits = limits or Limits()
    max_drop, floor, unfit = limits.max_drop, limits.min_accuracy, limits.unfit(found)
    rows = {row.path: row for row in found.artifacts}
    rungs = []
    for entry in bundle.manifest.artifacts:
        row = rows[entry.path]
        rungs.append(
            Rung(
                target=entry.target,
                precision=entry.precision,
                size_budget=entry.size_budget,
                path=entry.path,
                bytes=entry.size_bytes,
                zip_bytes=zip_size(bundle.path / entry.path),
                status=row.status,
                reason=row.reason,
                executor=row.executor,
                accuracy=row.accuracy,
                comparison=row.comparison,
                within_max_drop=(
                    None
                    if max_drop is None or row.comparison is None or unfit
                    else not exceeds(row.comparison.top1_difference, found.images, max_drop)
                ),
                above_min_accuracy=(
                    None
                    if floor is None or row.accuracy is None
                    else not falls_short(row.accuracy.top1.hits, found.images, floor)
                ),
            )
        )
    began = time.monotonic()
    places = [place for place, rung in enumerate(rungs) if rung.target == "tflite" and rung.status == "MEASURED"]
    if places:
        progress.stage("LiteRT", f"{runs} executions of {len(places)} TFLite files, with 1 and 2 threads")
        for place, (one, two) in zip(places, timed([bundle.path / rungs[place].path for place in places], runs), strict=True):
            rungs[place] = replace(rungs[place], ms_1_thread=one, ms_2_threads=two)
        progress.done("LiteRT", "ready", time.monotonic() - began)
    codes = [code for code in (*(code for _, code in lost), SourceError.exit_code if unfit else 0, found.exit_code) if code]
    return Ladder(
        name=found.name,
        source=found.source,
        images=found.images,
        runs=runs,
        max_accuracy_drop=max_drop,
        min_accuracy=floor,
        reference=found.reference.accuracy,
        rungs=fronted(rungs),
        advice=advise(rungs, found.images, max_drop),
        exit_code=worst(codes) if codes else 0,
        problems=(*(line for line, _ in lost), *([unfit] if unfit else ()), *found.problems),
    )


def zip_size(path: Path) -> int:
    """The bytes of a file or folder as a deflated ZIP archive, which is what is downloaded; the same whenever it is packed."""
    packed = io.BytesIO()
    files = (
        [path]
        if path.is_file()
        else sorted(entry for entry in path.rglob("*") if entry.is_file() and not is_litter(entry.relative_to(path)))
    )
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(path.parent).as_posix(), date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes(), compresslevel=9)
    return len(packed.getbuffer())


def timed(paths: Sequence[Path], runs: int) -> list[tuple[float, float]]:
    """Median ms of one image with one and with two threads, per TFLite file; ArtifactError where LiteRT fails on one."""
    # -P: a folder named like an SDK in the current directory must not be imported in its place.
    command = [sys.executable, "-P", "-m", "squeeze_export.processes.stopwatch", str(runs), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise ArtifactError(
            f"LiteRT could not be timed on {', '.join(path.name for path in paths)}: the process ended with code "
            f"{done.returncode}; its last words: {last[0]}. Run squeeze-export verify on the bundle."
        )
    return [(one, two) for one, two in json.loads(done.stdout.splitlines()[-1])["milliseconds"]]


COLUMNS: Final = (
    *("target", "precision", "size_budget", "path", "bytes", "zip_bytes", "status", "images"),
    *("top1", "top1_low", "top1_high", "top1_difference", "top1_difference_error"),
    *("top5", "top5_low", "top5_high", "top5_difference", "top5_difference_error", "agreement"),
    *("ms_1_thread", "ms_2_threads", "best_accuracy", "best_speed", "within_max_drop", "above_min_accuracy"),
)


def table(ladder: Ladder) -> str:
    """ladder.csv: a header of COLUMNS and a line per rung; fractions from 0 to 1, empty where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rung in ladder.rungs:
        figures: list[object] = []
        for known, difference in (
            (rung.accuracy and rung.accuracy.top1, rung.comparison and rung.comparison.top1_difference),
            (rung.accuracy and rung.accuracy.top5, rung.comparison and rung.comparison.top5_difference),
        ):
            figures += [known.value, known.low, known.high] if known else [None] * 3
            figures += [difference.value, difference.standard_error] if difference else [None] * 2
        writer.writerow(
            [
                *(
                    rung.target,
                    rung.precision,
                    rung.size_budget,
                    rung.path,
                    rung.bytes,
                    rung.zip_bytes,
                    rung.status,
                    ladder.images,
                ),
                *(f"{figure:.6f}" if isinstance(figure, float) else figure for figure in figures),
                f"{rung.comparison.agreement.value:.6f}" if rung.comparison else None,
                *(rung.ms_1_thread, rung.ms_2_threads),
                *("yes" if best else "no" for best in (rung.best_accuracy, rung.best_speed)),
                *(None if kept is None else "yes" if kept else "no" for kept in (rung.within_max_drop, rung.above_min_accuracy)),
            ]
        )
    return text.getvalue()


def read(path: Path) -> Ladder:
    """A ladder.json, its fronts and advice made anew. Raises UsageError where there is none that can be read."""
    import msgspec

    try:
        found = decode(path.read_bytes(), Ladder)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Name the {JSON} that squeeze-export ladder wrote.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no {JSON} of squeeze-export: {error}.") from error
    return replace(found, rungs=fronted(found.rungs), advice=advise(found.rungs, found.images, found.max_accuracy_drop))


def write(output: Path, contents: Mapping[str, bytes], *, others: Literal["stay", "go"] = "go") -> None:
    """Put the ladder's files into `output`, each by a rename, and take away older ones that are not among them.

    A picture of a run before must not stand beside the figures of this one. With `others` "stay" it may. Raises UsageError
    where it cannot be written.
    """
    partial = {name: output / f".{name}.partial" for name in contents}
    try:
        for name, content in contents.items():
            partial[name].write_bytes(content)
        with signals.held():
            for name, path in partial.items():
                path.replace(output / name)
            for name in set(FILES) - set(contents) if others == "go" else ():
                (output / name).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, output) from error
    finally:
        for path in partial.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
