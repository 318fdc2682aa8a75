"""TFLite Metadata as the exporter writes it, read back by the runner's own decoder and by zipfile."""

from __future__ import annotations

import dataclasses
import io
import zipfile

import pytest

from squeeze_export.exporters.tflite import metadata as tflite_metadata
from squeeze_export.validation.runners.litert import metadata as litert_metadata
from tests.tflite_cases import LABELS, caffe, declared, settings, seven_classes


def encoded(source, wanted, labels=LABELS, **card):
    signature = declared(source, wanted)
    described = dataclasses.replace(tflite_metadata.model_card(source, signature.input), **card)
    return signature, tflite_metadata.encode(described, signature.input, signature.outputs[0], labels)


def label_file(labels=LABELS):
    return tflite_metadata.append_files(b"model", {"labels.txt": "".join(f"{label}\n" for label in labels).encode()})


def test_an_image_input_is_declared_with_its_normalisation_and_labels():
    signature, metadata = encoded(seven_classes(), settings())
    found = litert_metadata.read(metadata, label_file())
    assert found == litert_metadata.Metadata(
        name="squeezenet1_1",
        input="image",
        is_image=True,
        colors="RGB",
        mean=(127.5,),
        std=(127.5,),
        output="probabilities",
        labels=LABELS,
    )
    litert_metadata.check_declared(found, signature)


def test_a_tensor_input_is_declared_as_features():
    source = seven_classes(preprocessing=caffe())
    signature, metadata = encoded(source, settings(input_kind="tensor", output_kind="logits"), labels=None)
    found = litert_metadata.read(metadata, b"")
    assert (found.is_image, found.mean, found.std, found.labels, found.output) == (False, (), (), None, "logits")
    assert b"64x64 BGR image, normalised per channel" in metadata
    litert_metadata.check_declared(found, signature)


def test_the_card_is_in_the_bytes_and_unknown_fields_are_not():
    _, metadata = encoded(seven_classes(), settings(), author="A. Author", license="BSD-3-Clause")
    assert b"A. Author" in metadata and b"BSD-3-Clause" in metadata and b"7 classes, 64x64 pixels" in metadata
    _, plain = encoded(seven_classes(), settings())
    assert b"None" not in plain and len(plain) < len(metadata)


def test_the_archive_is_uncompressed_and_dated_1980():
    content = label_file()
    assert content.startswith(b"model") and content == label_file()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (entry,) = archive.infolist()
        assert archive.read(entry).decode().splitlines() == list(LABELS)
    assert (entry.compress_type, entry.date_time[:3], entry.create_system) == (zipfile.ZIP_STORED, (1980, 1, 1), 3)


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_no_damage_makes_the_decoder_run_away(length):
    """Cut anywhere, it refuses with its own error or finds the same; nothing else."""
    from squeeze_export.errors import ArtifactError

    _, metadata = encoded(seven_classes(), settings())
    with pytest.raises(ArtifactError, match="damaged"):
        litert_metadata.read(metadata[:length], label_file())
