"""The precision ladder as a picture: accuracy against bytes, and time against bytes, each with the platforms' Pareto fronts."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.bundle.manifest import encode
from squeeze_export.errors import TargetUnavailableError
from squeeze_export.ladders.ladder import CSV, JSON, PNG, read, table, write
from squeeze_export.ladders.rungs import PLATFORMS
from squeeze_export.sdks import missing

if TYPE_CHECKING:
    from pathlib import Path

    from squeeze_export.contracts.artifact import Target
    from squeeze_export.ladders.ladder import Ladder
    from squeeze_export.ladders.rungs import Rung

_COLOURS: Final[dict[Target, str]] = {"coreml": "#0072b2", "tflite": "#d55e00", "torchscript": "#009e73", "onnx": "#cc79a7"}
_MARKERS: Final[dict[Target, str]] = {"coreml": "o", "tflite": "s", "torchscript": "^", "onnx": "D"}
_NEUTRAL: Final = "#555555"
_SHOWN_POINTS: Final = 12.0  # of accuracy, below the best
_FONT: Final = 7.5
# Where a name may stand: points away from the edge of its marker, and directions, the nearest and most usual first.
_DISTANCES: Final = (5.0, 9.0, 16.0, 26.0, 38.0, 52.0)
_DIRECTIONS: Final = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))


def unavailable() -> str | None:
    """Why no picture can be drawn (naming the remedy), or None."""
    return missing(("matplotlib",), extra="plot")


def files_of(ladder: Ladder) -> dict[str, bytes]:
    """Everything that stands beside a ladder's bundle, by name; the picture only where one can be drawn."""
    files = {CSV: table(ladder).encode(), JSON: encode(ladder)}
    return files if unavailable() else {**files, PNG: draw(ladder)}


def redraw(path: Path) -> tuple[Ladder, Path]:
    """Draw the picture of a ladder.json beside it; what it holds, and where the picture stands.

    Raises UsageError where it cannot be read or the picture not be written, TargetUnavailableError without matplotlib.
    """
    reason = unavailable()
    if reason is not None:
        raise TargetUnavailableError(f"--redraw needs matplotlib: {reason}")
    found = read(path)
    write(path.parent, {PNG: draw(found)}, others="stay")
    return found, path.parent / PNG


def draw(ladder: Ladder) -> bytes:
    """A PNG whose bytes follow from `ladder` alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    spots = {left: _accuracy(left, ladder), right: _speed(right, ladder)}
    for axes, own in spots.items():
        axes.set_xlabel("file, MB")
        axes.grid(alpha=0.25)
        if own:
            _by_size(axes, [spot.x for spot in own])
    figure.suptitle(f"{ladder.name}: precision ladder on {ladder.images} images", fontsize=12)
    if ladder.advised:
        figure.supxlabel("\n".join(ladder.advised), fontsize=9, x=0.02, ha="left", multialignment="left", color=_NEUTRAL)
    figure.draw_without_rendering()  # where a point comes to lie is known only now
    figure.set_layout_engine("none")
    for axes, own in spots.items():
        _name(axes, own)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A point of the picture and what it is called."""

    x: float
    y: float
    words: str
    colour: str


def _accuracy(axes: Any, ladder: Ladder) -> list[_Spot]:
    axes.set_title("accuracy against bytes (± standard error of the paired difference)", fontsize=10)
    axes.set_ylabel("top-1, %")
    rungs = [rung for rung in ladder.rungs if rung.accuracy is not None]
    # One rung that is good for nothing must not press all others into a line: it stands at the edge, with its figure.
    highest = max((_top1(rung) for rung in rungs), default=0.0)
    floor = max(min((_top1(rung) for rung in rungs), default=0.0), highest - _SHOWN_POINTS)
    spots = []
    for target in dict.fromkeys(rung.target for rung in rungs):
        own = [rung for rung in rungs if rung.target == target]
        places = [(rung.bytes / 1e6, max(_top1(rung), floor)) for rung in own]
        axes.plot(*zip(*places, strict=True), _MARKERS[target], color=_COLOURS[target], label=target, alpha=0.85)
        for rung, (x, y) in zip(own, places, strict=True):
            error = _error(rung)
            if error and _top1(rung) >= floor:
                axes.errorbar(x, y, yerr=error, fmt="none", ecolor=_COLOURS[target], elinewidth=0.8, alpha=0.45, zorder=0)
            words = rung.name if _top1(rung) >= floor else f"{rung.name} ↓ {_top1(rung):.1f} %"
            spots.append(_Spot(x=x, y=y, words=words, colour=_COLOURS[target]))
    if rungs:
        shown = [(_top1(rung), _error(rung)) for rung in rungs if _top1(rung) >= floor]
        lows, highs = [floor, *(top1 - error for top1, error in shown)], [top1 + error for top1, error in shown]
        if ladder.reference is not None:  # so many images cannot tell apart what lies within its interval
            lows.append(100 * ladder.reference.top1.low)
            highs.append(100 * ladder.reference.top1.high)
        room = 0.06 * max(max(highs) - min(lows), 1.0)
        axes.set_ylim(min(lows) - room, max(highs) + 2 * room)
    for platform, targets in PLATFORMS.items():
        own = [rung for rung in rungs if rung.target in targets]
        best = sorted((rung.bytes / 1e6, _top1(rung)) for rung in own if rung.best_accuracy)
        if best:
            label = f"Pareto front, {platform}"
            _front(axes, best, max(rung.bytes for rung in own) / 1e6, label, _COLOURS[targets[0]])
    if ladder.reference is not None:
        top1 = ladder.reference.top1
        low, value, high = (100 * share for share in (top1.low, top1.value, top1.high))
        axes.axhline(value, color="black", lw=0.8, ls=":", zorder=0, label=f"reference {value:.1f} %, 95 % interval")
        axes.axhspan(low, high, color="black", alpha=0.06, lw=0, zorder=-1)
    if rungs:
        axes.legend(fontsize=8, loc="lower right")
    return spots


def _speed(axes: Any, ladder: Ladder) -> list[_Spot]:
    axes.set_title(f"time against bytes: LiteRT here, median of {ladder.runs}", fontsize=10)
    axes.set_ylabel("ms per image")
    rungs = [rung for rung in ladder.rungs if rung.ms_1_thread is not None and rung.ms_2_threads is not None]
    if not rungs:
        axes.text(0.5, 0.5, "no TFLite file to time", ha="center", va="center", transform=axes.transAxes)
        return []
    colour = _COLOURS["tflite"]
    sizes = [rung.bytes / 1e6 for rung in rungs]
    axes.plot(sizes, [rung.ms_1_thread for rung in rungs], "s", color=colour, label="tflite, 1 thread")
    axes.plot(sizes, [rung.ms_2_threads for rung in rungs], "s", color=colour, mfc="none", label="tflite, 2 threads")
    best = sorted((rung.bytes / 1e6, rung.ms_1_thread or 0.0) for rung in rungs if rung.best_speed)
    _front(axes, best, max(sizes), "Pareto front, 1 thread", colour)
    axes.set_ylim(0, 1.2 * max(max(rung.ms_1_thread or 0.0, rung.ms_2_threads or 0.0) for rung in rungs))
    axes.legend(fontsize=8, loc="lower right")
    return [_Spot(x=rung.bytes / 1e6, y=rung.ms_1_thread or 0.0, words=rung.name, colour=colour) for rung in rungs]


def _by_size(axes: Any, sizes: Sequence[float]) -> None:
    """Each doubling takes the same room: the small rungs are what the ladder is about."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.35)
    powers = range(math.floor(math.log2(min(sizes) / 1.35)), math.ceil(math.log2(max(sizes) * 1.35)) + 1)
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in powers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))


def _front(axes: Any, best: Sequence[tuple[float, float]], largest: float, label: str, colour: str) -> None:
    """Draw what is reached at each size as steps, on to the largest file: beyond its last rung the front stays as it is."""
    points = [*best, (largest, best[-1][1])]
    axes.plot(*zip(*points, strict=True), drawstyle="steps-post", color=colour, lw=1, alpha=0.6, zorder=0, label=label)


def _name(axes: Any, spots: Sequence[_Spot]) -> None:
    """Write what each point is beside it, where neither a point nor another name stands; a thin line leads there from afar."""
    scale = axes.figure.dpi / 72
    half = 4.5 * scale
    points = [tuple(axes.transData.transform((spot.x, spot.y))) for spot in spots]
    marked = [point for line in axes.lines if line.get_marker() in _MARKERS.values() for point in line.get_xydata()]
    taken = [(x - half, y - half, x + half, y + half) for x, y in (axes.transData.transform(point) for point in marked)]
    inside = axes.bbox
    for line in axes.lines:
        if line.get_drawstyle() == "steps-post":
            corners = axes.transData.transform(line.get_xydata())
            for (x, y), (further, other) in itertools.pairwise(corners):
                taken.append((x, y - 1, further, y + 1))
                taken.append((further - 1, min(y, other), further + 1, max(y, other)))
    legend = axes.get_legend()
    if legend is not None:
        box = legend.get_window_extent()
        taken.append((box.x0, box.y0, box.x1, box.y1))
    for spot, (x, y) in sorted(zip(spots, points, strict=True), key=lambda known: (known[0].x, known[0].y, known[0].words)):
        wide, high = 0.3 * _FONT * scale * len(spot.words), 0.6 * _FONT * scale
        for far, (right, up) in itertools.product(_DISTANCES, _DIRECTIONS):
            middle = x + right * (far * scale + wide), y + up * (far * scale + high)
            frame = (middle[0] - wide, middle[1] - high, middle[0] + wide, middle[1] + high)
            free = all(frame[2] < o[0] or o[2] < frame[0] or frame[3] < o[1] or o[3] < frame[1] for o in taken)
            if free and inside.x0 < frame[0] and frame[2] < inside.x1 and inside.y0 < frame[1] and frame[3] < inside.y1:
                break
        else:
            far, middle, frame = _DISTANCES[0], (x, y + 8 * scale), (x, y, x, y)  # so many that some must overlap
        taken.append(frame)
        axes.annotate(
            spot.words,
            (x, y),
            xycoords="figure pixels",
            xytext=middle,
            textcoords="figure pixels",
            ha="center",
            va="center",
            fontsize=_FONT,
            color=spot.colour,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": spot.colour} if far > _DISTANCES[1] else None,
        )


def _top1(rung: Rung) -> float:
    assert rung.accuracy is not None
    return 100 * rung.accuracy.top1.value


def _error(rung: Rung) -> float:
    """The standard error of the paired difference in points; 0 where there is none to show."""
    return 100 * (rung.comparison.top1_difference.standard_error or 0.0) if rung.comparison else 0.0
