"""The walk of one ladder: every rung that can be exported, evaluated, weighed and timed, and its files put beside the bundle."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from squeeze_export.contracts.options.types import check_forms
from squeeze_export.contracts.request import ExportRequest, Progress
from squeeze_export.contracts.source import is_published, is_squeezenet
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.report import Evaluation
from squeeze_export.evaluation.run import Watcher
from squeeze_export.evaluation.walk import EvaluationRequest, evaluate
from squeeze_export.ladders import ladder as ladders
from squeeze_export.ladders.ladder import Ladder, Limits
from squeeze_export.pipeline.plan import plan
from squeeze_export.pipeline.results import Bundle
from squeeze_export.pipeline.walk import export

_FORMS: Final = {
    "export": ((ExportRequest,), 'export=ExportRequest(targets=("tflite",), output="ladder")'),
    "images": ((str, Path), 'images="photos", a folder of labelled images, or "demo"'),
    "limit": ((int,), "limit=200"),
    "runs": ((int,), "runs=50"),
    "workers": ((int,), "workers=4"),
    "cache": ((str, Path), 'cache="answers.sqlite3", a file'),
}


@dataclass(frozen=True, kw_only=True)
class LadderRequest:
    """What a user can ask of one ladder.

    `export`: targets, precisions, weights and where it all goes; its limits of accuracy mark rungs, they refuse none, and no
    starters are made. `images`: a folder of labelled images, or "demo". `limit`: at most so many images, evenly spread. `runs`:
    of how many executions a time is the median. `workers`: how many processes evaluate at a time; None takes the cores. `cache`:
    the file of what was computed before; None for none.
    """

    export: ExportRequest
    images: Path | Literal["demo"]
    limit: int | None = None
    runs: int = 50
    workers: int | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Take a string for a path; UsageError for what is neither."""
        check_forms(self, _FORMS)
        if isinstance(self.images, str) and self.images != "demo":
            object.__setattr__(self, "images", Path(self.images))

    @property
    def limits(self) -> Limits:
        """A rung that drops more, or is below the floor, is marked, not refused."""
        return Limits(max_drop=self.export.max_accuracy_drop, min_accuracy=self.export.min_accuracy)

    @property
    def rungs(self) -> ExportRequest:
        """The export of all rungs: what can be made is made, without starters, and judged by the ladder's limits only."""
        return replace(
            self.export,
            starters=(),
            images=None if self.images == "demo" else Path(self.images),
            max_accuracy_drop=None,
            min_accuracy=None,
            keep_going=True,
        )


def check(request: LadderRequest) -> None:
    """Refuse before the long work what its end would refuse.

    Raises UsageError, and SourceError for weights that cannot be loaded.
    """
    if request.export.best:
        raise UsageError("A ladder shows every precision, and best leaves one. Write --precision ladder, or export with best.")
    plan(request.rungs)
    ladders.check(request.rungs, request.images, limit=request.limit, runs=request.runs, limits=request.limits)


def make_rungs(request: LadderRequest, progress: Progress) -> Bundle:
    """The bundle of all rungs that can be made; its manifest names the others as missing. ExportFailed if none can be made."""
    return export(request.rungs, progress)


def climb(
    request: LadderRequest,
    bundle: Bundle,
    watcher: AbstractContextManager[Watcher],
    progress: AbstractContextManager[Progress],
) -> tuple[Evaluation, Ladder]:
    """Evaluate, weigh and time the rungs of a bundle; `watcher` is entered for the evaluation, `progress` for the times."""
    wanted, weights = request.export, request.export.weights
    named = isinstance(weights, Path) or is_published(wanted.model_name, weights)
    other = not is_squeezenet(wanted.model_name)
    with watcher as watching:
        found = evaluate(
            EvaluationRequest(
                bundle=bundle.path,
                images=request.images,
                weights=str(weights.absolute() if isinstance(weights, Path) else weights) if named else None,
                model=wanted.model if other else None,
                model_arguments=wanted.model_arguments,
                checkpoint_key=wanted.checkpoint_key if other else None,
                limit=request.limit,
                workers=request.workers,
                cache=request.cache,
            ),
            watching,
        )
    lost = tuple((record.reason, record.exit_code) for record in bundle.manifest.missing)
    with progress as lines:
        climbed = ladders.assemble(bundle, found, runs=request.runs, limits=request.limits, progress=lines, lost=lost)
    return found, climbed
