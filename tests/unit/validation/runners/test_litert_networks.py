"""The LiteRT runner on files of networks other than SqueezeNet: weights as PyTorch has them, damage refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from squeeze_export.errors import ArtifactError
from squeeze_export.exporters.tflite import flatbuffer
from squeeze_export.exporters.tflite import metadata as tflite_metadata
from squeeze_export.validation.runners.litert import file as litert_file
from squeeze_export.validation.runners.litert import metadata as litert_metadata
from squeeze_export.validation.runners.litert import model as litert_model
from squeeze_export.validation.runners.litert import networks
from squeeze_export.validation.runners.litert import runner as litert
from tests import conversions
from tests.captured_cases import SIDE, flowers
from tests.flips import refused_of_flips
from tests.tflite_cases import LABELS, declared, settings

SIGNATURE = declared(flowers(), settings())
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "flowers.tflite"
    conversions.export(flowers(), settings(), path)
    return path.read_bytes()


@pytest.fixture
def opened(tmp_path):
    def open_content(content, precision="fp32"):
        path = tmp_path / "net.tflite"
        path.write_bytes(content)
        return litert.open(path, SIGNATURE, precision)

    return open_content


def repacked(content, change):
    """The file with `change(model object)` applied, its labels kept."""
    model = flatbuffer.parse(content)
    change(model)
    written = flatbuffer.serialise(model, description="changed", metadata={})
    return tflite_metadata.append_files(written, {"labels.txt": "".join(f"{label}\n" for label in LABELS).encode()})


def test_weights_are_given_as_pytorch_has_them(content, opened):
    stored = [array for array in opened(content).stored_weights() if array.ndim > 1]
    weights = flowers().module.state_dict()
    wanted = [weights[name].numpy() for name in flowers().kernels]
    assert [array.shape for array in stored] == [array.shape for array in wanted]
    assert all(np.array_equal(*pair) for pair in zip(stored, wanted, strict=True))
    assert (16, 1, 3, 3) in [array.shape for array in stored]  # the depthwise one, two outputs for each channel


def recorded(change):
    def changed(model):
        entry = next(entry for entry in model.metadata if entry.name == b"squeeze_export")
        model.buffers[entry.buffer].data = change(bytes(model.buffers[entry.buffer].data))

    return changed


def say_nothing(model):
    model.metadata = [entry for entry in model.metadata if entry.name != b"squeeze_export"]


def operator(model, kind, number=0):
    pairs = zip(flatbuffer.operators(model), model.subgraphs[0].operators, strict=True)
    return [operator for name, operator in pairs if name == kind][number]


def retold(kind, values):
    """Give an operation another constant argument."""

    def changed(model):
        tensor = model.subgraphs[0].tensors[operator(model, kind).inputs[1]]
        tensor.buffer = len(model.buffers)
        buffer = type(model.buffers[0])()
        buffer.data = np.array(values, np.int32).tobytes()
        model.buffers.append(buffer)

    return changed


def transposed(model):
    """The padding becomes a TRANSPOSE of axes that there are not."""
    code = model.operatorCodes[operator(model, "PAD").opcodeIndex]
    retold("PAD", [0, 1, 2, 7])(model)
    model.subgraphs[0].tensors[operator(model, "PAD").inputs[1]].shape = [4]
    code.builtinCode = code.deprecatedBuiltinCode = 39


def wrong_bias(model):
    operator(model, "CONV_2D").inputs[2] = operator(model, "FULLY_CONNECTED").inputs[2]


def wrong_filter(kind):
    def changed(model):
        chosen = operator(model, kind)
        other = operator(model, "CONV_2D", 1 if kind == "CONV_2D" else 0)
        chosen.inputs[1] = other.inputs[1]

    return changed


def too_few(kind):
    def changed(model):
        chosen = operator(model, kind)
        chosen.inputs = list(chosen.inputs)[:1]

    return changed


def other_code(number):
    def changed(model):
        code = model.operatorCodes[operator(model, "SOFTMAX").opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = number

    return changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (recorded(lambda data: data[:-3]), "cannot be read"),
        (recorded(lambda data: b"[]"), "cannot be read"),
        (
            recorded(lambda data: json.dumps({"model": "squeezenet1_1"}).encode()),
            "metadata 'squeeze_export' that it is 'squeezenet1_1'",
        ),
        (say_nothing, "damaged or not of this tool's making"),
        (other_code(118), "operations that no classifier needs: IF"),
        (other_code(28), "declared as probabilities, but TANH writes it"),
        (wrong_bias, "CONV_2D with filter .* and bias"),
        (wrong_filter("CONV_2D"), "CONV_2D with filter"),
        (wrong_filter("DEPTHWISE_CONV_2D"), "DEPTHWISE_CONV_2D with filter"),
        (wrong_filter("FULLY_CONNECTED"), "FULLY_CONNECTED with filter"),
        (too_few("DEPTHWISE_CONV_2D"), "2 tensors at least"),
        (too_few("MEAN"), "2 tensors at least"),
        (transposed, "TRANSPOSE of"),
        (retold("MEAN", [1, 99]), "MEAN of .* over"),
        (retold("PAD", [[0, 0], [1, 1], [-1, 3], [0, 0]]), "PAD of"),
    ],
)
def test_a_changed_file_is_refused(content, opened, change, says):
    with pytest.raises(ArtifactError, match=says):
        opened(repacked(content, change))


def test_another_precision_than_the_declared_one_is_refused(content, opened):
    with pytest.raises(ArtifactError, match="declared fp16, but stores its filters as float32"):
        opened(content, "fp16")
    with pytest.raises(ArtifactError, match=r"of nets\.flowers:build there is fp32, fp16 only"):
        opened(content, "int8")


def test_no_flipped_byte_outside_the_weights_kills_the_process(content, tmp_path):
    """120 flips, in a process of their own: each is refused by name or runs. (Flipped weights are parity's to find.)"""
    refused = refused_of_flips(content, tmp_path, module="tests.captured_cases", source="flowers", side=SIDE, count=120)
    assert refused >= 30


def test_every_flipped_bit_of_the_label_archive_is_refused_or_harmless(content):
    """Zip raises errors of many kinds: of checksums, of an end too early, of ways to compress or encrypt."""
    metadata = litert_file.read(content).metadata[litert_metadata.BUFFER_NAME]
    start, refused = content.rindex(b"PK\x03\x04"), 0
    for at in range(start, len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            try:
                litert_metadata.read(metadata, bytes(flipped))
            except ArtifactError:
                refused += 1
    assert refused > 700


def chain(*names):
    """A file of operations one after the other, tensor 0 first."""
    operations = tuple(litert_model.Operation(name=name, inputs=(at,), outputs=(at + 1,)) for at, name in enumerate(names))
    return litert_model.TfliteFile(
        operations=operations,
        inputs={"image": 0},
        outputs={"probabilities": len(names)},
        types=(),
        shapes=(),
        constants={},
        quantised={},
        metadata={},
        network="nets.flowers:build",
    )


def delegate(read, written):
    return {"op_name": "DELEGATE", "inputs": [read], "outputs": [written]}


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([delegate(0, 4)], "XNNPACK"),
        ([delegate(0, 2), delegate(2, 4)], "XNNPACK takes the graph in 2 parts"),
        ([delegate(0, 1), delegate(2, 4)], "XNNPACK takes 2 parts of the graph, not 1 PADV2"),
        ([delegate(2, 4)], "XNNPACK takes 1 part of the graph, not 1 CONV_2D, 1 PADV2"),
        ([], "XNNPACK takes nothing of the graph, not 1 CONV_2D, 1 MEAN, 1 PADV2, 1 SOFTMAX"),
    ],
)
def test_what_xnnpack_takes_is_read_from_the_ends_of_its_partitions(nodes, says):
    own = [{"op_name": "CONV_2D", "inputs": [0], "outputs": [1]}]
    assert networks.taken([*own, *nodes], chain("CONV_2D", "PADV2", "MEAN", "SOFTMAX")) == says
