"""Bit-for-bit comparison of weights: what it finds, what it lets pass, and that it says so."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from squeeze_export.contracts.source import WeightDigest
from squeeze_export.validation.weights import compare_weights, digest

SHAPES = {
    "a.weight": (4, 3, 3, 3),
    "a.bias": (4,),
    "b.weight": (4, 3, 3, 3),
    "b.bias": (4,),
    "c.weight": (2, 4, 1, 1),
    "c.bias": (2,),
}


def source():
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def digests(weights):
    def sha256(array, dtype):
        return hashlib.sha256(array.astype(dtype).tobytes()).hexdigest()

    return tuple(
        WeightDigest(name=name, shape=value.shape, fp32=sha256(value, "<f4"), fp16=sha256(value, "<f2"))
        for name, value in weights.items()
    )


def stored(weights, dtype=np.float32):
    return tuple(value.astype(dtype) for value in weights.values())


def test_all_are_found_in_any_order_and_memory_layout():
    weights = source()
    reversed_fortran = tuple(np.asfortranarray(value) for value in stored(weights)[::-1])
    for given in (stored(weights), reversed_fortran):
        result = compare_weights(given, digests(weights), "fp32")
        assert (result.expected, result.compared, result.problems, result.exempt) == (6, 6, (), ())


def test_fp16_and_biases_kept_wider():
    weights = source()
    kept = tuple(value.astype(np.float16) if value.ndim > 1 else value for value in weights.values())
    for given in (stored(weights, np.float16), kept):
        result = compare_weights(given, digests(weights), "fp16")
        assert (result.compared, result.problems) == (6, ())


def test_a_single_bit_is_seen():
    weights = source()
    for index, name in enumerate(weights):
        for dtype, precision in ((np.float32, "fp32"), (np.float16, "fp16")):
            given = [value.copy() for value in stored(weights, dtype)]
            given[index].view(np.uint8).reshape(-1)[0] ^= 1
            result = compare_weights(tuple(given), digests(weights), precision)
            assert result.compared == 5
            assert len(result.problems) == 2
            assert f"1 of the source's weights are not in the file: {name}" in result.problems[0]
            assert str(weights[name].shape) in result.problems[1]


def test_negative_zero_is_not_zero():
    weights = {"a.bias": np.zeros(4, np.float32)}
    assert compare_weights((-np.zeros(4, np.float32),), digests(weights), "fp32").compared == 0


def test_each_stored_weight_serves_once():
    weights = {"a.bias": np.zeros(4, np.float32), "b.bias": np.zeros(4, np.float32)}
    one = compare_weights((np.zeros(4, np.float32),), digests(weights), "fp32")
    assert (one.compared, one.problems) == (1, ("1 of the source's weights are not in the file: b.bias",))
    three = compare_weights((np.zeros(4, np.float32),) * 3, digests(weights), "fp32")
    assert (three.compared, three.problems) == (2, ("1 stored weights are not the source's: (4,)",))


def test_a_shape_must_match_and_not_only_the_bytes():
    weights = source()
    turned = tuple(value.reshape(value.shape[::-1]) for value in stored(weights))
    assert compare_weights(turned, digests(weights), "fp32").compared == 3  # the biases


@pytest.mark.parametrize(
    ("precision", "dtype", "message"),
    [
        ("fp32", np.float16, "is stored as float16 in an fp32 artifact"),
        ("fp16", np.float32, "is stored as float32 in an fp16 artifact"),
        ("fp32", np.float64, "is stored as float64"),
        ("fp16", np.int8, "is stored as int8"),
    ],
)
def test_another_dtype_than_the_artifacts_is_a_problem(precision, dtype, message):
    weights = source()
    result = compare_weights(stored(weights, dtype), digests(weights), precision)
    assert any(message in problem for problem in result.problems)
    assert any("are not in the file" in problem for problem in result.problems)


def test_fp32_weights_rounded_to_fp16_are_not_the_source():
    weights = source()
    rounded = tuple(value.astype(np.float16).astype(np.float32) for value in weights.values())
    result = compare_weights(rounded, digests(weights), "fp32")
    assert result.compared == 0


def test_nothing_stored_and_nothing_expected_are_problems():
    weights = source()
    nothing = compare_weights((), digests(weights), "fp32")
    assert nothing.compared == 0
    assert nothing.problems == (
        "6 of the source's weights are not in the file: a.weight, a.bias, b.weight, b.bias, c.weight and 1 more",
    )
    assert compare_weights((), (), "fp32").problems == ("the golden pack names no weights to compare with",)


def folded(weights):
    return tuple(value * 2 if name.startswith("a.") else value for name, value in weights.items())


def test_declared_exemptions_are_let_pass_and_counted():
    weights = source()
    assert compare_weights(folded(weights), digests(weights), "fp32").compared == 4
    result = compare_weights(folded(weights), digests(weights), "fp32", exempt=("a.weight", "a.bias"))
    assert (result.expected, result.compared, result.problems, result.exempt) == (6, 4, (), ("a.weight", "a.bias"))


def test_an_exemption_excuses_nothing_else():
    weights = source()
    names = ("a.weight", "a.bias")
    without = compare_weights(folded(weights)[1:], digests(weights), "fp32", exempt=names)
    assert without.problems == ("a.weight is declared exempt, and nothing of its shape (4, 3, 3, 3) is left in its place",)
    more = compare_weights((*folded(weights), np.ones(4, np.float32)), digests(weights), "fp32", exempt=names)
    assert more.problems == ("1 stored weights are not the source's: (4,)",)
    damaged = list(folded(weights))
    damaged[2] = damaged[2] + 1
    result = compare_weights(tuple(damaged), digests(weights), "fp32", exempt=names)
    assert result.problems[0] == "1 of the source's weights are not in the file: b.weight"
    unknown = compare_weights(stored(weights), digests(weights), "fp32", exempt=("z.weight",))
    assert unknown.problems == ("z.weight is declared exempt and is no weight of the source",)


def test_digest_is_of_little_endian_c_order_bytes():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest(values) == hashlib.sha256(values.tobytes()).hexdigest()
    assert digest(values.astype(">f4")) == digest(values)
    assert digest(np.asfortranarray(values)) == digest(values)
    assert digest(values.astype(np.float16)) != digest(values)
