"""docs/reference/golden-pack.md says enough: a reader written from it alone, without numpy and Pillow, re-proves a pack."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from squeeze_export.contracts.parity import Tolerance
from squeeze_export.golden.files import write_golden
from squeeze_export.golden.images import read_folder
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reference" / "golden-pack.md"
BAR = Tolerance(precision="fp32", max_error_of_peak=1e-4, min_snr_db=100.0, min_centred_snr_db=90.0, reason="measured 133 dB")


@pytest.fixture(scope="module")
def pack(seven_classes, image_folder):
    # Upright, and shrunk a little: the one kind of picture whose columns are resized first.
    noise = np.random.default_rng(5).integers(0, 256, (200, 80, 3), dtype=np.uint8)
    return make_golden(seven_classes, [*read_folder(image_folder)[0][:7], ("upright.png", noise)])


@pytest.fixture(scope="module")
def written(pack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs") / "golden"
    write_golden(pack, folder, tolerances={"tflite": BAR})
    return folder


def keys_of(content):
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from keys_of(value)
    elif isinstance(content, list):
        for value in content:
            yield from keys_of(value)


@pytest.fixture(scope="module")
def of_features(image_folder, tmp_path_factory):
    """A pack of a feature extractor, on disk."""
    spec = spec_for("torchvision", model="squeezenet1_1", input_size=(33, 35))
    source = load_source(
        name="net", model="squeezenet1_1", weights="random", seed=1, labels=None, preprocessing=spec, head="features"
    )
    folder = tmp_path_factory.mktemp("packs") / "golden"
    write_golden(make_golden(source, read_folder(image_folder)[0]), folder, tolerances={"tflite": BAR})
    return folder


@pytest.mark.parametrize("kind", ["written", "of_features"])
def test_the_document_names_every_key_and_file(kind, request):
    document, folder = DOCUMENT.read_text(encoding="utf-8"), request.getfixturevalue(kind)
    assert [path.name for path in folder.iterdir() if f"\n  {path.name}" not in document] == []
    keys = set(keys_of(json.loads((folder / "golden.json").read_text()))) - {"tflite"}
    assert len(keys) > 25
    assert [key for key in sorted(keys) if f"`{key}`" not in document] == []


def test_a_reader_written_from_the_document_alone_reads_a_pack(written, pack):
    """No numpy, no Pillow, nothing of this project: what an app's developer would write in another language."""
    formats = {"uint8": "B", "float32": "f", "int32": "i"}
    digest, name = (written / "golden.json.sha256").read_text().split()
    assert name == "golden.json" and hashlib.sha256((written / name).read_bytes()).hexdigest() == digest
    description = json.loads((written / name).read_bytes())
    assert description["schema_version"] == 1
    arrays = {}
    for name, array in description["arrays"].items():
        data = (written / array["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == array["sha256"]
        arrays[name] = struct.unpack(f"<{math.prod(array['shape'])}{formats[array['dtype']]}", data)

    def row(name, image):
        width = math.prod(description["arrays"][name]["shape"][1:])
        return arrays[name][image * width : (image + 1) * width]

    seen = set()
    for place, image in enumerate(description["images"]):
        data = (written / image["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == image["sha256"]
        assert struct.unpack(">II", data[16:24]) == (image["width"], image["height"])
        logits, probabilities = row("logits", place), row("probabilities", place)
        powers = [math.exp(value - max(logits)) for value in logits]
        assert all(abs(power / sum(powers) - value) <= 1e-6 for power, value in zip(powers, probabilities, strict=True))
        assert list(row("top5", place)) == sorted(range(len(logits)), key=lambda index: (-logits[index], index))[:5]
        assert logits == tuple(pack.reference.logits[place].tolist())

        # The crop, from the PNG: samples, resize, cut, all in whole numbers but for the filter's weights.
        spec = description["preprocessing"]
        height, width = image["height"], image["width"]
        samples = unfilter(zlib.decompress(chunks(data, b"IDAT")), height, width)
        short, long = min(height, width), max(height, width)
        longer = spec["resize"] * long // short
        new_width, new_height = (spec["resize"], longer) if width <= height else (longer, spec["resize"])
        columns_first = height > new_height and height - new_height > 2 * (width - new_width)
        seen.add(columns_first)
        if columns_first:
            tall = [resample([line[x] for line in samples], new_height) for x in range(width)]
            rows = [resample([column[y] for column in tall], new_width) for y in range(new_height)]
            columns = [[line[x] for line in rows] for x in range(new_width)]
        else:
            wide = [resample(line, new_width) for line in samples]
            columns = [resample([line[x] for line in wide], new_height) for x in range(new_width)]
        left, top = round((new_width - spec["width"]) / 2), round((new_height - spec["height"]) / 2)
        crop = [columns[left + x][top + y][c] for y in range(spec["height"]) for x in range(spec["width"]) for c in range(3)]
        assert tuple(crop) == row("pixels", place)
    assert seen == {False, True}


def chunks(png, kind):
    place, found = 8, b""
    while place < len(png):
        length = int.from_bytes(png[place : place + 4])
        if png[place + 4 : place + 8] == kind:
            found += png[place + 8 : place + 8 + length]
        place += 12 + length
    return found


def unfilter(data, height, width):
    """The PNG standard's five row filters, for 8-bit RGB; rows of (r, g, b)."""
    stride = 3 * width
    above, rows = [0] * stride, []
    for y in range(height):
        kind, line = data[y * (stride + 1)], list(data[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for x in range(stride):
            a, b, c = (line[x - 3] if x > 2 else 0), above[x], (above[x - 3] if x > 2 else 0)
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line[x] = (line[x] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        above = line
        rows.append([tuple(line[x : x + 3]) for x in range(0, stride, 3)])
    return rows


def resample(line, target):
    """One line of (r, g, b) to `target` of them, as docs/reference/golden-pack.md defines it."""
    ratio = len(line) / target
    support = max(ratio, 1.0)
    result = []
    for place in range(target):
        centre = (place + 0.5) * ratio
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), len(line))
        taps = [max(0.0, 1 - abs((x - centre + 0.5) * (1 / support))) for x in range(first, last)]
        whole = [int(tap / sum(taps) * 4194304 + 0.5) for tap in taps]
        sums = [sum(tap * line[first + x][c] for x, tap in enumerate(whole)) for c in range(3)]
        result.append(tuple(min(max((value + 2097152) >> 22, 0), 255) for value in sums))
    return result
