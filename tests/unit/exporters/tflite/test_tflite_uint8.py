"""int8 with uint8 pixels in and uint8 scores out: every pixel arrives as it is, and the levels are those that are declared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from squeeze_export.contracts.signature import LOGITS_TAP
from squeeze_export.contracts.source import GoldenPack, Scores
from squeeze_export.errors import ArtifactError, ConversionError
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.exporters.tflite import flatbuffer
from squeeze_export.sources.source import weight_digests
from squeeze_export.validation.parity import answers, judge
from squeeze_export.validation.runners.litert import file as litert_file
from squeeze_export.validation.runners.litert import runner as litert
from squeeze_export.validation.runners.litert import tap
from squeeze_export.validation.tolerances import tolerance_for
from tests import conversions
from tests.tflite_cases import eager, pictures, settings, seven_classes, softmax

SOURCE = seven_classes(labels=None)
CALIBRATION = pictures(SOURCE.preprocessing, 8)
UINT8 = "int8-uint8"


@pytest.fixture(scope="module", params=["probabilities", "logits"])
def artifact(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return conversions.export(SOURCE, settings(UINT8, output_kind=request.param), folder / "net.tflite", CALIBRATION)


@pytest.fixture(scope="module")
def pack():
    pixels = pictures(SOURCE.preprocessing, 3)
    logits = eager(SOURCE, pixels)
    return GoldenPack(
        names=("a", "b", "c"),
        pictures=tuple(pixels),
        preprocessing=SOURCE.preprocessing,
        pixels=pixels,
        reference=Scores(logits=logits, probabilities=softmax(logits).astype(np.float32)),
        weights=weight_digests(SOURCE),
    )


def judged(artifact, pack, signature=None, chosen=None):
    signature = signature or artifact.signature
    runner = litert.open(artifact.path, signature, UINT8)
    bar = tolerance_for("tflite", UINT8, signature.outputs[0].kind)
    return judge(runner, signature, pack, bar, UINT8, chosen_weights=chosen or artifact.chosen_weights)


def test_it_takes_pixels_and_gives_levels_and_passes(artifact, pack):
    taken, (given,) = artifact.signature.input, artifact.signature.outputs
    assert (taken.dtype, taken.scale, taken.bias, given.dtype) == ("uint8", (1, 1, 1), (0, 0, 0), "uint8")
    assert np.array_equal(taken.encode(pack.pixels), pack.pixels)
    runner = litert.open(artifact.path, artifact.signature, UINT8)  # in one XNNPACK partition
    found = runner.run({"image": pack.pixels[:1]})[given.name]
    assert found.dtype == np.uint8
    rows = answers(runner, artifact.signature, pack)[given.name]
    meant = (found.astype(np.float64) - given.quantisation.zero_point) * given.quantisation.scale
    assert rows.dtype == np.float32 and np.allclose(rows[:1], meant, rtol=1e-6, atol=0)
    wanted = getattr(pack.reference, given.name)
    assert np.abs(rows - wanted).max() < 0.03 * max(1, np.abs(wanted).max())
    if given.kind == "probabilities":
        assert (given.quantisation.scale, given.quantisation.zero_point) == (1 / 256, 0)
    else:  # nothing that calibration saw is clipped, and no level is wasted
        highest = eager(SOURCE, CALIBRATION).max()
        assert highest * 0.97 < (255 - given.quantisation.zero_point) * given.quantisation.scale < highest * 1.03
    report = judged(artifact, pack)
    assert (report.verdict, report.weights.compared) == ("PASSED", len(artifact.chosen_weights)), report.reason


def test_each_of_the_256_pixels_is_a_level_of_its_own(artifact):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    pixels = np.resize(np.arange(256, dtype=np.uint8), (1, 64, 64, 3))
    interpreter = Interpreter(
        model_path=str(artifact.path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    within = {
        entry["name"]: interpreter.get_tensor(entry["index"])
        for entry in interpreter.get_tensor_details()[-200:]
        if entry["name"] in ("image.fp32", "image.int8")
    }
    assert np.array_equal(within["image.fp32"], pixels.astype(np.float32))
    assert np.array_equal(within["image.int8"], pixels.astype(np.int16) - 128)
    # The kernels without XNNPACK say the same, up to a level or two of rounding inside.
    runner = litert.open(artifact.path, artifact.signature, UINT8)
    found = runner.run({"image": pixels})[artifact.signature.outputs[0].name]
    plain = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.abs(found.astype(int) - plain).max() <= 3


def rewritten(artifact, path, change):
    model = flatbuffer.parse(artifact.path.read_bytes())
    graph = model.subgraphs[0]
    change(graph, {tensor.name.decode(): tensor for tensor in graph.tensors})
    kept = {"TFLITE_METADATA": metadata_of(model)}
    path.write_bytes(flatbuffer.serialise(model, description="changed", metadata=kept))
    return path


def metadata_of(model):
    entry = next(entry for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    return bytes(model.buffers[entry.buffer].data)


def scaled(name, scale=None, zero=None):
    def change(_, tensors):
        for tensor in (tensors[name], tensors.get(f"{name}.reshape_0")):  # the same pixels in pairs
            if tensor is not None:
                levels = tensor.quantization
                levels.scale = levels.scale if scale is None else np.array([scale], np.float32)
                levels.zeroPoint = levels.zeroPoint if zero is None else np.array([zero], np.int64)

    return change


def clipped(graph, _):
    """A range inside of the network, of the scores in front of the mean, that is an eighth of what it must be."""
    widened = [operator for operator in graph.operators if graph.tensors[operator.outputs[0]].name.endswith(b".fp32")]
    last = graph.tensors[widened[1].inputs[0]].quantization  # the first are the pixels
    last.scale = last.scale / np.float32(8)


def straight(graph, _):
    """QUANTIZE from uint8 to int8, which XNNPACK leaves to slower code."""
    graph.operators[1].inputs = graph.operators[0].inputs
    graph.operators = graph.operators[1:]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (scaled("image", scale=1 / 255), r"pixels stand for .* with \(0.0039.*, 0\)"),
        (scaled("image", zero=128), r"with \(1.0, 128\)"),
        (scaled("image", zero=256), "zero point out of UINT8"),
        (scaled("image.int8", zero=-127), r"with \(1.0, -127\), not with \(1.0, -128\)"),
        (scaled("image.int8", scale=2), r"with \(2.0, -128\)"),
        (scaled("OUT", scale=1 / 64), r"has scale and zero point \(0.0156.*in the file, declared is"),
        (scaled("OUT", zero=7), r", 7\) in the file, declared is"),
        (lambda _, tensors: setattr(tensors["OUT"], "quantization", None), "None in the file, declared is"),
        (straight, "pixels go into QUANTIZE instead of DEQUANTIZE"),
    ],
)
def test_other_levels_are_refused(artifact, tmp_path, change, told):
    name = artifact.signature.outputs[0].name

    def renamed(graph, tensors):
        change(graph, tensors | {"OUT": tensors[name]})

    path = rewritten(artifact, tmp_path / "changed.tflite", renamed)
    with pytest.raises(ArtifactError, match=told):
        litert.open(path, artifact.signature, UINT8)


def test_another_declaration_is_refused(artifact, tmp_path):
    whole = rewritten(artifact, tmp_path / "whole.tflite", lambda *_: None)
    litert.open(whole, artifact.signature, UINT8)  # it is the declaration that is refused below
    taken, (given,) = artifact.signature.input, artifact.signature.outputs
    for wrong, told in (
        ({"input": replace(taken, dtype="float32")}, "input is image 1x64x64x3 uint8, declared is .* float32"),
        ({"input": replace(taken, scale=(1 / 255,) * 3)}, "it takes pixels as they are"),
        ({"outputs": (replace(given, dtype="float32", quantisation=None),)}, "7 uint8, declared is .* float32"),
        ({"outputs": (replace(given, quantisation=None),)}, "declared is nothing"),
        ({"outputs": (replace(given, quantisation=replace(given.quantisation, zero_point=1)),)}, ", 1\\)"),
    ):
        with pytest.raises(ArtifactError, match=told):
            litert.open(whole, replace(artifact.signature, **wrong), UINT8)
    with pytest.raises(ArtifactError, match="declared int8, but takes and gives uint8"):
        litert.open(whole, artifact.signature, "int8")


def test_parity_judges_what_the_levels_stand_for(artifact, pack):
    """Integers without a meaning are no scores; and a pack of another order fails although the bars are wide."""
    runner = litert.open(artifact.path, artifact.signature, UINT8)
    (given,) = artifact.signature.outputs
    bar, chosen = tolerance_for("tflite", UINT8, given.kind), artifact.chosen_weights
    for quantisation in (None, replace(given.quantisation, scale=given.quantisation.scale * 2)):
        other = replace(artifact.signature, outputs=(replace(given, quantisation=quantisation),))
        report = judge(runner, other, pack, bar, UINT8, chosen_weights=chosen)
        assert report.verdict == "FAILED"
        assert quantisation is not None or "is uint8 where a float is needed" in report.reason
    rolled = np.roll(pack.reference.logits, 1, axis=1)
    scores = Scores(logits=rolled, probabilities=softmax(rolled).astype(np.float32))
    assert judged(artifact, replace(pack, reference=scores)).verdict == "FAILED"


def test_what_a_file_and_its_declaration_have_wrong_together_fails(artifact, pack, tmp_path):
    """The gate sees by numbers: levels too fine to reach the highest score, a zero too high, a range inside that clips."""
    (given,) = artifact.signature.outputs
    own = given.quantisation
    for number, wrong in enumerate((replace(own, scale=own.scale / 16), replace(own, zero_point=250))):
        path = rewritten(artifact, tmp_path / f"{number}.tflite", scaled(given.name, scale=wrong.scale, zero=wrong.zero_point))
        signature = replace(artifact.signature, outputs=(replace(given, quantisation=wrong),))
        report = judged(replace(artifact, path=path), pack, signature)
        assert report.verdict == "FAILED" and f"{given.name}: " in report.reason

    report = judged(replace(artifact, path=rewritten(artifact, tmp_path / "inside.tflite", clipped)), pack)
    assert report.verdict == "FAILED" and {output.name for output in report.outputs if output.problems} == {given.name}


def test_the_logits_are_shown_by_the_same_network_or_not_at_all(artifact, pack, tmp_path, monkeypatch):
    content, file = artifact.path.read_bytes(), litert_file.read(artifact.path.read_bytes())
    index = tap.hidden_logits(file)
    assert (index is None) == (artifact.signature.outputs[0].kind == "logits")
    if index is None:
        return
    copy = tap.tapped(content, file, index)
    differs = np.flatnonzero(np.frombuffer(copy[: len(content)], np.uint8) != np.frombuffer(content, np.uint8))
    assert 0 < np.ptp(differs) + 1 <= 4  # one offset
    given = {"image": pack.pixels[:1]}
    shown = litert.open(artifact.path, artifact.signature, UINT8).run(given)
    assert np.abs(shown[LOGITS_TAP] - pack.reference.logits[:1]).max() < 0.05 * np.abs(pack.reference.logits).max()
    other = rewritten(artifact, tmp_path / "other.tflite", clipped).read_bytes()
    monkeypatch.setattr(tap, "tapped", lambda *_, make=tap.tapped: make(other, file, index))
    with pytest.raises(ArtifactError, match="gives other scores where it shows the logits"):
        litert.open(artifact.path, artifact.signature, UINT8).run(given)


def test_it_needs_pictures_to_calibrate_and_pixels_to_take(tmp_path):
    with pytest.raises(ConversionError, match="takes the pixels of an image"):
        tflite.export(SOURCE, settings(UINT8, input_kind="tensor"), tmp_path / "a.tflite", CALIBRATION)
    spec = tflite._input(SOURCE, settings(UINT8))
    with pytest.raises(ConversionError, match="int8-uint8 needs calibration images: pass --calibration-data"):
        tflite._quantise(None, settings(UINT8), spec, None, None)
