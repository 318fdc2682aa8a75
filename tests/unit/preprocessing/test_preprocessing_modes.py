from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from squeeze_export.contracts.signature import InputSpec, PreprocessingSpec
from squeeze_export.errors import UsageError
from squeeze_export.preprocessing.pixels import load_pixels, normalise, pixels, resized_size
from squeeze_export.preprocessing.spec import PRESETS, spec_for
from tests.hard_pictures import FILTERS, HARD, MODES, picture, specs

SPECS = specs()
ONE = 1 << 22


def spec(preset="torchvision", **changes):
    return spec_for(preset, model="squeezenet1_1", **changes)


def cut(image, height, width):
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return np.asarray(image.crop((left, top, left + width, top + height)).convert("RGB"))


# --- every mode with every filter is Pillow's own


@pytest.mark.parametrize("name", SPECS)
def test_every_way_is_what_pillow_gives(name):
    found = SPECS[name]
    method = Image.Resampling[found.interpolation.upper()]
    rows, columns = found.canvas
    for called in HARD:
        image = Image.fromarray(picture(called))
        if found.color_order == "GRAY":
            image = image.convert("L")
        if found.resize_mode == "short-side":
            short, long = min(image.size), max(image.size)
            longer = found.resize * long // short
            resized = image.resize((found.resize, longer) if image.width <= image.height else (longer, found.resize), method)
        elif found.resize_mode == "squash":
            resized = image.resize((columns, rows), method)
        else:
            color = found.pad_color[0] if image.mode == "L" else found.pad_color
            resized = ImageOps.pad(image, (columns, rows), method, color)
        assert np.array_equal(pixels(Image.fromarray(picture(called)), found), cut(resized, found.height, found.width)), called


def weights(length, target, interpolation):
    """(target, length) int64: an axis as docs/reference/golden-pack.md defines it, but nearest."""

    def sinc(x):
        return 1.0 if x == 0 else math.sin(x * math.pi) / (x * math.pi)

    def value(x):
        match interpolation:
            case "bilinear":
                return max(0.0, 1 - abs(x))
            case "bicubic" if abs(x) < 1:
                return (1.5 * abs(x) - 2.5) * abs(x) * abs(x) + 1
            case "bicubic":
                return (((abs(x) - 5) * abs(x) + 8) * abs(x) - 4) * -0.5 if abs(x) < 2 else 0.0
            case _:
                return sinc(x) * sinc(x / 3) if -3 <= x < 3 else 0.0

    ratio = length / target
    wide = max(ratio, 1.0)
    support = {"bilinear": 1, "bicubic": 2, "lanczos": 3}[interpolation] * wide
    matrix = np.zeros((target, length), np.int64)
    for place in range(target):
        centre = (place + 0.5) * ratio
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), length)
        taps = [value((x - centre + 0.5) * (1 / wide)) for x in range(first, last)]
        total = 0.0
        for tap in taps:
            total += tap
        shares = [tap / total for tap in taps]
        matrix[place, first:last] = [int(share * ONE + (-0.5 if share < 0 else 0.5)) for share in shares]
    return matrix


def nearest(length, target):
    step, places = length / target, []
    place = step * 0.5
    for _ in range(target):
        places.append(int(place))
        place += step
    return places


def defined(data, size, interpolation):
    """A picture (h, w, 3) resized to (width, height) by the documented arithmetic, in plain Python and whole numbers."""
    height, width = data.shape[:2]
    if interpolation == "nearest":
        return data[nearest(height, size[1])][:, nearest(width, size[0])]
    columns, rows = weights(width, size[0], interpolation), weights(height, size[1], interpolation)
    rows_first = height > size[1] and height - size[1] > 2 * (width - size[0])
    data = data.astype(np.int64)
    for axis in (0, 1) if rows_first else (1, 0):
        matrix = rows if axis == 0 else columns
        data = np.moveaxis(np.tensordot(matrix, data, (1, axis)), 0, axis)
        data = np.clip((data + ONE // 2) >> 22, 0, 255)
    return data


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.sampled_from(FILTERS), st.integers(0, 99)
)
def test_the_documented_arithmetic_is_pillows(width, height, new_width, new_height, interpolation, seed):
    data = (np.random.default_rng(seed).integers(0, 2, (height, width, 3)) * 255).astype(np.uint8)
    resized = Image.fromarray(data).resize((new_width, new_height), Image.Resampling[interpolation.upper()])
    assert np.array_equal(np.asarray(resized), defined(data, (new_width, new_height), interpolation))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600), st.integers(1, 600))
def test_padding_takes_the_size_that_pillow_takes(width, height, columns, rows):
    found = replace(SPECS["pad-bilinear"], resize=rows, resize_width=columns)
    blank = Image.new("L", (width, height))
    assert tuple(max(side, 1) for side in ImageOps.contain(blank, (columns, rows), 0).size) == resized_size(width, height, found)


def test_what_is_padded_never_becomes_nothing():
    strip = Image.fromarray(np.full((1, 900, 3), 7, np.uint8))
    found = pixels(strip, SPECS["pad-lanczos"])
    assert resized_size(900, 1, SPECS["pad-lanczos"]) == (64, 1)
    assert (found[28] == 7).all() and (found[27] == (12, 130, 250)).all() and (found[29] == (12, 130, 250)).all()


def test_a_sine_that_is_off_by_one_bit_leaves_the_levels_alone(monkeypatch):
    """Phones have another sine than Pillow's: how often a weight of lanczos changes by a 4,194,304th, and no level with it."""
    changed = counted = 0
    for length, target in [(640, 57), (333, 256), (97, 131), (1203, 40), (500, 224)]:
        exact = weights(length, target, "lanczos")
        for towards in (-math.inf, math.inf):
            monkeypatch.setattr(math, "sin", lambda x, to=towards, sine=SINE: math.nextafter(sine(x), to))
            other = weights(length, target, "lanczos")
            monkeypatch.undo()
            changed += int((exact != other).sum())
            counted += int((exact != 0).sum())
    assert counted > 30_000 and changed == 0


SINE = math.sin


# --- one channel


def test_grey_is_the_integer_formula():
    data = np.random.default_rng(3).integers(0, 256, (57, 56, 3)).astype(np.uint8)
    grey = replace(SPECS["squash-nearest-grey"], resize=57, resize_width=56)
    red, green, blue = np.moveaxis(data.astype(np.int64), -1, 0)
    formula = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    assert np.array_equal(pixels(Image.fromarray(data), grey), np.repeat(formula[..., None], 3, axis=2))


def test_one_channel_is_normalised_and_encoded_as_one(tmp_path):
    grey = spec("inception", color_order="GRAY", channels=1)
    assert (grey.mean, grey.std, grey.channels) == ((127.5,), (127.5,), 1)
    Image.fromarray(picture("noise")).save(tmp_path / "a.png")
    crop = load_pixels(tmp_path / "a.png", grey)
    tensor = normalise(crop[None], grey)
    assert tensor.shape == (1, 1, 224, 224)
    for layout, shape in (("NCHW", (1, 1, 224, 224)), ("NHWC", (1, 224, 224, 1))):
        declared = InputSpec(
            name="x", shape=shape, dtype="float32", layout=layout, color_order="GRAY", scale=(1 / 127.5,), bias=(-1.0,)
        )
        encoded = declared.encode(crop[None])
        assert encoded.shape == shape
        np.testing.assert_allclose(encoded.ravel(), tensor.ravel(), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"color_order": "GRAY", "channels": 3}, "takes 3 channel"),
        ({"channels": 1}, "RGB does not fit: the network takes 1 channel"),
        ({"color_order": "GRAY", "channels": 1}, "the preset has a mean and a std per colour"),
        ({"color_order": "GRAY", "channels": 1, "mean": (0.5,)}, "the preset has a std per colour"),
        ({"color_order": "GRAY", "channels": 1, "mean": (0.5,) * 3, "std": (0.5,)}, "one finite number, in GRAY order"),
        (
            {"color_order": "GRAY", "channels": 1, "mean": (0.5,), "std": (0.5,), "resize_mode": "pad", "pad_color": (1, 2, 3)},
            "one level",
        ),
        ({"resize_mode": "stretch"}, "unknown resize mode 'stretch'"),
    ],
)
def test_what_cannot_stand_together_is_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        spec(**changes)


def test_the_colour_around_a_picture_is_the_mean():
    assert spec(resize_mode="pad").pad_color == (124, 116, 104)
    assert spec("caffe", resize_mode="pad").pad_color == (123, 117, 104)  # red first, though the model's order is BGR
    assert spec("inception", resize_mode="pad").pad_color == (128, 128, 128)
    grey = spec(color_order="GRAY", channels=1, mean=(0.3,), std=(0.2,), resize_mode="pad")
    assert grey.pad_color == (76, 76, 76)
    assert spec(resize_mode="pad", scale=1 / 255, mean=(-3.0, 0.5, 7.0)).pad_color == (0, 128, 255)


# --- the record


def test_what_is_the_default_is_written_as_it_always_was():
    keys = ["resize", "height", "width", "color_order", "scale", "mean", "std"]
    assert list(PRESETS["torchvision"].record()) == keys
    assert list(spec(interpolation="bicubic").record()) == [*keys, "interpolation"]
    assert list(spec(resize_mode="squash").record()) == [*keys, "resize_mode"]
    padded = spec(resize_mode="pad", resize=(230, 240), interpolation="nearest").record()
    assert list(padded) == [*keys, "resize_mode", "interpolation", "resize_width", "pad_color"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mean": (0.0,)}, "mean and std of 3"),
        ({"color_order": "GRAY"}, "mean and std of 1"),
        ({"resize_mode": "pad"}, "a pad_color belongs"),
        ({"pad_color": (0, 0, 0)}, "a pad_color belongs"),
        ({"resize_mode": "pad", "pad_color": (0, 0, 256)}, "three levels"),
        ({"resize_width": 300}, "a resize_width belongs"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        replace(PRESETS["torchvision"], **changes)


@pytest.mark.parametrize("mode", MODES)
def test_every_way_is_told(mode):
    words = {
        "short-side": "short side resized to 256 (bilinear, antialiased), then 224 x 224 cropped from the centre",
        "squash": "resized to 224 x 224 whatever its shape (bilinear, antialiased)",
        "pad": "resized to fit into 224 x 224 (bilinear, antialiased), the rest filled evenly with the colour (124, 116, 104)",
    }
    assert spec(resize_mode=mode).told() == words[mode]
    assert isinstance(spec(resize_mode=mode), PreprocessingSpec)
    assert "(nearest)" in spec(resize_mode=mode, interpolation="nearest").told()
    larger = spec(resize_mode=mode, resize=260).told()
    assert "260" in larger and larger.endswith(", then 224 x 224 cropped from the centre")
    assert SPECS[f"{mode}-lanczos-grey"].told().startswith("made grey (ITU-R 601-2), ")
