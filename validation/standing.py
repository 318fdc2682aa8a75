"""How the reference stands to the labels of the images: better than a guess, at chance, or right in another order of classes.

A wrong order of labels and wrong preprocessing look alike in one number, accuracy. What tells them apart is in the answers:
read with the classes in the order in which tools number them by mistake, they are right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from squeeze_export.contracts.arrays import Array
    from squeeze_export.validation.accuracy import ClassArray

# An accuracy that guessing reaches in one of twenty cases is not above it, and one within a point of a guess is hardly so. It
# must also be out of reach (one case in a hundred) of a model half way from a guess to all right: few images prove little.
_ABOVE_CHANCE: Final = 0.05
_HARDLY: Final = 0.01
_OUT_OF_REACH: Final = 0.01
# Another order is named only where luck is out of the question, however many were tried.
_NAMED: Final = 0.001
# So many times as often as with the labels as they are: a model that is biased by one class is no proof of wrong labels.
_FAR_BETTER: Final = 2
_CLEARER: Final = 1.5  # so much more often an unnamed order must be right than the best named one, to be the one that is told
_PAIRS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Another order of the classes, in words behind "with", and on how many of `images` the reference is right in it."""

    order: str
    right: int
    images: int

    @property
    def value(self) -> float:
        """The fraction."""
        return self.right / self.images


@dataclass(frozen=True, kw_only=True)
class Standing:
    """On how many of `images` the reference is right; `classes`: how many their labels name; `model_classes`: the model has.

    `at_chance`: no better than a guess, or hardly, and images enough to tell. `fit`: the order of classes in which it is right
    more often than luck allows, None where there is none; `far_better`: so much more often that the labels cannot be in the
    model's order.
    """

    right: int
    images: int
    classes: int
    model_classes: int
    at_chance: bool
    fit: Fit | None = None
    far_better: bool = False

    @property
    def guess(self) -> float:
        """How often a guess is right, as a fraction."""
        return 1 / self.choices

    @property
    def choices(self) -> int:
        """Among how many classes one would guess: those shown; where only one is, all of the model's."""
        return self.classes if self.classes > 1 else self.model_classes

    @property
    def no_better_than_a_guess(self) -> bool:
        """Whether nothing can be held against it: at or below chance on these images, or its labels are in another order."""
        return self.at_chance or self.far_better or self.right * self.choices <= self.images

    def doubt(self, images: str = "images") -> str | None:
        """Why the labels or the preprocessing may not be the model's, None where nothing speaks for it. `images`: their name."""
        fits = f"With {self.fit.order} it is right on {self.fit.right} of {self.fit.images}" if self.fit else None
        if self.at_chance:
            lucky = _tail(self.right, self.images, self.guess) > _ABOVE_CHANCE
            how = "at chance" if lucky else "hardly better than chance"
            told = (
                f"the reference is {how}: it is right on {self.right} of the {self.images} {images}, and {self.guess_words}. "
                "Are these labels, and this preprocessing, the model's?"
            )
            return told if fits is None else f"{told} {fits}: check the order of the labels first."
        if fits is None:
            return None
        return (
            f"the reference is right on {self.right} of the {self.images} {images} with the labels as they are. {fits}. "
            "Are the labels in the order of the model's classes?"
        )

    @property
    def guess_words(self) -> str:
        """What a guess would reach."""
        among = f"the {self.classes} classes that they show" if self.classes > 1 else f"the model's {self.model_classes} classes"
        return f"guessing among {among} is right on {100 * self.guess:.2g} %"


def standing_of(best: ClassArray, labels: ClassArray, num_classes: int, names: tuple[str, ...] | None) -> Standing:
    """Hold the reference's best classes (N,) against the labels (N,) as they are, and against the orders of common mistakes.

    `names`: the labels in class order, or None. ValueError for no images.
    """
    import numpy as np

    images = len(labels)
    if images == 0 or images != len(best):
        raise ValueError(f"{len(best)} answers and {images} labels tell nothing")
    right, classes = int((best == labels).sum()), len(np.unique(labels))
    chance = 1 / (classes if classes > 1 else num_classes)
    hardly = _tail(right, images, chance + _HARDLY) > _ABOVE_CHANCE
    at_chance = hardly and 1 - _tail(right + 1, images, (1 + chance) / 2) < _OUT_OF_REACH
    fit, far_better = None, False
    if classes >= _PAIRS:
        fit, own = _best_order(best, labels, num_classes, names, at_chance=at_chance), _own_order(best, labels)
        if own is not None and own.value > (_CLEARER * fit.value if fit else _FAR_BETTER * right / images):
            fit = own
        far_better = fit is not None and fit.value >= _FAR_BETTER * max(right, 1) / images
    return Standing(
        right=right,
        images=images,
        classes=classes,
        model_classes=num_classes,
        at_chance=at_chance,
        fit=fit,
        far_better=far_better,
    )


def beyond_luck(best: ClassArray, labels: ClassArray, num_classes: int) -> bool:
    """Whether the answers (N,) are right on more of the labels (N,) than luck allows."""
    import numpy as np

    classes = len(np.unique(labels))
    rate = _shuffled(best, labels, 1 / (classes if classes > 1 else num_classes))
    return _tail(int((best == labels).sum()), len(labels), rate) < _NAMED


def _best_order(
    best: ClassArray, labels: ClassArray, num_classes: int, names: tuple[str, ...] | None, *, at_chance: bool
) -> Fit | None:
    import numpy as np

    classes = len(np.unique(labels))
    as_given, found = best == labels, dict[int, list[str]]()
    tried = list(_orders(num_classes, names))
    for order, classes_of in tried:
        read = classes_of[labels]
        hits = best == read
        gained, lost = int((hits & ~as_given).sum()), int((as_given & ~hits).sum())
        by_luck = _tail(int(hits.sum()), len(labels), _shuffled(best, read, 1 / classes)) * len(tried)
        better = gained > lost and (at_chance or _tail(gained, gained + lost, 0.5) * len(tried) < _NAMED)
        if better and by_luck < _NAMED:
            found.setdefault(int(hits.sum()), []).append(order)
    if not found:
        return None
    right = max(found)
    return Fit(order=", or ".join(found[right]), right=right, images=len(labels))


def _orders(num_classes: int, names: tuple[str, ...] | None) -> Iterator[tuple[str, Array]]:
    """Which class each label would be (-1: none), per mistake that tools make, each order once."""
    import numpy as np

    given = np.arange(num_classes)
    as_text = np.asarray(sorted(range(num_classes), key=str))
    orders = [
        ("the model's classes in the order of their numbers as text (0, 1, 10, 11, 2, …)", np.argsort(as_text)),
        ("the labels in the order of their numbers as text (0, 1, 10, 11, 2, …)", as_text),
        ("the labels counted from 1", given - 1),
        ("the model's classes counted from 1", np.where(given + 1 < num_classes, given + 1, -1)),
    ]
    if names is not None:
        for how, key in (("", str), (" without regard to capitals", str.casefold)):
            sorted_names = np.asarray(sorted(range(num_classes), key=lambda place, key=key: key(names[place])))  # type: ignore[misc]
            orders += [
                (f"the model's classes in the order of their sorted names{how}", np.argsort(sorted_names)),
                (f"the labels in the order of their sorted names{how}", sorted_names),
            ]
    orders.append(("the classes in reverse", given[::-1]))
    seen = {given.tobytes()}
    for words, order in orders:
        if order.tobytes() not in seen:
            seen.add(order.tobytes())
            yield words, order


def _own_order(best: ClassArray, labels: ClassArray) -> Fit | None:
    """Whether the answers follow the labels in an order that has no name: found on one half of each class, tried on the other."""
    import numpy as np

    read = np.full(len(labels), -1, np.int32)  # only the halves that are tried
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        read[places[1::2]] = np.bincount(best[places[0::2]]).argmax()
    tried = np.flatnonzero(read >= 0)
    classes = len(np.unique(read[tried]))
    # Of answers that are few, whatever the label, some agree with anything.
    if classes < _PAIRS or 2 * classes < len(np.unique(labels[tried])):
        return None
    right = int((best[tried] == read[tried]).sum())
    if _tail(right, len(tried), _shuffled(best[tried], read[tried], 1 / classes)) >= _NAMED:
        return None
    return Fit(order="an order of classes that was found on the other half of the images", right=right, images=len(tried))


def _shuffled(best: ClassArray, labels: ClassArray, guess: float) -> float:
    """The rate that is luck: a guess among the classes shown, or what these very answers reach with the labels shuffled.

    The lower of the two: a model of a thousand classes has little luck with any, and one whose images are mostly of one class is
    not at chance because it says so.
    """
    import numpy as np

    size = int(max(best.max(), labels.max())) + 1
    answers, shown = (np.bincount(values[values >= 0], minlength=size) for values in (best, labels))
    return min(guess, float((answers * shown).sum()) / len(labels) ** 2)


def _tail(hits: int, images: int, rate: float) -> float:
    """The probability of at least `hits` of `images`, each right with probability `rate`."""
    if hits <= 0:
        return 1.0
    if hits > images or rate <= 0:
        return 0.0
    if rate >= 1:
        return 1.0
    logs = (
        math.lgamma(images + 1)
        - math.lgamma(count + 1)
        - math.lgamma(images - count + 1)
        + count * math.log(rate)
        + (images - count) * math.log1p(-rate)
        for count in range(hits, images + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))
