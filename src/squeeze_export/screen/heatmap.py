"""The agreement matrix as a picture: one PNG that goes into a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import TargetUnavailableError, UsageError
from squeeze_export.sdks import missing

if TYPE_CHECKING:
    from squeeze_export.contracts.agreements import Agreement
    from squeeze_export.verification.comparison import Comparison

_DARKEST_DB, _BRIGHTEST_DB = 20.0, 140.0  # fp32's rounding is near 140 dB; below 20 dB everything is equally bad
_WHITE_BELOW_DB: Final = 90.0


def check_destination(path: Path) -> None:
    """Refuse before any work what could not be drawn: TargetUnavailableError, or UsageError for the place."""
    reason = missing(("matplotlib",), extra="plot")
    if reason is not None:
        raise TargetUnavailableError(f"--plot needs matplotlib: {reason}")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot {path}: the image is a PNG. Give it a name that ends in .png.")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {path}: the folder {path.parent} does not exist.")
    if path.is_dir():
        raise UsageError(f"--plot {path} is a folder. Name a file.")


def draw(found: Comparison, path: Path) -> None:
    """Write the SNR of every pair as colour, with error and agreement in words; the bytes follow from `found` alone."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [subject.name for subject in found.subjects]
    size = len(names)
    values = np.full((size, size), math.nan)
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            together = found.between(first, second)
            if together is not None:
                values[row, column] = _decibel(together)
    figure = Figure(figsize=(2.2 + 1.25 * size, 1.6 + 0.95 * size), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(np.clip(values, _DARKEST_DB, _BRIGHTEST_DB), cmap="viridis", vmin=_DARKEST_DB, vmax=_BRIGHTEST_DB)
    ticks = [name.replace(" ", "\n") for name in names]
    axes.set_xticks(range(size), ticks)
    axes.set_yticks(range(size), ticks)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            together = found.between(first, second)
            if together is not None:
                dark = _decibel(together) < _WHITE_BELOW_DB
                words = "\n".join(cell(together))
                axes.text(column, row, words, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
            elif row != column:
                axes.text(column, row, "not\nexecuted", ha="center", va="center", fontsize=7.5, color="black")
    kind = next((pair.agreement.observed for pair in found.pairs), found.output)
    figure.colorbar(image, ax=axes, label=f"SNR of the {kind}, dB", shrink=0.8)
    figure.suptitle(f"{found.name}: agreement on {len(found.images)} images", fontsize=11)
    try:
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise UsageError(f"--plot {path} cannot be written: {error.strerror}.") from error


def cell(together: Agreement) -> tuple[str, ...]:
    """SNR, largest error, and top-1 / top-5 agreement of one pair, a line each."""
    if together.max_abs_error == 0:
        return ("identical",)
    snr = "–" if together.snr_db is None else f"{together.snr_db:.1f} dB"
    lines = [snr, f"{together.max_abs_error:.1e}"]
    if together.top1_agreement is not None and together.top5_agreement is not None:
        lines.append(f"{100 * together.top1_agreement:.0f}/{100 * together.top5_agreement:.0f} %")
        if together.top1_ties:
            lines.append(f"{together.top1_ties} tied")
    return tuple(lines)


def _decibel(together: Agreement) -> float:
    if together.snr_db is None:
        return _BRIGHTEST_DB if together.max_abs_error == 0 else _DARKEST_DB
    return together.snr_db
