"""Damaged packages: refused in words, whatever is damaged, before any native code reads them."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squeeze_export.errors import ArtifactError, SqueezeExportError, UnsupportedOperationError
from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil.blobs import Blob, read_blobs
from squeeze_export.validation.mil.program import layer_weights

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def _bytes(name: str, change: Callable[[bytearray], bytearray | None]) -> Callable[[Path], None]:
    def damage(package: Path) -> None:
        content = bytearray((package / name).read_bytes())
        changed = change(content)
        (package / name).write_bytes(content if changed is None else changed)

    return damage


def _pack(offset: int, form: str, *values: int) -> Callable[[Path], None]:
    return _bytes(WEIGHTS, lambda content: struct.pack_into(form, content, offset, *values))


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(package: Path) -> None:
        content = json.loads((package / "Manifest.json").read_text())
        change(content)
        (package / "Manifest.json").write_text(json.dumps(content))

    return damage


def _spec(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def damage(package: Path) -> None:
        load_coremltools()
        from coremltools import proto

        spec = proto.Model_pb2.Model.FromString((package / MODEL).read_bytes())
        change(spec)
        (package / MODEL).write_bytes(spec.SerializeToString())

    return damage


def _block(spec: Any) -> Any:
    return next(iter(spec.mlProgram.functions["main"].block_specializations.values()))


def _operations(spec: Any) -> Any:
    return _block(spec).operations


def _first(spec: Any, kind: str) -> Any:
    return next(operation for operation in _operations(spec) if operation.type == kind)


def _stored(spec: Any) -> Any:
    """The first value that is read from the blob file: a convolution's weight, (8, 3, 3, 3)."""
    values = (operation.attributes["val"] for operation in _operations(spec) if operation.type == "const")
    return next(value for value in values if value.WhichOneof("value") == "blobFileValue")


def _set(target: Callable[[Any], Any], **fields: Any) -> Callable[[Path], None]:
    def change(spec: Any) -> None:
        for name, value in fields.items():
            setattr(target(spec), name, value)

    return _spec(change)


def _entry(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in content["itemInfoEntries"].values() if entry["name"] == name)


def _neural_network(spec: Any) -> None:
    spec.ClearField("mlProgram")
    spec.neuralNetworkClassifier.SetInParent()


def _duplicate_label(spec: Any) -> None:
    values = _first(spec, "classify").inputs["classes"].arguments[0].value.immediateValue.list.values
    values[3].immediateValue.tensor.strings.values[0] = "class 1"


def _flexible(spec: Any) -> None:
    spec.mlProgram.functions["main"].inputs[0].type.tensorType.dimensions[2].unknown.SetInParent()


def _dimension(size: int) -> Callable[[Any], None]:
    def change(spec: Any) -> None:
        _stored(spec).type.tensorType.dimensions[0].constant.size = size

    return change


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no package": (shutil.rmtree, "does not exist"),
    "a file": (lambda package: (shutil.rmtree(package), package.write_text("x")), "is a file"),
    "an empty folder": (lambda package: (shutil.rmtree(package), package.mkdir()), "Manifest.json cannot be read"),
    "no manifest": (lambda package: (package / "Manifest.json").unlink(), "Manifest.json cannot be read"),
    "a manifest that is no JSON": (lambda package: (package / "Manifest.json").write_text("{"), "Manifest.json is damaged"),
    "a manifest of no text": (lambda package: (package / "Manifest.json").write_bytes(b"\xff\xfe"), "Manifest.json is damaged"),
    "a manifest that is a list": (lambda package: (package / "Manifest.json").write_text("[]"), "Manifest.json is damaged"),
    "a manifest without a root": (_manifest(lambda content: content.pop("rootModelIdentifier")), "names no root model"),
    "a manifest of another file": (
        _manifest(lambda content: _entry(content, "model.mlmodel").update(path="gone.mlmodel")),
        "which is not in the package",
    ),
    "a manifest that leads outside": (
        _manifest(lambda content: _entry(content, "model.mlmodel").update(path="../../../etc/passwd")),
        "outside the package",
    ),
    "no specification": (lambda package: (package / MODEL).unlink(), "not in the package"),
    "an empty specification": (lambda package: (package / MODEL).write_bytes(b""), "of type None"),
    "a truncated specification": (_bytes(MODEL, lambda content: content[: len(content) // 2]), "not a Core ML specification"),
    "a specification of text": (lambda package: (package / MODEL).write_text("no model\n" * 50), "not a Core ML specification"),
    "a neural network": (_spec(_neural_network), "neuralNetworkClassifier"),
    "a specification from the future": (_set(lambda spec: spec, specificationVersion=99), "version 99"),
    "an updatable model": (_set(lambda spec: spec, isUpdatable=True), "updatable"),
    "no weights folder": (lambda package: shutil.rmtree(package / "Data/com.apple.CoreML/weights"), "not in the package"),
    "no weights file": (lambda package: (package / WEIGHTS).unlink(), "weight.bin cannot be read"),
    "empty weights": (lambda package: (package / WEIGHTS).write_bytes(b""), "too short"),
    "weights cut in the last blob": (_bytes(WEIGHTS, lambda content: content[:-1]), "truncated"),
    "weights cut in the middle": (_bytes(WEIGHTS, lambda content: content[: len(content) // 2]), "truncated"),
    "weights cut at a header": (_bytes(WEIGHTS, lambda content: content[:100]), "truncated"),
    "weights with something appended": (_bytes(WEIGHTS, lambda content: content + bytes(100)), "appended"),
    "a changed count of blobs": (_pack(0, "<I", 2), "count is damaged"),
    "a huge count of blobs": (_pack(0, "<I", 2**32 - 1), "truncated"),
    "another version of the blob file": (_pack(4, "<I", 1), "version 1"),
    "a changed sentinel": (_pack(64, "<I", 0), "header is damaged"),
    "another type in a blob": (_pack(68, "<I", 2), "data type 2, the program declares FLOAT16"),
    "another size of a blob": (_pack(72, "<Q", 430), "3440 bits"),
    "a huge size of a blob": (_pack(72, "<Q", 2**63), "needs 9223372036854775808 bytes"),
    "another offset of a blob": (_pack(80, "<Q", 192), "header is damaged"),
    "a huge offset of a blob": (_pack(80, "<Q", 2**64 - 64), "header is damaged"),
    "unused bits in a blob": (_pack(88, "<Q", 4), "3452 bits"),
    "a reserved byte": (_pack(96, "<B", 1), "header is damaged"),
    "an offset that is no blob": (_set(lambda spec: _stored(spec).blobFileValue, offset=72), "no blob begins"),
    "an offset beyond the file": (_set(lambda spec: _stored(spec).blobFileValue, offset=2**62), "no blob begins"),
    "weights outside the package": (
        _set(lambda spec: _stored(spec).blobFileValue, fileName="@model_path/../../../secret"),
        "outside the package's weights",
    ),
    "a weight with another shape": (_spec(_dimension(9)), "declares 243 x 16 bits"),
    "a weight with a huge shape": (_spec(_dimension(2**62)), "impossible shape"),
    "an unknown type": (_set(lambda spec: _stored(spec).type.tensorType, dataType=40), "cannot be stored"),
    "a flexible input": (_spec(_flexible), "flexible shape"),
    "an output that nothing computes": (_spec(lambda spec: _block(spec).outputs.append("ghost")), "not well-formed"),
    "an operation twice": (_spec(lambda spec: _operations(spec).append(_first(spec, "relu"))), "two values are named"),
    "an operation without its input": (_spec(lambda spec: _first(spec, "conv").inputs.pop("weight")), "not well-formed"),
    "an operation of another name": (_spec(lambda spec: setattr(_first(spec, "relu"), "type", "max_pool")), "not well-formed"),
    "a label twice": (_spec(_duplicate_label), "class 1"),
    "two functions": (
        _spec(lambda spec: spec.mlProgram.functions["other"].CopyFrom(spec.mlProgram.functions["main"])),
        "main, other|'main', 'other'",
    ),
}  # fmt: skip


def test_the_undamaged_package_opens(workshop, package):
    assert len(layer_weights(workshop.load(package))) == 8


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_package_is_refused_in_words(workshop, package, name):
    damage, reason = DAMAGES[name]
    damage(package)
    with pytest.raises(ArtifactError, match=reason) as caught:
        workshop.load(package)
    assert str(package.parent) not in str(caught.value)


def test_opening_changes_nothing(workshop, package):
    before = {file: file.read_bytes() for file in package.rglob("*") if file.is_file()}
    workshop.load(package)
    assert {file: file.read_bytes() for file in package.rglob("*") if file.is_file()} == before


def test_every_unknown_operation_is_named_with_its_name_in_the_graph(workshop, package):
    def change(spec: Any) -> None:
        _first(spec, "max_pool").type = "l2_pool"
        _first(spec, "softmax").type = "constexpr_mystery"

    _spec(change)(package)
    with pytest.raises(UnsupportedOperationError, match=r"constexpr_mystery \(named '\w+'\), l2_pool \(named '\w+'\)"):
        workshop.load(package)


@pytest.mark.parametrize(("file", "least_refused", "least_different"), [(MODEL, 100, 0), (WEIGHTS, 30, 30)])
def test_random_damage_gives_a_refusal_or_a_program(workshop, package, pixels, file, least_refused, least_different):
    """Bytes flipped and files cut at random: no foreign exception, no crash; and the damage is seen, not smoothed over."""
    intact = (package / file).read_bytes()
    expected = workshop.run(package, {"image": pixels})["classLabel_probs"]
    random = np.random.default_rng(5)
    refused = different = 0
    for _ in range(150):
        content = bytearray(intact)
        for position in random.integers(0, len(content), random.integers(1, 4)):
            content[position] ^= int(random.integers(1, 256))
        if random.integers(8) == 0:
            content = content[: random.integers(1, len(content))]
        (package / file).write_bytes(content)
        try:
            results = workshop.run(package, {"image": pixels})
            different += not np.array_equal(results.get("classLabel_probs"), expected)
        except SqueezeExportError:
            refused += 1
    assert refused >= least_refused
    assert different >= least_different


def test_swapped_weights_are_read_as_they_are(workshop, package, pixels):
    """Two filters swapped in the file: the structure is intact, so it opens; weights and results tell."""
    before, expected = layer_weights(workshop.load(package)), workshop.run(package, {"image": pixels})["classLabel_probs"]
    filter_bytes = before[0][0].nbytes

    def swap(content: bytearray) -> None:
        first, second, third = (128 + index * filter_bytes for index in range(3))
        content[first:third] = content[second:third] + content[first:second]

    _bytes(WEIGHTS, swap)(package)
    after = layer_weights(workshop.load(package))
    np.testing.assert_array_equal(after[0], before[0][[1, 0, *range(2, 8)]])
    assert not np.array_equal(after[0], before[0])
    for one, other in zip(before[1:], after[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(workshop.run(package, {"image": pixels})["classLabel_probs"], expected)


@pytest.mark.parametrize(
    ("method", "dtype", "bits"),
    [
        *((f"write_uint{bits}_data", f"UINT{bits}", bits) for bits in (1, 2, 3, 4, 6, 8, 16, 32)),
        *((f"write_int{bits}_data", f"INT{bits}", bits) for bits in (4, 8, 16, 32)),
        ("write_fp16_data", "FLOAT16", 16),
        ("write_float_data", "FLOAT32", 32),
    ],
)
def test_blobs_are_understood_as_the_sdk_writes_them(tmp_path, method, dtype, bits):
    load_coremltools()
    from coremltools.libmilstoragepython import _BlobStorageWriter

    numpy_type = {"FLOAT16": np.uint16, "FLOAT32": np.float32}.get(dtype) or np.dtype(
        f"{'u' if dtype.startswith('U') else ''}int{max(bits, 8)}"
    )
    writer = _BlobStorageWriter(str(tmp_path / "weight.bin"))
    offsets = [getattr(writer, method)(np.ones(count, numpy_type)) for count in (11, 1, 64)]
    del writer
    blobs = read_blobs(tmp_path / "weight.bin")
    assert list(blobs) == offsets
    for blob, count in zip(blobs.values(), (11, 1, 64), strict=True):
        assert blob.mismatch(dtype, count) is None
        assert "bits" in (blob.mismatch(dtype, count + 1) or "")
        assert "declares" in (blob.mismatch("FLOAT16" if dtype != "FLOAT16" else "INT8", count) or "")


def test_a_type_that_no_blob_can_hold_is_named():
    assert "BFLOAT16" in (Blob(code=5, size=2, unused_bits=0).mismatch("BFLOAT16", 1) or "")
