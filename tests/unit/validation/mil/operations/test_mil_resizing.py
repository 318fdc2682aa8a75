"""The operations that resize, against the formulas of coremltools' documentation and against torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from squeeze_export.errors import UnsupportedOperationError
from tests.unit.validation.mil.operations.definitions import assert_rounded_once, called

SIZES = st.integers(1, 9)


def image(height, width, dtype=np.float32, leading=(2, 3)):
    return np.random.default_rng(height * 31 + width).normal(size=(*leading, height, width)).astype(dtype)


def _factors(height, width):
    return {"scale_factor_height": height, "scale_factor_width": width}


@given(height=SIZES, width=SIZES, down=st.integers(1, 4), across=st.integers(1, 4), whole=st.booleans())
@settings(deadline=None, max_examples=60)
def test_nearest_by_whole_factors_is_torchs(height, width, down, across, whole):
    x = image(height, width)
    kind = np.int32 if whole else np.float32
    found = called("upsample_nearest_neighbor", x=x, **_factors(kind(down), kind(across)))
    np.testing.assert_array_equal(found, functional.interpolate(torch.from_numpy(x), scale_factor=(down, across)))


def test_nearest_to_any_whole_size_takes_the_row_floor_of_i_times_size_over_new():
    for size, new in itertools.product(range(1, 15), range(1, 31)):
        x = image(size, size, leading=(1,))
        factor = np.float32(new / size)
        if np.floor(factor * np.float32(size)) < new:  # 13 / 11: MIL's floor makes 12 of it, and the factor is not 12 / 11
            with pytest.raises(UnsupportedOperationError, match="no whole size"):
                called("upsample_nearest_neighbor", x=x, **_factors(factor, factor))
            continue
        found = called("upsample_nearest_neighbor", x=x, **_factors(factor, factor))
        rows = [i * size // new for i in range(new)]
        np.testing.assert_array_equal(found, x[:, rows][:, :, rows], err_msg=f"{size} to {new}")


@pytest.mark.parametrize("factors", [(1.5, 2), (2, 2.3), (np.float32(0.4), 1)])
def test_nearest_to_no_whole_size_is_refused(factors):
    with pytest.raises(UnsupportedOperationError, match="no whole size"):
        called("upsample_nearest_neighbor", x=image(3, 3), **_factors(*factors))


def _places(size, new, aligned):
    """The documentation's grid points."""
    i = np.arange(new)
    points = i * ((size - 1) / (new - 1) if new > 1 else 0.0) if aligned else (i + 0.5) * (size / new) - 0.5
    return points.clip(0, size - 1)


def _bilinear(x, rows, columns):
    for axis, places in ((-2, rows), (-1, columns)):
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = (places - low).reshape(-1, *[1] * (-1 - axis))
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x


@pytest.mark.parametrize("aligned", [False, True])
@given(height=SIZES, width=SIZES, rows=SIZES, columns=SIZES)
@settings(deadline=None, max_examples=60)
def test_bilinear_is_the_documented_formula_and_torchs(aligned, height, width, rows, columns):
    """To any size, by factors that are quotients of sizes, in fp16 as well."""
    if aligned and ((rows == 1 and height > 1) or (columns == 1 and width > 1)):
        return
    x = image(height, width, np.float16)
    exact = _bilinear(x.astype(np.float64), _places(height, rows, aligned), _places(width, columns, aligned))
    factors = _factors(np.float32(rows / height), np.float32(columns / width))
    found = called("upsample_bilinear", x=x, align_corners=aligned, **factors)
    np.testing.assert_allclose(found, exact, atol=1e-5)
    assert_rounded_once(found, exact, slack=1e-5)
    wide = torch.from_numpy(x.astype(np.float32))
    expected = functional.interpolate(wide, size=(rows, columns), mode="bilinear", align_corners=aligned)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("aligned", [False, True])
def test_bilinear_recomputes_a_factor_that_gives_no_whole_size(aligned):
    """3 * 2.5 is 7: as in PyTorch's recompute_scale_factor, the places follow 3 and 7, and not 2.5."""
    x = image(3, 3)
    found = called("upsample_bilinear", x=x, align_corners=aligned, **_factors(2.5, 2.5))
    np.testing.assert_allclose(found, _bilinear(x, *[_places(3, 7, aligned)] * 2), atol=1e-5)


@pytest.mark.parametrize("leading", [(3,), (1, 2), (2, 3, 4)])
def test_any_rank_is_resized_in_its_last_two_axes(leading):
    x = image(3, 4, leading=leading)
    planes = torch.from_numpy(x).reshape(-1, 1, 3, 4)
    for operation, options in (("upsample_nearest_neighbor", {}), ("upsample_bilinear", {"align_corners": False})):
        found = called(operation, x=x, **_factors(2, 3), **options)
        mode = "nearest" if not options else "bilinear"
        expected = functional.interpolate(planes, scale_factor=(2, 3), mode=mode).reshape(*leading, 6, 12)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_aligned_corners_of_a_single_row_are_refused():
    with pytest.raises(UnsupportedOperationError, match="a size of one"):
        called("upsample_bilinear", x=image(3, 3), align_corners=True, **_factors(np.float32(1 / 3), 1))


@pytest.mark.parametrize("aligned", [False, True])
def test_half_pixel_centers_of_iOS16_are_the_opposite_of_aligned_corners_or_refused(aligned):
    values = {"x": image(3, 4), "align_corners": aligned, **_factors(2, 2)}
    same = called("upsample_bilinear", half_pixel_centers=not aligned, **values)
    np.testing.assert_array_equal(same, called("upsample_bilinear", **values))
    with pytest.raises(UnsupportedOperationError, match=f"half_pixel_centers both {aligned}"):
        called("upsample_bilinear", half_pixel_centers=aligned, **values)
