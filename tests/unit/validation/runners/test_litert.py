"""The LiteRT runner: executes good files, refuses damaged and undeclared ones instead of dying of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from squeeze_export.contracts.signature import OutputSpec, Signature
from squeeze_export.errors import ArtifactError
from squeeze_export.exporters.tflite import flatbuffer as tflite_flatbuffer
from squeeze_export.exporters.tflite import metadata as tflite_metadata
from squeeze_export.validation.runners.litert import file as litert_file
from squeeze_export.validation.runners.litert import runner as litert
from tests import conversions
from tests.flips import refused_of_flips
from tests.tflite_cases import (
    LABELS,
    HandPadded,
    Transposing,
    converted,
    declared,
    eager,
    pictures,
    settings,
    seven_classes,
    softmax,
)

SIGNATURE = declared(seven_classes(), settings())


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "seven.tflite"
    conversions.export(seven_classes(), settings(), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "half.tflite"
    conversions.export(seven_classes(), settings("fp16"), path)
    return path.read_bytes()


@pytest.fixture
def opened(tmp_path):
    def open_content(content, signature=SIGNATURE, precision="fp32"):
        path = tmp_path / "net.tflite"
        path.write_bytes(content)
        return litert.open(path, signature, precision)

    return open_content


def repacked(content, change, metadata=None):
    """The file with `change(model object)` applied, labels kept, its metadata replaced if given."""
    model = tflite_flatbuffer.parse(content)
    change(model)
    added = {}
    if metadata is not None:
        model.metadata = [entry for entry in model.metadata if entry.name != b"TFLITE_METADATA"]
        added = metadata
    written = tflite_flatbuffer.serialise(model, description="changed", metadata=added)
    return tflite_metadata.append_files(written, {"labels.txt": "".join(f"{label}\n" for label in LABELS).encode()})


def test_a_good_file_agrees_with_eager(content, opened):
    runner = opened(content)
    assert runner.executor.startswith("LiteRT 2.3.") and runner.executor.endswith(" (XNNPACK)")
    source = seven_classes()
    pixels = pictures(source.preprocessing, 3)
    wanted = softmax(eager(source, pixels))
    for row, tensor in zip(wanted, SIGNATURE.input.encode(pixels), strict=True):
        found = runner.run({"image": tensor[None]})
        assert list(found) == ["probabilities"] and found["probabilities"].dtype == np.float32
        assert np.abs(found["probabilities"][0] - row).max() < 1e-6


def test_weights_come_back_in_torchs_order(content, half, opened):
    source = seven_classes()
    state = list(source.module.state_dict().values())
    stored = opened(content).stored_weights()
    assert len(stored) == len(state) == 52
    for found, wanted in zip(stored[2:], state[2:], strict=True):  # the first two hold the normalisation
        assert found.dtype == np.float32 and np.array_equal(found, wanted.numpy())
    stored = opened(half, precision="fp16").stored_weights()
    for found, wanted in zip(stored[2:], state[2:], strict=True):
        assert found.dtype == (np.float16 if found.ndim == 4 else np.float32)
        assert np.array_equal(found, wanted.numpy().astype(found.dtype))


def test_results_do_not_change_under_the_callers_hands(content, opened):
    runner = opened(content)
    first, second = SIGNATURE.input.encode(pictures(seven_classes().preprocessing, 2))
    before = runner.run({"image": first[None]})["probabilities"]
    copy = before.copy()
    runner.run({"image": second[None]})
    assert np.array_equal(before, copy)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"picture": np.zeros((1, 64, 64, 3), np.float32)},
        {"image": np.zeros((1, 64, 64, 3), np.float32), "more": np.zeros(1, np.float32)},
        {"image": np.zeros((1, 3, 64, 64), np.float32)},
        {"image": np.zeros((2, 64, 64, 3), np.float32)},
        {"image": np.zeros((1, 64, 64, 3), np.uint8)},
    ],
)
def test_other_inputs_than_the_files_are_refused(content, opened, inputs):
    with pytest.raises(ArtifactError, match="was given"):
        opened(content).run(inputs)


def test_opening_says_nothing(content, opened, capfd):
    opened(content)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kept", [0, 3, 8, 20, 0.001, 0.5, 0.99, 0.9999])
def test_truncated_files_are_refused(content, opened, kept):
    with pytest.raises(ArtifactError, match=r"[Ee]xport (it|the file) again"):
        opened(content[: kept if isinstance(kept, int) else int(len(content) * kept)])


@pytest.mark.parametrize("at", range(8))
def test_a_flipped_header_byte_is_refused(content, opened, at):
    flipped = bytearray(content)
    flipped[at] ^= 0x55
    with pytest.raises(ArtifactError):
        opened(bytes(flipped))


def test_other_files_are_refused(opened, tmp_path):
    for other in (b"PK\x03\x04" + bytes(1000), bytes(range(256)) * 40, b"\x1c\0\0\0TFL3" + b"\xff" * 4000):
        with pytest.raises(ArtifactError):
            opened(other)
    with pytest.raises(ArtifactError, match="cannot be read"):
        litert.open(tmp_path / "absent.tflite", SIGNATURE, "fp32")
    with pytest.raises(ArtifactError, match="cannot be read"):
        litert.open(tmp_path, SIGNATURE, "fp32")


def test_no_flipped_byte_outside_the_weights_kills_the_process(content, tmp_path):
    """80 flips, in a process of their own: each is refused by name or runs. (Flipped weights are parity's to find.)"""
    refused = refused_of_flips(content, tmp_path, module="tests.tflite_cases", source="seven_classes", side=64, count=80)
    assert refused > 30


def rename_output(model):
    model.signatureDefs[0].outputs[0].name = b"scores"


def rename_signature(model):
    model.signatureDefs[0].signatureKey = b"classify"


def widen_batch(model):
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape = [2, 64, 64, 3]


def point_outside(model):
    model.subgraphs[0].operators[0].inputs = [0, 9999, 1]


def shorten_filter(model):
    graph = model.subgraphs[0]
    buffer = model.buffers[graph.tensors[graph.operators[0].inputs[1]].buffer]
    buffer.data = bytes(buffer.data)[:-4]


def read_before_written(model):
    operators = model.subgraphs[0].operators
    operators[2], operators[3] = operators[3], operators[2]


def drop_operations(model):
    model.subgraphs[0].operators = []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (rename_output, "output is scores 1x7 float32, declared is probabilities 1x7 float32"),
        (rename_signature, r"signatures \['classify'\]"),
        (widen_batch, "input is image 2x64x64x3"),
        (point_outside, "reads tensors"),
        (shorten_filter, "bytes instead of"),
        (read_before_written, "before it is written"),
        (drop_operations, "no operations"),
    ],
)
def test_a_changed_graph_is_refused(content, opened, change, says):
    with pytest.raises(ArtifactError, match=says):
        opened(repacked(content, change))


def test_swapped_weights_change_both_results_and_stored_weights(content, opened):
    def swap(model):
        graph = model.subgraphs[0]
        first, second = (
            graph.tensors[next(i for i, t in enumerate(graph.tensors) if t.name == name)]
            for name in (b"features.9.expand3x3.weight", b"features.10.expand3x3.weight")
        )
        first.buffer, second.buffer = second.buffer, first.buffer

    good, bad = opened(content), opened(repacked(content, swap))
    differing = [
        k for k, pair in enumerate(zip(good.stored_weights(), bad.stored_weights(), strict=True)) if not np.array_equal(*pair)
    ]
    assert len(differing) == 2
    tensor = SIGNATURE.input.encode(pictures(seven_classes().preprocessing, 1))
    assert np.abs(good.run({"image": tensor})["probabilities"] - bad.run({"image": tensor})["probabilities"]).max() > 1e-4


def test_an_unchanged_repacked_file_is_accepted(content, opened):
    """So the refusals above are for what was changed."""
    opened(repacked(content, lambda model: None))


def test_declared_and_stored_precision_must_agree(content, half, opened):
    with pytest.raises(ArtifactError, match="must not hold: DEQUANTIZE"):
        opened(half)
    with pytest.raises(ArtifactError, match="declared fp16, but stores its filters as float32"):
        opened(content, precision="fp16")


def test_probabilities_need_a_softmax_and_logits_must_not_have_one(content, opened):
    logits = OutputSpec(name="probabilities", shape=(1, 7), dtype="float32", kind="logits")
    with pytest.raises(ArtifactError, match="must not hold: SOFTMAX"):
        opened(content, Signature(input=SIGNATURE.input, outputs=(logits,)))


def test_a_transpose_is_refused_by_name(opened):
    signature = _tiny(8, 8)
    with pytest.raises(ArtifactError, match="must not hold: TRANSPOSE"):
        opened(converted(Transposing(), image=torch.zeros(1, 8, 8, 3)), signature)


def test_metadata_must_be_there_and_true(content, opened):
    with pytest.raises(ArtifactError, match="no TFLITE_METADATA"):
        opened(repacked(content, lambda model: None, metadata={}))
    card = tflite_metadata.model_card(seven_classes(), SIGNATURE.input)

    def told(**changes):
        spec = dataclasses.replace(SIGNATURE.input, **changes)
        metadata = tflite_metadata.encode(card, spec, SIGNATURE.outputs[0], LABELS)
        return repacked(content, lambda model: None, metadata={"TFLITE_METADATA": metadata})

    opened(told())
    with pytest.raises(ArtifactError, match=r"mean \(0.0,\) and std \(255.0,\)"):
        opened(told(scale=(1 / 255,) * 3, bias=(0.0,) * 3))
    with pytest.raises(ArtifactError, match="normalise with mean"):
        opened(told(color_order="BGR"))
    with pytest.raises(ArtifactError, match="describes pixels"):
        opened(told(name="pixels"))


def test_labels_must_be_there_whole_and_as_many_as_classes(content, opened):
    flatbuffer = content[: content.index(b"PK\x03\x04")]
    with pytest.raises(ArtifactError, match="Metadata is damaged"):
        opened(flatbuffer)
    with pytest.raises(ArtifactError, match="6 labels for 7 classes"):
        opened(tflite_metadata.append_files(flatbuffer, {"labels.txt": "".join(f"{n}\n" for n in LABELS[:6]).encode()}))
    with pytest.raises(ArtifactError, match="Metadata is damaged"):
        opened(content.replace(b"crane, bird", b"crane, fish"))


def test_two_partitions_are_refused(tmp_path):
    content = converted(HandPadded(), image=torch.zeros(1, 7, 8, 3))
    interpreter = _interpreter(content)
    with pytest.raises(ArtifactError, match="in 2 partitions"):
        litert._require_one_partition(interpreter, litert_file.read(content))


def test_reference_kernels_are_refused(content):
    from ai_edge_litert.interpreter import OpResolverType

    interpreter = _interpreter(content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    with pytest.raises(ArtifactError, match="in 0 partitions"):
        litert._require_one_partition(interpreter, litert_file.read(content))


def test_a_partition_that_leaves_the_end_out_is_refused(content):
    file = litert_file.read(content)
    before_softmax = next(operation for operation in file.operations if operation.name == "SOFTMAX").inputs[0]
    with pytest.raises(ArtifactError, match="does not take the whole"):
        litert._require_one_partition(_interpreter(content), dataclasses.replace(file, outputs={"logits": before_softmax}))


def test_unavailable_names_what_to_install(monkeypatch):
    assert litert.unavailable() is None
    monkeypatch.setattr(litert, "find_spec", lambda name: None)
    assert litert.unavailable() == "ai-edge-litert is not installed: pip install ai-edge-litert"


def _interpreter(content, **options):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1, **options)
    interpreter.allocate_tensors()
    return interpreter


def _tiny(height, width):
    spec = dataclasses.replace(SIGNATURE.input, shape=(1, height, width, 3))
    return Signature(input=spec, outputs=(OutputSpec(name="logits", shape=(1, 7), dtype="float32", kind="logits"),))
