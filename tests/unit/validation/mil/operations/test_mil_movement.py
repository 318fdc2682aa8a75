"""The operations that move values, against coremltools' definitions and numpy: every value bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from squeeze_export.errors import UnsupportedOperationError
from tests.unit.validation.mil.operations.definitions import called, defined


def numbered(shape, dtype=np.float32):
    """Every element another: a swap of two is seen."""
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)


SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)
TYPES = st.sampled_from((np.float32, np.float16, np.int32))


@given(shape=SHAPES, dtype=TYPES, data=st.data())
@settings(deadline=None, max_examples=40)
def test_tile(shape, dtype, data):
    x = numbered(shape, dtype)
    reps = np.array(data.draw(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape))), np.int32)
    np.testing.assert_array_equal(called("tile", x=x, reps=reps), defined("tile", x=x, reps=reps))


@given(shape=SHAPES, count=st.integers(1, 4), data=st.data())
@settings(deadline=None, max_examples=40)
def test_interleaved_concat_is_the_definitions_slices(shape, count, data):
    """coremltools' own folding ignores `interleave`; its documentation defines output[i::count] as the i-th input."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    parts = tuple(numbered(shape) + 1000 * index for index in range(count))
    result = called("concat", values=parts, axis=axis, interleave=True).numpy()
    for index, part in enumerate(parts):
        where = [slice(None)] * len(shape)
        where[axis] = slice(index, None, count)
        np.testing.assert_array_equal(result[tuple(where)], part)


def test_interleaved_concat_is_the_definitions_example():
    values = (np.array([[1, 2], [3, 4], [5, 6]]), np.array([[7, 8], [9, 10], [11, 12]]))
    expected = [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]]
    np.testing.assert_array_equal(called("concat", values=values, axis=0, interleave=True), expected)


def test_interleaving_unequal_parts_is_an_error():
    with pytest.raises(RuntimeError):
        called("concat", values=(np.zeros((2, 1)), np.zeros((2, 2))), axis=1, interleave=True)


@given(shape=SHAPES, dtype=TYPES, indices=arrays.array_shapes(min_dims=0, max_dims=2, max_side=3), data=st.data())
@settings(deadline=None, max_examples=60)
def test_gather(shape, dtype, indices, data):
    x, axis = numbered(shape, dtype), data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    chosen = data.draw(arrays.arrays(np.int32, indices, elements=st.integers(-size, size - 1)))
    np.testing.assert_array_equal(called("gather", x=x, indices=chosen, axis=axis), np.take(x, chosen, axis))
    np.testing.assert_array_equal(np.take(x, chosen, axis), defined("gather", x=x, indices=chosen, axis=axis))


@given(shape=SHAPES, data=st.data())
@settings(deadline=None, max_examples=40)
def test_gather_along_axis(shape, data):
    x, axis = numbered(shape), data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    wanted = list(shape)
    wanted[axis] = data.draw(st.integers(1, 5))
    chosen = data.draw(arrays.arrays(np.int32, tuple(wanted), elements=st.integers(-size, size - 1)))
    result = called("gather_along_axis", x=x, indices=chosen, axis=axis)
    np.testing.assert_array_equal(result, np.take_along_axis(x, chosen, axis))
    np.testing.assert_array_equal(result, defined("gather_along_axis", x=x, indices=chosen, axis=axis))


@pytest.mark.parametrize(
    ("operation", "more", "reason"),
    [
        ("gather", {"validate_indices": False}, "negative indices"),
        ("gather_along_axis", {"validate_indices": False}, "negative indices"),
        ("gather", {"batch_dims": 1}, "batch_dims"),
    ],
)
def test_what_the_definition_of_gather_leaves_open_is_refused(operation, more, reason):
    with pytest.raises(UnsupportedOperationError, match=reason):
        called(operation, x=numbered((2, 3)), indices=np.array([[0, -1], [1, 1]], np.int32), axis=0, **more)


SCATTERED = {"update": lambda old, new: new, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@pytest.mark.parametrize("mode", SCATTERED)
@given(shape=SHAPES, dtype=TYPES, data=st.data())
@settings(deadline=None, max_examples=40)
def test_scatter_is_the_documented_formula(mode, shape, dtype, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    chosen = data.draw(st.lists(st.integers(0, shape[axis] - 1), unique=True))
    signed = [index - shape[axis] * data.draw(st.booleans()) for index in chosen]
    old, wanted = numbered(shape, dtype), list(shape)
    wanted[axis] = len(chosen)
    updates = (numbered(wanted, dtype) * 3 + 2) % 17
    expected = old.copy()
    for place, index in enumerate(chosen):
        where, part = [slice(None)] * len(shape), [slice(None)] * len(shape)
        where[axis], part[axis] = index, place
        expected[tuple(where)] = SCATTERED[mode](old[tuple(where)], updates[tuple(part)])
    values = {"data": old, "updates": updates, "axis": axis, "mode": mode}
    np.testing.assert_array_equal(called("scatter", indices=np.array(signed, np.int32), **values), expected)


def test_scatter_is_the_definitions_example():
    data, updates = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[5, 6, 7], [8, 9, 10]])
    result = called("scatter", data=data, indices=np.array([1, 0], np.int32), updates=updates, axis=0, mode="add")
    np.testing.assert_array_equal(result, [[9, 11, 13], [9, 11, 13]])


@pytest.mark.parametrize(
    ("indices", "more", "reason"),
    [
        ([0, 0], {"mode": "add"}, "more than once"),
        ([0, -3], {"mode": "update"}, "more than once"),
        ([0, 1], {"mode": "div"}, "scatter with mode 'div'"),
        ([0, 1], {"mode": "mean"}, "scatter with mode 'mean'"),
        ([0, -1], {"mode": "update", "validate_indices": True}, "negative indices"),
    ],
)
def test_what_the_definition_of_scatter_leaves_open_is_refused(indices, more, reason):
    values = {"data": numbered((3,)), "indices": np.array(indices, np.int32), "updates": numbered((2,)), "axis": 0, **more}
    with pytest.raises(UnsupportedOperationError, match=reason):
        called("scatter", **values)


def test_an_index_beyond_the_axis_is_an_error():
    with pytest.raises((IndexError, RuntimeError)):
        called("gather", x=numbered((3,)), indices=np.array([3], np.int32), axis=0)


@given(
    channels=st.integers(1, 3),
    factor=st.integers(1, 3),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
    batch=st.integers(1, 2),
)
@settings(deadline=None, max_examples=25)
def test_pixel_shuffle(channels, factor, height, width, batch):
    x = numbered((batch, channels * factor * factor, height, width))
    result = called("pixel_shuffle", x=x, upscale_factor=factor).numpy()
    for row in range(factor):
        for column in range(factor):
            np.testing.assert_array_equal(result[..., row::factor, column::factor], x[:, row * factor + column :: factor**2])


@given(data=st.data(), size=st.integers(1, 7))
@settings(deadline=None, max_examples=200)
def test_slice_by_index_is_numpys_slice(data, size):
    """Every begin, end and stride, open or not, empty results too."""
    x = numbered((2, size, 3))
    ends = st.one_of(st.none(), st.integers(-size - 2, size + 2))
    begin, end = data.draw(ends), data.draw(ends)
    stride = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
    result = called(
        "slice_by_index",
        x=x,
        begin=np.array([0, begin or 0, 0]),
        end=np.array([2, end or 0, 3]),
        stride=np.array([1, stride, 1]),
        begin_mask=np.array([True, begin is None, True]),
        end_mask=np.array([True, end is None, True]),
    )
    np.testing.assert_array_equal(result, x[:, begin:end:stride])
