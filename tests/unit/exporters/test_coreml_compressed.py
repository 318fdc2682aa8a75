"""Compressed packages, opened from disk again: every coding decodes to what was chosen, and the program says the same in less."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from squeeze_export.compression.codings import CodedWeight, Coding
from squeeze_export.compression.network import convolutions, hold
from squeeze_export.contracts import LOGITS_TAP, ExportSettings
from squeeze_export.errors import ConversionError, UsageError
from squeeze_export.exporters import coreml, coreml_blobs, coreml_sizes
from squeeze_export.validation.mil.blobs import read_blobs
from squeeze_export.validation.runners import mil_reference

FORMS = ("pal6x2", "pal3", "pal1", "pal4", "pal8x4", "pal4g4", "keep-pal2", "pal8", "keep-pal6", "pal2", "pal3x2g2")


def settings(target):
    return ExportSettings(precision="fp16", input_kind="image", output_kind="logits", ios_target=target)


def random_coding(coding, shape, generator):
    """Any weights of this coding: what stands in a package does not depend on how they were chosen."""
    rows = shape[0] // coding.vector
    indices = generator.integers(0, 2**coding.bits, (rows, *shape[1:])).astype(np.uint8)
    spread = 1 / np.sqrt(np.prod(shape[1:]))
    values = generator.normal(size=(coding.groups, 2**coding.bits, coding.vector))
    table = ((values - values.mean(axis=(1, 2), keepdims=True)) * spread).astype(np.float16)  # or a ReLU would see nothing
    mask = None
    if coding.zeros is not None:
        mask = generator.random(shape) < 0.4
        indices = np.where(mask, indices, 0).astype(np.uint8)
    return CodedWeight(coding=coding, indices=indices, table=table, mask=mask)


def coded_network(source, forms):
    """A source whose weights are the decoded ones, and the coded ones by layer."""
    import copy

    module, generator = copy.deepcopy(source.module), np.random.default_rng(2)
    coded = {}
    for place, (name, layer) in enumerate(convolutions(module).items()):
        coding, shape = Coding.parse(forms[place % len(forms)]), tuple(layer.weight.shape)
        if not coding.fits(shape):  # seven classes
            coding = Coding.parse("keep-pal4" if "keep-pal2" in forms else "pal4")
        coded[name] = random_coding(coding, shape, generator)
        bias = torch.linspace(-0.1, 0.1, shape[0]).half().float().numpy()
        hold(layer, coded[name].decoded(), bias + 0.5)
    return dataclasses.replace(source, module=module), coded


@pytest.fixture(scope="module", params=["iOS18", "iOS16"])
def written(request, seven_classes, tmp_path_factory):
    forms = FORMS if request.param == "iOS18" else ("pal4", "pal6", "pal8", "pal2", "pal1")
    source, coded = coded_network(seven_classes, forms)
    path = tmp_path_factory.mktemp(request.param) / "small.mlpackage"
    artifact = coreml.write(source, settings(request.param), path, coded=coded)
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
    operations = set(artifact.operators)
    assert "constexpr_lut_to_dense" in operations
    plain = coreml.write(source, settings(artifact.deployment_target), tmp_path / "plain.mlpackage")

    def text(package):
        return (package / "Data/com.apple.CoreML/model.mlmodel").stat().st_size

    assert text(artifact.path) < 0.6 * text(plain.path)
    if artifact.deployment_target != "iOS18":
        return
    # The plan counts every byte of the kernels' blobs, and never less than the file takes.
    planned = sum(coreml_sizes.stored(w.coding, w.shape, int((w.decoded() != 0).sum())) for w in coded.values())
    fixed = coreml_sizes.fixed(source, settings("iOS18"))
    whole = sum(file.stat().st_size for file in artifact.path.rglob("*") if file.is_file())
    assert planned + fixed - 26 * 200 < whole <= planned + fixed


def test_the_bytes_are_the_same_again(written, tmp_path):
    source, coded, artifact = written
    again = coreml.write(source, settings(artifact.deployment_target), tmp_path / "again.mlpackage", coded=coded)
    for file in sorted(artifact.path.rglob("*")):
        if file.is_file():
            assert (again.path / file.relative_to(artifact.path)).read_bytes() == file.read_bytes(), file.name


def test_what_the_file_would_not_hold_is_refused(written, tmp_path):
    source, coded, artifact = written
    name = next(iter(coded))
    swapped = coded | {name: dataclasses.replace(coded[name], table=coded[name].table[:, ::-1])}
    with pytest.raises(ConversionError, match="equals none of the compressed weights"):
        coreml.write(source, settings(artifact.deployment_target), tmp_path / "a.mlpackage", coded=swapped)
    assert not (tmp_path / "a.mlpackage").exists()
    if artifact.deployment_target == "iOS18":
        with pytest.raises(ConversionError, match="pal6x2 needs iOS18"):
            coreml.write(source, settings("iOS16"), tmp_path / "b.mlpackage", coded=coded)


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
    from squeeze_export.golden import demo_images, make_golden
    from squeeze_export.validation.judgement import judge_file

    asked = dataclasses.replace(settings("iOS16"), precision="pal8")
    waves = np.indices((8, 65, 64, 3))
    calibration = (127 + 120 * np.sin(waves[1] / (2 + waves[0]) + waves[3]) * np.cos(waves[2] / 5)).astype(np.uint8)
    artifact = coreml.export(seven_classes, asked, tmp_path / "small.mlpackage", calibration)
    pack = make_golden(seven_classes, demo_images())

    def judged(chosen):
        found = judge_file(
            "coreml", artifact.path, artifact.signature, "pal8", pack, labels=seven_classes.labels, folded=(), chosen=chosen
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
    small = dataclasses.replace(settings("iOS18"), precision="auto", size_budget=50_000)
    with pytest.raises(UsageError, match="the smallest reachable has"):
        coreml.export(seven_classes, small, tmp_path / "auto.mlpackage", calibration)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.mlpackage"]
