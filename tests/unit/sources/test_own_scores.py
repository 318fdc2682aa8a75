"""The user's own scores, compared with what the source gives."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources import own_scores

LABELS = ("cat", "ant", "dog", "bee")
NAMES = ["1.png", "b/2.png", "3.png"]
LOGITS = np.array([[4.0, 1.0, 0.5, -2.0], [0.1, 3.0, 0.2, 0.3], [-1.0, 0.0, 2.5, 2.0]])
PROBABILITIES = own_scores.softmax(LOGITS)


def table(path, rows, header=None, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        if header:
            writer.writerow(header)
        writer.writerows([name, *row] for name, row in zip(NAMES, rows, strict=True))
    return path


def read(path):
    return own_scores.read_scores(path, 4, LABELS)


@pytest.mark.parametrize("how", ["names", "per image", "csv", "semicolons", "header of labels", "header of numbers"])
def test_every_form_gives_the_same_scores(tmp_path, how):
    path = tmp_path / "scores"
    if how == "names":
        np.savez(tmp_path / "scores", names=NAMES, logits=LOGITS.astype(np.float32))
        path = tmp_path / "scores.npz"
    elif how == "per image":
        np.savez(tmp_path / "scores", **dict(zip(NAMES, LOGITS, strict=True)))
        path = tmp_path / "scores.npz"
    elif how == "header of labels":
        table(path, LOGITS[:, [1, 3, 0, 2]], ["file", "ant", "bee", "cat", "dog"])
    elif how == "header of numbers":
        table(path, LOGITS, ["file", "0", "1", "2", "3"])
    else:
        table(path, LOGITS, delimiter=";" if how == "semicolons" else ",")
    own = read(path)
    assert (list(own.names), own.kind) == (NAMES, "logits")
    assert np.allclose(own.values, LOGITS)
    assert np.allclose(own.probabilities(), PROBABILITIES)


def test_probabilities_are_told_from_logits_and_a_wrong_word_is_refused(tmp_path):
    assert read(table(tmp_path / "p.csv", PROBABILITIES)).kind == "probabilities"
    np.savez(tmp_path / "wrong", names=NAMES, probabilities=LOGITS)
    with pytest.raises(SourceError, match="calls its scores probabilities, but they are not"):
        read(tmp_path / "wrong.npz")


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "s.csv"
    for text, told in (
        ("", "has no scores"),
        ("a.png,5,2,3,4\nb.png,1,2,x,4\n", "line 2: 'x' is no number"),
        ("a.png,5,2,3,4\na.png,1,2,3,4\n", "line 2 names a.png a second time"),
        (",5,2,3,4\n", "line 1: no image name"),
        ("a.png,5,2,nan,4\n", "no finite numbers"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=told):
            read(path)
    path.write_text("a.png,5,2,3\n")
    with pytest.raises(SourceError, match="has 3 scores per image, the model has 4 classes"):
        read(path)
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4nonsense")
    with pytest.raises(UsageError, match=r"numpy\.savez"):
        read(tmp_path / "bad.npz")
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"1\.png, b/2\.png, 3\.png \(3 of 3\)"):
        own_scores.image_files(tmp_path, NAMES, path)


def test_a_source_that_gives_the_scores_passes_and_one_that_does_not_is_told_why(tmp_path):
    own = read(table(tmp_path / "s.csv", LOGITS))
    found, (note,) = own_scores.check(own, tmp_path, PROBABILITIES, {}, LABELS)
    assert found.max_probability_error < 1e-12 and found.top1_agreement == 1 and "read as logits" in note
    near = PROBABILITIES + np.array([0.01, -0.01, 0, 0])
    _, (note,) = own_scores.check(own, tmp_path, near, {}, LABELS)
    assert "more than rounding" in note
    wrong = own_scores.softmax(np.maximum(LOGITS, 0) * 0.3)
    with pytest.raises(SourceError, match=r"It does with --head-relu no: the difference is 0\.0e\+00 then") as told:
        own_scores.check(
            own, tmp_path, wrong, {"--color-order BGR": lambda: wrong[:2], "--head-relu no": lambda: PROBABILITIES}, LABELS
        )
    assert told.value.exit_code == 3 and "Nothing was exported" in str(told.value)
    with pytest.raises(SourceError, match="none of --color-order BGR explains it"):
        own_scores.check(own, tmp_path, wrong, {"--color-order BGR": lambda: wrong}, LABELS)
    for order, words in (
        ([3, 0, 1, 2], "counted from 1"),
        ([3, 2, 1, 0], "reverse order"),
        ([1, 3, 0, 2], "sorted by their labels"),
    ):
        moved = np.empty_like(PROBABILITIES)
        moved[:, order] = PROBABILITIES
        with pytest.raises(SourceError, match=words):
            own_scores.check(own, tmp_path, moved, {}, LABELS)
