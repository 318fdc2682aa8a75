"""What load_image makes of every kind of picture, and what it refuses."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from squeeze_export.errors import UsageError
from squeeze_export.preprocessing.pixels import load_image


def wavy(width, height):
    """A structured RGB picture without symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([(x * 7 + y * 3) % 256, (x * y) % 251, (x + 2 * y) % 256], axis=-1).astype(np.uint8))


def array(image):
    return np.asarray(image).tolist()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_lossless_formats_give_their_pixels(tmp_path, suffix):
    wavy(31, 17).save(tmp_path / f"x.{suffix}")
    assert array(load_image(tmp_path / f"x.{suffix}")) == array(wavy(31, 17))


@pytest.mark.parametrize("suffix", ["jpg", "webp", "gif"])
def test_lossy_formats_give_nearly_their_pixels(tmp_path, suffix):
    gradient = Image.linear_gradient("L").convert("RGB")
    gradient.save(tmp_path / f"x.{suffix}")
    found = load_image(tmp_path / f"x.{suffix}")
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found).astype(int) - np.asarray(gradient)).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    upright = Image.new("RGB", (32, 48), (0, 0, 200))
    upright.paste((220, 0, 0), (0, 0, 16, 16))  # red stands top left once the picture is upright
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"x.{suffix}", exif=exif)
    found = np.asarray(load_image(tmp_path / f"x.{suffix}")).astype(int)
    assert found.shape == (48, 32, 3)
    assert np.abs(found - np.asarray(upright)).mean() < 12
    assert found[4, 4, 0] > 150 and found[4, 28, 2] > 150 and found[44, 4, 2] > 150


def test_transparency_is_laid_over_white(tmp_path):
    rgba = Image.new("RGBA", (3, 1))
    for x, value in enumerate([(200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 128)]):
        rgba.putpixel((x, 0), value)
    rgba.save(tmp_path / "rgba.png")
    assert array(load_image(tmp_path / "rgba.png")) == [[[200, 100, 0], [255, 255, 255], [227, 177, 127]]]


def test_transparency_in_grey_palette_and_key_form(tmp_path):
    Image.fromarray(np.array([[[90, 255], [90, 0]]], np.uint8)).save(tmp_path / "la.png")
    Image.fromarray(np.array([[90, 7]], np.uint8)).save(tmp_path / "l.png", transparency=7)
    Image.fromarray(np.array([[[90, 90, 90], [7, 8, 9]]], np.uint8)).save(tmp_path / "key.png", transparency=(7, 8, 9))
    palette = Image.fromarray(np.array([[1, 0]], np.uint8)).copy()
    palette.putpalette([7, 8, 9, 90, 90, 90])
    palette.save(tmp_path / "p.png", transparency=b"\x00\xff")
    palette.save(tmp_path / "p.gif", transparency=0)
    for name in ("la.png", "l.png", "key.png", "p.png", "p.gif"):
        assert array(load_image(tmp_path / name)) == [[[90, 90, 90], [255, 255, 255]]], name


def test_grey_bilevel_and_palette(tmp_path):
    Image.fromarray(np.array([[0, 77, 255]], np.uint8)).save(tmp_path / "grey.png")
    assert array(load_image(tmp_path / "grey.png")) == [[[0] * 3, [77] * 3, [255] * 3]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bilevel.png")
    assert array(load_image(tmp_path / "bilevel.png")) == [[[255] * 3, [0] * 3]]
    wavy(16, 16).quantize(200).save(tmp_path / "palette.png")
    assert array(load_image(tmp_path / "palette.png")) == array(wavy(16, 16).quantize(200).convert("RGB"))


def test_cmyk_is_converted_and_jpegs_inversion_respected(tmp_path):
    colours = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    colours.save(tmp_path / "red.jpg", quality=100)
    colours.save(tmp_path / "red.tif")
    for name in ("red.jpg", "red.tif"):
        assert np.abs(np.asarray(load_image(tmp_path / name)).astype(int) - [255, 0, 0]).max() <= 3


def sixteen_bit_png(samples, colour_type):
    """Write a PNG by hand, for Pillow cannot write 16-bit colour: (H, W[, 3]) uint16."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits_keep_their_upper_byte_in_grey_and_in_colour(tmp_path):
    grey = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    expected = [[[value >> 8] * 3 for value in grey[0].tolist()]]
    (tmp_path / "grey.png").write_bytes(sixteen_bit_png(grey, 0))
    (tmp_path / "colour.png").write_bytes(sixteen_bit_png(np.stack([grey] * 3, axis=-1), 2))
    Image.fromarray(grey).save(tmp_path / "grey.tif")
    (tmp_path / "grey.pgm").write_bytes(b"P5\n6 1\n65535\n" + grey.astype(">u2").tobytes())
    for name in ("grey.png", "colour.png", "grey.tif", "grey.pgm"):
        assert array(load_image(tmp_path / name)) == expected, name


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_unknown_range_are_refused(tmp_path, dtype):
    Image.fromarray(np.array([[1, 70000]], dtype)).save(tmp_path / "x.tif")
    with pytest.raises(UsageError, match=r"x\.tif.*range is unknown"):
        load_image(tmp_path / "x.tif")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame_counts(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
    found = np.asarray(load_image(tmp_path / f"x.{suffix}")).astype(int)
    assert np.abs(found - [250, 0, 0]).max() <= 6


def test_a_file_that_is_no_picture_is_named(tmp_path):
    for name, content in {
        "text.png": b"hello",
        "empty.jpg": b"",
        "page.jpg": b"<html>",
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"{name} is no image in a known format"):
            load_image(tmp_path / name)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.png does not exist"):
        load_image(tmp_path / "none.png")
    with pytest.raises(UsageError, match="not a file"):
        load_image(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "ppm"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_pictures_are_refused(tmp_path, suffix, share):
    wavy(200, 150).save(tmp_path / f"whole.{suffix}")
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UsageError, match=rf"cut\.{suffix}"):
        load_image(tmp_path / f"cut.{suffix}")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), suffix=st.sampled_from(["jpg", "png", "gif", "webp", "tif", "bmp"]))
def test_damaged_pictures_are_read_or_refused_in_words(tmp_path_factory, data, suffix):
    buffer = io.BytesIO()
    wavy(40, 30).save(buffer, format={"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a decoder warns of while it decodes damage is not this test's question
        try:
            assert load_image(path).mode == "RGB"
        except UsageError as error:
            assert path.name in str(error)


def bomb(width, height):
    """A small PNG that claims to be large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 9_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused_before_they_are_decoded(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(bomb(*size))
    with pytest.raises(UsageError, match=r"bomb\.png.*limit of 89,478,485"):
        load_image(tmp_path / "bomb.png")


def test_odd_metadata_does_no_harm(tmp_path):
    wavy(20, 10).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03\0\0\0\x01")
    assert load_image(tmp_path / "x.jpg").size == (20, 10)
