"""Compressed packages, opened from disk again: every coding decodes to what was chosen, and the program says the same in less."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from squeeze_export.compression.codings import CodedWeight, Coding, HalfWeight, UniformWeight
from squeeze_export.compression.network import convolutions, hold
from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.contracts.signature import LOGITS_TAP
from squeeze_export.errors import ConversionError, UsageError
from squeeze_export.exporters.coreml import blobs as coreml_blobs
from squeeze_export.exporters.coreml import exporter as coreml
from squeeze_export.exporters.coreml import rungs, sizes, writing
from squeeze_export.validation.mil.blobs import read_blobs
from squeeze_export.validation.runners import mil_reference

FORMS = {
    "iOS18": (
        *("pal6x2", "pal3", "pal1", "pal4", "pal8x4", "int8", "pal4g4", "sparse", "keep-pal2", "fp16", "pal8", "keep-pal6"),
        *("pal2", "pal3x2g2"),
    ),
    "iOS16": ("pal4", "int8", "pal6", "sparse", "pal8", "fp16", "pal2", "pal1"),
}


def settings(target):
    return ExportSettings(precision="fp16", input_kind="image", output_kind="logits", ios_target=target)


def random_weight(form, shape, generator):
    """Any weights of this form: what stands in a package does not depend on how they were chosen."""
    spread = 1 / np.sqrt(np.prod(shape[1:]))
    if form == "int8":
        values, scales = generator.integers(-127, 128, shape).astype(np.int8), generator.uniform(0.5, 1.5, shape[0]) * spread / 70
        return UniformWeight(bits=8, values=values, scales=scales.astype(np.float16))
    if form in ("sparse", "fp16"):
        kept = generator.random(shape) < 0.4
        return HalfWeight(values=(generator.normal(size=shape) * kept * spread).astype(np.float16) + 0, sparse=form == "sparse")
    coding = Coding.parse(form)
    if not coding.fits(shape):  # seven classes
        coding = Coding.parse("keep-pal4")
    rows = shape[0] // coding.vector
    indices = generator.integers(0, 2**coding.bits, (rows, *shape[1:])).astype(np.uint8)
    values = generator.normal(size=(coding.groups, 2**coding.bits, coding.vector))
    table = ((values - values.mean(axis=(1, 2), keepdims=True)) * spread).astype(np.float16)  # or a ReLU would see nothing
    mask = None
    if coding.zeros is not None:
        mask = generator.random(shape) < 0.4
        indices = np.where(mask, indices, 0).astype(np.uint8)
    return CodedWeight(coding=coding, indices=indices, table=table, mask=mask)


def planned_bytes(weight):
    shape, alive = weight.decoded().shape, int((weight.decoded() != 0).sum())
    match weight:
        case CodedWeight():
            return sizes.stored(weight.coding, shape, alive)
        case HalfWeight():
            return sizes.half(shape, alive, sparse=weight.sparse)
        case UniformWeight():  # which nothing plans with
            return sizes.blob(weight.values.size) + sizes.blob(2 * len(weight.scales)) + 330


def coded_network(source, forms):
    """A source whose weights are the decoded ones, and the coded ones by layer."""
    module, generator = copy.deepcopy(source.module), np.random.default_rng(2)
    coded = {}
    for place, (name, layer) in enumerate(convolutions(module).items()):
        shape = tuple(layer.weight.shape)
        coded[name] = random_weight(forms[place % len(forms)], shape, generator)
        bias = torch.linspace(-0.1, 0.1, shape[0]).half().float().numpy()
        hold(layer, coded[name].decoded(), bias + 0.5)
    return dataclasses.replace(source, module=module), coded


@pytest.fixture(scope="module", params=FORMS)
def written(request, seven_classes, tmp_path_factory):
    source, coded = coded_network(seven_classes, FORMS[request.param])
    path = tmp_path_factory.mktemp(request.param) / "small.mlpackage"
    artifact = writing.write(source, settings(request.param), path, coded=coded)
    return source, coded, artifact


def test_the_file_holds_what_was_chosen(written):
    source, coded, artifact = written
    runner = mil_reference.open(artifact.path, artifact.signature, "fp16")
    kernels = [weight for weight in runner.stored_weights() if weight.ndim == 4]
    chosen = Counter(weight.decoded().astype(np.float16).tobytes() for weight in coded.values())
    assert Counter(weight.tobytes() for weight in kernels) == chosen
    assert {str(weight.dtype) for weight in kernels} == {"float16"}
    pixels = (np.indices((65, 64, 3)).sum(axis=0) * 3 % 256).astype(np.uint8)[None]
    inputs = artifact.signature.input.encode(pixels)
    answered = runner.run({artifact.signature.input.name: inputs})
    found = answered.get(LOGITS_TAP, answered["logits"])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (source.preprocessing.mean, source.preprocessing.std))
    wanted = source.module((torch.from_numpy(inputs) * source.preprocessing.scale - mean) / std).detach().numpy()
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


def test_the_program_is_small_and_its_size_is_planned(written, tmp_path):
    source, coded, artifact = written
    forms = {
        "iOS18": {
            CodedWeight: "constexpr_lut_to_dense",
            UniformWeight: "constexpr_blockwise_shift_scale",
            HalfWeight: "constexpr_sparse_to_dense",
        },
        "iOS16": {
            CodedWeight: "constexpr_lut_to_dense",
            UniformWeight: "constexpr_affine_dequantize",
            HalfWeight: "constexpr_sparse_to_dense",
        },
    }[artifact.deployment_target]
    assert {forms[type(weight)] for weight in coded.values()} <= set(artifact.operators)
    plain = writing.write(source, settings(artifact.deployment_target), tmp_path / "plain.mlpackage")

    def text(package):
        return (package / "Data/com.apple.CoreML/model.mlmodel").stat().st_size

    assert text(artifact.path) < 0.6 * text(plain.path)
    if artifact.deployment_target != "iOS18":
        return
    # The plan counts every byte of the kernels' blobs, and never less than the file takes.
    planned = sum(map(planned_bytes, coded.values()))
    fixed = sizes.fixed(source, settings("iOS18"))
    whole = sum(file.stat().st_size for file in artifact.path.rglob("*") if file.is_file())
    assert planned + fixed - 26 * 200 < whole <= planned + fixed


def test_the_bytes_are_the_same_again(written, tmp_path):
    source, coded, artifact = written
    again = writing.write(source, settings(artifact.deployment_target), tmp_path / "again.mlpackage", coded=coded)
    for file in sorted(artifact.path.rglob("*")):
        if file.is_file():
            assert (again.path / file.relative_to(artifact.path)).read_bytes() == file.read_bytes(), file.name


def test_what_the_file_would_not_hold_is_refused(written, tmp_path):
    source, coded, artifact = written
    name, first = next(iter(coded.items()))
    field = "scales" if isinstance(first, UniformWeight) else "table"
    swapped = coded | {name: dataclasses.replace(first, **{field: -getattr(first, field)})}
    with pytest.raises(ConversionError, match="equals none of the compressed weights"):
        writing.write(source, settings(artifact.deployment_target), tmp_path / "a.mlpackage", coded=swapped)
    assert not (tmp_path / "a.mlpackage").exists()
    if any(isinstance(weight, CodedWeight) and weight.coding.needs_ios18 for weight in coded.values()):
        with pytest.raises(ConversionError, match="pal6x2 needs iOS18"):
            writing.write(source, settings("iOS16"), tmp_path / "b.mlpackage", coded=coded)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_blobs_are_read_by_the_proof(bits, tmp_path):
    values = np.random.default_rng(bits).integers(0, 2**bits, 1001).astype(np.uint8)
    file = coreml_blobs.BlobFile()
    offsets = [file.add(np.linspace(0, 1, 33, dtype=np.float16)), file.add_packed(values, bits), file.add(values)]
    path = tmp_path / "weight.bin"
    path.write_bytes(file.content())
    blobs = read_blobs(path)
    assert sorted(blobs) == offsets
    assert blobs[offsets[1]].mismatch(f"UINT{bits}", 1001) is None
    assert blobs[offsets[1]].mismatch(f"UINT{bits}", 1000) is not None
    if bits < 8:
        with pytest.raises(ValueError, match="does not fit"):
            file.add_packed(values + 1, bits)
    with pytest.raises(ValueError, match="no float16 array"):
        coreml_blobs.read(file.content(), offsets[0], "float16", (32,))


def test_a_rung_from_calibration_images_to_the_judgement(seven_classes, tmp_path, tmp_path_factory, monkeypatch):
    """The whole chain: the judge finds the chosen weights in the file, and refuses a file that holds others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    from squeeze_export.golden.images import demo_images
    from squeeze_export.golden.pack import make_golden
    from squeeze_export.validation.judgement import judge_file

    asked = dataclasses.replace(settings("iOS16"), precision="int8")
    waves = np.indices((8, 65, 64, 3))
    calibration = (127 + 120 * np.sin(waves[1] / (2 + waves[0]) + waves[3]) * np.cos(waves[2] / 5)).astype(np.uint8)
    artifact = coreml.export(seven_classes, asked, tmp_path / "small.mlpackage", calibration)
    pack = make_golden(seven_classes, demo_images())

    def judged(chosen):
        found = judge_file(
            "coreml", artifact.path, artifact.signature, "int8", pack, labels=seven_classes.labels, folded=(), chosen=chosen
        )
        return found[0].weights

    assert judged(artifact.chosen_weights).compared == 52
    assert not judged(artifact.chosen_weights).problems
    other = dataclasses.replace(artifact.chosen_weights[0], fp32="0" * 64, fp16="0" * 64)
    assert "not in the file" in judged((other, *artifact.chosen_weights[1:])).problems[0]
    with pytest.raises(UsageError, match="at least 8"):
        coreml.export(seven_classes, asked, tmp_path / "few.mlpackage", calibration[:7])
    with pytest.raises(UsageError, match="all alike"):
        coreml.export(seven_classes, asked, tmp_path / "grey.mlpackage", np.full_like(calibration, 128))
    with pytest.raises(UsageError, match="of one colour each"):
        coreml.export(seven_classes, asked, tmp_path / "flat.mlpackage", np.full_like(calibration, 9) * waves[0].astype(np.uint8))
    small = dataclasses.replace(settings("iOS18"), precision="auto", size_budget=50_000)
    with pytest.raises(UsageError, match="the smallest reachable has"):
        coreml.export(seven_classes, small, tmp_path / "auto.mlpackage", calibration)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.mlpackage"]
    assert all(name.endswith(".bias") for name in artifact.uncompressed_weights)
    assert artifact.codings == {f"{name}.weight": "int8" for name in convolutions(seven_classes.module)}


def test_sparse_keeps_zeros_and_is_refused_where_there_are_none(seven_classes, tmp_path):
    """Half of the large kernels' weights are zero, some of them negative zeros; the small ones stay as they are, told why."""
    from squeeze_export.sources.source import weight_digests
    from squeeze_export.validation.weights import compare_weights

    pruned = copy.deepcopy(seven_classes.module)
    layers = convolutions(pruned)
    large = {name for name, layer in layers.items() if layer.weight.numel() > 2000}
    for name in large:
        weight = layers[name].weight.data
        weight[weight.abs() < weight.abs().median()] *= 0
    source = dataclasses.replace(seven_classes, module=pruned)
    asked = dataclasses.replace(settings("iOS16"), precision="sparse")
    artifact = coreml.export(source, asked, tmp_path / "sparse.mlpackage")

    def size(package):
        return sum(file.stat().st_size for file in package.rglob("*") if file.is_file())

    assert size(artifact.path) < 0.7 * 2 * sum(value.numel() for value in pruned.state_dict().values())
    assert {name for name in artifact.uncompressed_weights if name.endswith(".weight")} == {
        f"{name}.weight" for name in set(layers) - large
    }
    assert "only 0.0% are zero" in artifact.uncompressed_weights["features.0.weight"]
    stored = mil_reference.open(artifact.path, artifact.signature, "sparse").stored_weights()
    assert compare_weights(stored, artifact.chosen_weights, "sparse").compared == 52
    # Nothing was chosen: but for the sign of zeros these are the source's own weights in fp16.
    positive = {name: value + 0 for name, value in pruned.state_dict().items()}
    pruned.load_state_dict(positive)
    assert [weight.fp16 for weight in weight_digests(source)] == [weight.fp16 for weight in artifact.chosen_weights]
    assert artifact.codings == {f"{name}.weight": "sparse" for name in large}
    # auto with room for every weight as fp16 has it takes just that, whatever the pictures, and says so.
    roomy = dataclasses.replace(settings("iOS18"), precision="auto", size_budget=2_000_000)
    free = coreml.export(source, roomy, tmp_path / "free.mlpackage")
    assert free.notice is not None and "nothing had to be compressed" in free.notice and free.size_budget == 2_000_000
    assert free.chosen_weights == artifact.chosen_weights and free.codings == artifact.codings
    # From the very size on at which that is planned to fit: with masks, and without.
    for model, name in ((source, "masks"), (seven_classes, "whole")):
        fixed = sizes.fixed(model, dataclasses.replace(roomy, precision="fp16"))
        planned = rungs.halves_bytes(rungs.halves(model))
        tight = coreml.export(model, dataclasses.replace(roomy, size_budget=fixed + planned), tmp_path / f"{name}.mlpackage")
        assert 0.97 * (fixed + planned) < size(tight.path) <= fixed + planned
    with pytest.raises(UsageError, match=r"no layer of seven_classes has enough .* \(the most: .*0\.0%\): take fp16"):
        coreml.export(seven_classes, asked, tmp_path / "none.mlpackage")
    assert not (tmp_path / "none.mlpackage").exists()
