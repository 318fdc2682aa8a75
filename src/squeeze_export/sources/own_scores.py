"""`--reference FILE`: the user's own scores of some images, compared with the source model's before anything is exported.

It answers the question that no comparison of artifacts with the source can answer: is the source, with these weights, this
preprocessing and this head, the model that was trained? Nothing here knows a network: the caller says what else it could be.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from squeeze_export.errors import SourceError, UsageError

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

OPTION: Final = "--reference"
# The same network with the same pixels differs by rounding, 1e-5 and less. Above NOTED something is another: what explains it,
# such as the other head, is refused at any size; another library's resize explains up to ALLOWED
# (docs/how-to/reference-scores.md).
NOTED: Final = 1e-3
ALLOWED: Final = 0.1
_SUMS: Final = 1e-3  # how far rows of probabilities may be from 1: they were written with some digits
_LISTED: Final = 5
_LARGEST: Final = 256 * 1024 * 1024
_SCORES: Final[Mapping[str, Literal["logits", "probabilities"] | None]] = {
    "scores": None,
    "outputs": None,
    "logits": "logits",
    "probabilities": "probabilities",
}


@dataclass(frozen=True, kw_only=True)
class OwnScores:
    """What the file holds: `values` (N, classes) float64 of the images `names`; `kind`: what they are."""

    names: tuple[str, ...]
    values: Array
    kind: Literal["logits", "probabilities"]
    sha256: str

    def first(self, count: int) -> OwnScores:
        """The scores of the first images only."""
        return replace(self, names=self.names[:count], values=self.values[:count])

    def probabilities(self) -> Array:
        """The values as probabilities, (N, classes) float64."""
        return self.values if self.kind == "probabilities" else softmax(self.values)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the source is from the scores: the largest difference of a probability, its image, and top-1 agreement."""

    images: int
    max_probability_error: float
    worst_image: str
    top1_agreement: float


def softmax(logits: Array) -> Array:
    """Rows of logits (N, classes) as probabilities, in float64."""
    import numpy as np

    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result


def read_scores(path: Path, num_classes: int, labels: Sequence[str] | None) -> OwnScores:
    """Read an .npz or .csv file of scores; UsageError where it cannot be read, SourceError where its classes are not the model's.

    npz: `names`, and one of `scores`, `logits`, `probabilities` (N, classes), or an array per image under its name. csv: the
    image's name, then a score per class in index order, or in the order of a header of labels.
    """
    import numpy as np

    data = _content(path)
    rows, stated = _from_npz(path, data) if data[:2] == b"PK" else (_from_csv(path, data, labels), None)
    if not rows:
        raise UsageError(f"{OPTION} {path} has no scores: give one row per image.")
    widths = sorted({len(row) for row in rows.values()})
    if widths != [num_classes]:
        raise SourceError(
            f"{OPTION} {path} has {' and '.join(map(str, widths))} scores per image, the model has {num_classes} classes. "
            "Give one score per class, in index order."
        )
    values = np.stack([np.asarray(row, np.float64) for row in rows.values()])
    broken = [name for name, row in zip(rows, values, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise UsageError(f"{OPTION} {path} has scores that are no finite numbers, of {_some(broken)}.")
    return OwnScores(names=tuple(rows), values=values, kind=_kind(path, values, stated), sha256=hashlib.sha256(data).hexdigest())


def scores_in_memory(values: Array, names: Sequence[str], num_classes: int) -> OwnScores:
    """Finite scores (N, classes) float64 of the images `names`; SourceError where their classes are not the model's."""
    if values.shape[1] != num_classes:
        raise SourceError(
            f"{OPTION} has {values.shape[1]} scores per image, the model has {num_classes} classes. "
            "Give one score per class, in index order."
        )
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    return OwnScores(names=tuple(names), values=values, kind=_kind("in memory", values, None), sha256=digest)


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise UsageError(f"{OPTION} {path} {'is not a file' if path.exists() else 'does not exist'}: give an .npz or .csv file.")
    if path.stat().st_size > _LARGEST:
        raise UsageError(f"{OPTION} {path} has {path.stat().st_size:,} bytes. Some hundred images are enough.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{OPTION} {path} cannot be read: {error.strerror}.") from error


def _from_npz(path: Path, data: bytes) -> tuple[dict[str, Sequence[float]], Literal["logits", "probabilities"] | None]:
    import numpy as np

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # zip, header and dtype errors all mean the same here
        raise UsageError(
            f"{OPTION} {path} cannot be read as .npz ({error}). Write it with numpy.savez(path, names=[...], scores=scores)."
        ) from error
    if "names" not in arrays:
        return {name: array.reshape(-1) for name, array in arrays.items()}, None
    found = [name for name in _SCORES if name in arrays]
    if len(found) != 1:
        raise UsageError(
            f"{OPTION} {path} has the arrays {', '.join(arrays)}: beside names one of {', '.join(_SCORES)} is needed."
        )
    names, scores = [str(name) for name in arrays["names"].reshape(-1)], arrays[found[0]]
    if scores.ndim != 2 or len(scores) != len(names):
        raise UsageError(
            f"{OPTION} {path}: {found[0]} has shape {scores.shape} for {len(names)} names; (images, classes) is needed."
        )
    if len(set(names)) < len(names):
        raise UsageError(
            f"{OPTION} {path} names an image twice: {_some(sorted(name for name in names if names.count(name) > 1))}."
        )
    return dict(zip(names, scores, strict=True)), _SCORES[found[0]]


def _from_csv(path: Path, data: bytes, labels: Sequence[str] | None) -> dict[str, Sequence[float]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{OPTION} {path} is neither .npz nor UTF-8 text.") from error
    lines = text.splitlines()
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    rows = [(number, row) for number, row in enumerate(csv.reader(lines, delimiter=delimiter), start=1) if any(row)]
    order: list[int] | None = None
    if rows and _is_header(rows[0][1][1:]):
        header = [cell.strip() for cell in rows.pop(0)[1][1:]]
        if labels is not None and set(header) == set(labels) and len(header) == len(labels):
            order = [header.index(label) for label in labels]
        elif not all(cell.isdigit() for cell in header) and labels is not None and set(header) & set(labels):
            odd = [cell for cell in header if cell not in labels]
            raise SourceError(f"{OPTION} {path}: its header names classes that are not among the labels: {_some(odd)}.")
    found: dict[str, Sequence[float]] = {}
    for number, row in rows:
        name = row[0].strip().replace("\\", "/")
        odd = [cell for cell in row[1:] if not _number(cell)]
        if not name or odd:
            raise UsageError(f"{OPTION} {path}, line {number}: {'no image name' if not name else f'{odd[0]!r} is no number'}.")
        if name in found:
            raise UsageError(f"{OPTION} {path}, line {number} names {name} a second time.")
        values = [float(cell) for cell in row[1:]]
        found[name] = values if order is None or len(values) != len(order) else [values[place] for place in order]
    return found


def _is_header(cells: Sequence[str]) -> bool:
    """Whether these are names of classes, or their indices, and no scores."""
    counted = [str(index) for index in range(len(cells))]
    return not all(map(_number, cells)) or [cell.strip() for cell in cells] in (counted, [*counted[1:], str(len(cells))])


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _kind(
    path: Path | str, values: Array, stated: Literal["logits", "probabilities"] | None
) -> Literal["logits", "probabilities"]:
    like = bool((values >= 0).all() and (values <= 1 + _SUMS).all() and (abs(values.sum(axis=1) - 1) <= _SUMS).all())
    if stated == "probabilities" and not like:
        raise SourceError(
            f"{OPTION} {path} calls its scores probabilities, but they are not: rows do not sum to 1. Name them logits."
        )
    return stated or ("probabilities" if like else "logits")


def image_files(folder: Path, names: Iterable[str], path: Path) -> list[Path]:
    """The files that the scores are of, below `folder`; UsageError naming those that are not there."""
    wanted = {name: folder / name for name in names}
    absent = [name for name, file in wanted.items() if not file.is_file()]
    if absent:
        raise UsageError(
            f"{OPTION} {path} names images that are not in {folder}: {_some(absent)} ({len(absent)} of {len(wanted)}). "
            "Names are relative to --images, with their ending."
        )
    return list(wanted.values())


def agreement(own: OwnScores, probabilities: Array) -> Agreement:
    """Compare probabilities (N, classes) of the source with the user's."""
    import numpy as np

    theirs = own.probabilities()
    errors = np.abs(theirs - probabilities).max(axis=1)
    worst = int(errors.argmax())
    return Agreement(
        images=len(own.names),
        max_probability_error=float(errors[worst]),
        worst_image=own.names[worst],
        top1_agreement=float((theirs.argmax(axis=1) == probabilities.argmax(axis=1)).mean()),
    )


def check(
    own: OwnScores,
    path: Path | None,
    mine: Array,
    others: Mapping[str, Callable[[], Array]],
    labels: Sequence[str] | None,
) -> tuple[Agreement, tuple[str, ...]]:
    """Compare the source with the scores: what was found, and notes. SourceError where they are of another model.

    `path`: of the file, None of scores in memory. `mine`: the probabilities of the source as it was asked for. `others`: by a
    few words, those of what else it could be, on the first images or all; they are computed only to name the likely cause.
    `labels`: to try whether only the order of the classes differs.
    """
    found = agreement(own, mine)
    said = (
        f"{OPTION}: on {found.images} images the largest difference of a probability is {found.max_probability_error:.1e} "
        f"({found.worst_image}), the same top-1 on {found.top1_agreement:.0%}; the given scores were read as {own.kind}"
    )
    if found.max_probability_error <= NOTED:
        return found, (said,)
    words, best = _closest(own, mine, others, labels)
    explained = best is not None and best.max_probability_error <= max(NOTED, found.max_probability_error / 10)
    if found.max_probability_error <= ALLOWED and not explained:
        return found, (f"{said}. That is more than rounding: is your resize or JPEG decoder another one?",)
    cause = (
        f"It does with {words}: the difference is {best.max_probability_error:.1e} then."
        if explained and best is not None
        else f"Check weights, preprocessing and head: none of {', '.join(others)} explains it."
    )
    told = "given" if path is None else f"in {path}"
    raise SourceError(
        f"The source model does not give the scores {told}: on {found.worst_image} a probability differs "
        f"by {found.max_probability_error:.3g}, top-1 is the same on {found.top1_agreement:.0%} of {found.images} images. The "
        f"given scores were read as {own.kind}. Nothing was exported. {cause}"
    )


def _closest(
    own: OwnScores, mine: Array, others: Mapping[str, Callable[[], Array]], labels: Sequence[str] | None
) -> tuple[str, Agreement | None]:
    """What else the source could be that comes closest to the scores, in words, and how close."""
    answers = {words: compute() for words, compute in others.items()}
    tried = {words: agreement(own.first(len(answer)), answer) for words, answer in answers.items()}
    tried |= {words: agreement(own, mine[:, order]) for words, order in _orders(mine.shape[1], labels).items()}
    if own.kind == "logits":
        tried["the scores taken as they are, already probabilities"] = agreement(replace(own, kind="probabilities"), mine)
    return min(tried.items(), key=lambda entry: entry[1].max_probability_error, default=("", None))


def _orders(classes: int, labels: Sequence[str] | None) -> dict[str, list[int]]:
    orders = {
        "the classes in the order of their numbers as text (0, 1, 10, 11, 2, as ImageFolder sorts them)": sorted(
            range(classes), key=str
        ),
        "the classes counted from 1": [(index - 1) % classes for index in range(classes)],
        "the classes in reverse order": list(range(classes))[::-1],
    }
    if labels is not None:
        orders["the classes sorted by their labels"] = sorted(range(classes), key=lambda index: labels[index])
    return {words: order for words, order in orders.items() if order != list(range(classes))}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
