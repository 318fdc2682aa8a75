"""The precision ladder as a picture: accuracy against bytes, and time against bytes, each with its Pareto front."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.sdks import missing

if TYPE_CHECKING:
    from squeeze_export.contracts import Target
    from squeeze_export.ladder import Ladder, Rung

_COLOURS: Final[dict[Target, str]] = {"coreml": "#0072b2", "tflite": "#d55e00", "torchscript": "#009e73", "onnx": "#cc79a7"}
_MARKERS: Final[dict[Target, str]] = {"coreml": "o", "tflite": "s", "torchscript": "^", "onnx": "D"}
_FRONT: Final = "#555555"


def unavailable() -> str | None:
    """Why no picture can be drawn (naming the remedy), or None."""
    return missing(("matplotlib",), extra="plot")


def draw(ladder: Ladder) -> bytes:
    """A PNG whose bytes follow from `ladder` alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _accuracy(left, ladder)
    _speed(right, ladder)
    for axes in (left, right):
        axes.set_xlabel("file, MB")
        axes.grid(alpha=0.25)
        axes.margins(x=0.14, y=0.16)
    figure.suptitle(f"{ladder.name}: precision ladder on {ladder.images} images", fontsize=12)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def _accuracy(axes: Any, ladder: Ladder) -> None:
    axes.set_title("accuracy against bytes", fontsize=10)
    axes.set_ylabel("top-1, %")
    rungs = [rung for rung in ladder.rungs if rung.accuracy is not None]
    for target in dict.fromkeys(rung.target for rung in rungs):
        own = [(rung.bytes / 1e6, _top1(rung)) for rung in rungs if rung.target == target]
        axes.plot(*zip(*own, strict=True), _MARKERS[target], color=_COLOURS[target], label=target, alpha=0.85)
    best = sorted((rung.bytes / 1e6, _top1(rung)) for rung in rungs if rung.best_accuracy)
    if best:
        _front(axes, best, max(rung.bytes for rung in rungs) / 1e6, "Pareto front")
    if ladder.reference is not None:
        value = 100 * ladder.reference.top1.value
        axes.axhline(value, color="black", lw=0.8, ls=":", zorder=0, label=f"reference {value:.1f} %")
    _name(axes, [(rung.bytes / 1e6, _top1(rung), rung.precision, _COLOURS[rung.target]) for rung in rungs])
    if rungs:
        axes.legend(fontsize=8, loc="best")


def _speed(axes: Any, ladder: Ladder) -> None:
    axes.set_title(f"time against bytes: LiteRT here, median of {ladder.runs}", fontsize=10)
    axes.set_ylabel("ms per image")
    rungs = [rung for rung in ladder.rungs if rung.ms_1_thread is not None and rung.ms_2_threads is not None]
    if not rungs:
        axes.text(0.5, 0.5, "no TFLite file to time", ha="center", va="center", transform=axes.transAxes)
        return
    colour = _COLOURS["tflite"]
    sizes = [rung.bytes / 1e6 for rung in rungs]
    axes.plot(sizes, [rung.ms_1_thread for rung in rungs], "s", color=colour, label="tflite, 1 thread")
    axes.plot(sizes, [rung.ms_2_threads for rung in rungs], "s", color=colour, mfc="none", label="tflite, 2 threads")
    best = sorted((rung.bytes / 1e6, rung.ms_1_thread or 0.0) for rung in rungs if rung.best_speed)
    _front(axes, best, max(sizes), "Pareto front, 1 thread")
    _name(axes, [(rung.bytes / 1e6, rung.ms_1_thread or 0.0, rung.precision, colour) for rung in rungs])
    axes.set_ylim(0, 1.2 * max(max(rung.ms_1_thread or 0.0, rung.ms_2_threads or 0.0) for rung in rungs))
    axes.legend(fontsize=8, loc="best")


def _front(axes: Any, best: Sequence[tuple[float, float]], largest: float, label: str) -> None:
    """Draw what is reached at each size as steps, on to the largest file: beyond its last rung the front stays as it is."""
    points = [*best, (largest, best[-1][1])]
    axes.plot(*zip(*points, strict=True), drawstyle="steps-post", color=_FRONT, lw=1, zorder=0, label=label)


def _name(axes: Any, spots: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each point's precision beside it; points that lie close take turns above and below."""
    heights = (7, -13, 18, -24)
    wide = (max(spot[0] for spot in spots) - min(spot[0] for spot in spots)) if spots else 0.0
    near: list[tuple[float, int]] = []
    for x, y, words, colour in sorted(spots):
        taken = {turn for other, turn in near if x - other < 0.09 * wide}
        turn = next((turn for turn in range(len(heights)) if turn not in taken), 0)
        near.append((x, turn))
        axes.annotate(
            words, (x, y), xytext=(0, heights[turn]), textcoords="offset points", ha="center", fontsize=7.5, color=colour
        )


def _top1(rung: Rung) -> float:
    assert rung.accuracy is not None
    return 100 * rung.accuracy.top1.value
