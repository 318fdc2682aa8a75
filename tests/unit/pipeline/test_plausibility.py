"""What the reference is shown and answers, looked at before any conversion: told where it is wrong, silent where it is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from squeeze_export.commands.request.settled import build_request
from squeeze_export.commands.request.written import Options, read_config
from squeeze_export.demo import characters
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.golden.images import demo_images, read_folder
from squeeze_export.golden.pack import make_golden
from squeeze_export.pipeline.plausibility import golden_labels, judged
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source

MEAN_255, STD_255 = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def demo_spec(preset="torchvision", **changed):
    return spec_for(preset, model="squeezenet1_1", **changed)


@pytest.fixture(scope="module")
def source():
    return load_source(
        name="net", model="squeezenet1_1", weights="demo", seed=0, labels=None, preprocessing=demo_spec(input_size=(96, 96))
    )


def told(source, preset="torchvision", *, folder=None, own=None, change=None, **changed):
    """The notes of an export of this source over its demo images, or those of a folder."""
    source = replace(source, preprocessing=demo_spec(preset, **({"input_size": (96, 96)} | changed)))
    source = change(source) if change else source
    pictures, paths = (demo_images(), []) if folder is None else read_folder(folder)[:2]
    labels = golden_labels(folder, paths, source)
    return judged(source, make_golden(source, pictures), labels, own_images=folder is not None if own is None else own)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Eight demo pictures, a folder per class, by label."""
    folder = tmp_path_factory.mktemp("labelled")
    for index in range(3, 11):
        picture, label = characters.demo_image(7, index)
        (folder / characters.CHARACTERS[label]).mkdir()
        picture.save(folder / characters.CHARACTERS[label] / "a.png")
    return folder


def relabelled(labelled, folder, order):
    """The same pictures, their labels.tsv by another order of classes."""
    folder.mkdir()
    lines = ["file\tclass_index"]
    for path in sorted(labelled.glob("*/*.png")):
        name = f"{path.parent.name}.png"
        (folder / name).symlink_to(path)
        lines.append(f"{name}\t{order(characters.CHARACTERS.index(path.parent.name))}")
    (folder / "labels.tsv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_the_demo_and_labelled_images_tell_how_many_are_right(source, labelled):
    # At 96 pixels the demo weights are less sure than at 224, and right all the same.
    (line,) = told(source)
    assert line.startswith("the reference is right on ") and line.endswith(" of the 8 golden images")
    (line,) = told(source, folder=labelled)
    assert line.endswith(" of the 8 golden images")


def test_labels_in_another_order_are_named_on_eight_images(source, labelled, tmp_path):
    (line,) = told(source, folder=relabelled(labelled, tmp_path / "one", lambda label: label + 1))
    assert "the reference is at chance: it is right on 0 of the 8 golden images" in line
    assert "With the labels counted from 1 it is right on" in line
    (line,) = told(source, folder=relabelled(labelled, tmp_path / "back", lambda label: 33 - label))
    assert "With the classes in reverse it is right on" in line


def test_images_with_half_their_labels_and_with_none_that_can_be_read(source, labelled, tmp_path):
    half = relabelled(labelled, tmp_path / "half", lambda label: label)
    table = (half / "labels.tsv").read_text(encoding="utf-8").splitlines()
    (half / "labels.tsv").write_text("\n".join(table[:5]), encoding="utf-8")
    (line,) = told(source, folder=half)
    assert line.endswith("of the 4 golden images that have labels")
    (half / "labels.tsv").write_text("\n".join([*table[:5], table[5].replace("\t", "\t9")]), encoding="utf-8")
    first = told(source, folder=half)[0]
    assert first.startswith("the golden images were taken without labels, which cannot be read: ")
    assert "classes that the model does not" in first
    (half / "labels.tsv").unlink()
    assert told(source, folder=half) == ()


def test_numbers_of_another_unit_are_told_with_the_flag(source, labelled):
    noted = told(source, mean=MEAN_255, std=STD_255)
    assert noted[0].startswith("the inputs of the golden images span 0.017")
    assert "--mean and --std look like units of 0..255 (mean 123.675/116.28/103.53 and std 58.395/57.12/57.375)" in noted[0]
    assert noted[0].endswith("Pass --scale 1, or divide them by 255.")
    assert any("at chance" in line and "With --preprocessing torchvision it is right on" in line for line in noted)
    large = told(source, mean=MEAN_255, std=STD_255, input_size=(224, 224))
    assert large[1] == "the reference is right on 1 of the 8 golden images"  # too few to call it chance
    assert "all 8 golden images one class (9, at 0.068 to 0.069). Their labels name 8. Check --preprocessing" in large[2]
    assert told(source, mean=MEAN_255, std=STD_255, scale=1.0) == told(source)
    alone = told(source, std=STD_255)[0]
    assert "--std looks like units of 0..255" in alone and alone.endswith("Divide it by 255.")
    # Without labels of theirs, pictures of the user's are asked about.
    flat = [
        line for line in told(source, folder=labelled, mean=MEAN_255, std=STD_255) if "one class" in line or "at chance" in line
    ]
    assert len(flat) == 1


@pytest.mark.parametrize(
    ("preset", "changed"),
    [
        ("caffe", {}),
        ("inception", {}),
        ("torchvision", {}),
        ("torchvision", {"mean": (0, 0, 0), "std": (1, 1, 1)}),
        ("torchvision", {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ("torchvision", {"mean": MEAN_255, "std": STD_255, "scale": 1.0}),
        ("torchvision", {"mean": (0, 0, 0), "std": (255.0,) * 3, "scale": 1.0}),
        ("torchvision", {"mean": (128,) * 3, "std": (128,) * 3, "scale": 1.0}),
        ("caffe", {"mean": (0, 0, 0)}),
        ("caffe", {"mean": (104.008, 116.669, 122.675), "std": (57.375, 57.12, 58.395)}),
        ("torchvision", {"mean": (1,) * 3, "std": (1,) * 3, "scale": 1 / 127.5}),
        ("caffe", {"mean": (1.77, 1.99, 2.09), "scale": 0.017}),
    ],
)
def test_what_people_really_use_is_no_other_unit(seven_classes, preset, changed):
    # Random weights: nothing is said of their answers, so a note would be of the inputs.
    spec = demo_spec(preset, input_size=(65, 64), **changed)
    source = replace(seven_classes, preprocessing=spec)
    noted = [line for line in _inputs(source) if "span" in line]
    assert noted == []


def _inputs(source):
    pack = make_golden(source, demo_images()[:3])
    # Caffe's numbers saturate random weights: what is asked here is what is said of the inputs.
    calm = replace(
        pack.reference, logits=pack.reference.logits / 1e3, probabilities=np.full_like(pack.reference.probabilities, 1 / 7)
    )
    return judged(source, replace(pack, reference=calm), golden_labels(None, [], source), own_images=False)


@pytest.mark.parametrize(
    ("preset", "changed", "expected"),
    [
        ("torchvision", {"mean": MEAN_255}, "--mean looks like units of 0..255"),
        ("torchvision", {"scale": 1.0}, "--mean and --std look like units of 0..1"),
        ("torchvision", {"mean": (0, 0, 0), "scale": 1.0}, "Pass --scale 0.00392157 (1/255), or multiply it by 255."),
        ("caffe", {"scale": 1 / 255}, "Pass --scale 1, or divide it by 255."),
        ("caffe", {"mean": (0.4, 0.45, 0.48)}, "--mean looks like units of 0..1"),
        ("caffe", {"std": (0.2, 0.2, 0.2)}, "--std looks like units of 0..1"),
        ("inception", {"scale": 1 / 255}, "--mean and --std look like units of 0..255"),
        ("torchvision", {"mean": (-3.0, 0.4, 0.4)}, "--mean looks like another unit than that of the pixels"),
        ("torchvision", {"mean": (0, 0, 0), "std": (1, 1, 1), "scale": 1 / 255**2}, "where 2 to 5 are usual: check --scale"),
    ],
)
def test_what_cannot_be_of_one_unit_is_told(seven_classes, preset, changed, expected):
    source = replace(seven_classes, preprocessing=demo_spec(preset, input_size=(65, 64), **changed))
    (line,) = [line for line in _inputs(source) if "span" in line]
    assert expected in line


def test_pictures_of_nearly_one_colour_are_not_blamed_on_the_flags(seven_classes):
    grey = [(f"{place}.png", np.full((80, 80, 3), 120 + place, np.uint8)) for place in range(3)]
    for place, (_, picture) in enumerate(grey):
        picture[place:40] += 5
    pack = make_golden(seven_classes, grey)
    (line,) = judged(seven_classes, pack, golden_labels(None, [], seven_classes), own_images=True)
    assert "nearly of one colour" in line and "--mean" not in line


def test_a_reference_that_is_no_measure_is_the_sources_fault(source, labelled):
    with pytest.raises(SourceError, match=r"own answers are saturated.*--mean and --std look like units of 0\.\.1") as caught:
        told(source, folder=labelled, scale=1.0)
    assert "With --preprocessing torchvision it is right on" in str(caught.value)
    with pytest.raises(SourceError, match="more than fp16 holds"):
        told(source, scale=300.0)
    with pytest.raises(SourceError, match="the same scores to the last digit, whatever it is shown"):
        told(source, scale=1e-12)

    def dead(source):
        weights = {name: torch.full_like(value, -1.0) for name, value in source.module.state_dict().items()}
        module = load_source(
            name="net", model="squeezenet1_1", weights="demo", seed=0, labels=None, preprocessing=source.preprocessing
        ).module
        module.load_state_dict(weights)
        return replace(source, module=module)

    with pytest.raises(SourceError, match="the last ReLU lets nothing through"):
        told(source, change=dead)

    def endless(source):
        weights = {name: value * 1e12 for name, value in source.module.state_dict().items()}
        module = load_source(
            name="net", model="squeezenet1_1", weights="demo", seed=0, labels=None, preprocessing=source.preprocessing
        ).module
        module.load_state_dict(weights)
        return replace(source, module=module)

    with pytest.raises(SourceError, match=r"its weights overflow, or its inputs do.*--scale, --mean and --std"):
        told(source, change=endless)


def test_default_images_of_another_model_are_not_held_against_it(source):
    def of_others(source):
        return replace(
            source, labels=tuple(f"thing {place}" for place in range(34)), weights=replace(source.weights, kind="file")
        )

    assert told(source, change=of_others) == ()
    # But answers that do not follow the images are seen on any.
    noted = told(source, change=of_others, mean=MEAN_255, std=STD_255)
    assert any("one class" in line and "Where they show several, check --preprocessing" in line for line in noted)


def test_random_weights_are_told_of_once(seven_classes):
    pack = make_golden(seven_classes, demo_images())
    assert judged(seven_classes, pack, golden_labels(None, [], seven_classes), own_images=True) == ()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("model", "weights", "right", "wrong"),
    [
        ("squeezenet1_1", "squeezenet1_1_torchvision.safetensors", "torchvision", "caffe"),
        ("squeezenet1_0", "squeezenet1_0_deep_compression.safetensors", "caffe", "torchvision"),
    ],
)
def test_real_weights_are_told_of_under_the_wrong_preset_only(real_data, model, weights, right, wrong):
    source = load_source(
        name="net",
        model=model,
        weights=real_data / "weights" / weights,
        seed=0,
        labels=None,
        preprocessing=spec_for(right, model=model),
    )
    folder = real_data / "images" / "evaluation"
    (line,) = told_at(source, folder)
    assert line.startswith("the reference is right on ")
    assert told_at(source, None) == ()
    try:
        lines = told_at(replace(source, preprocessing=spec_for(wrong, model=model)), folder)
    except SourceError as error:
        lines = (str(error),)
    assert any(f"With --preprocessing {right} it is right on" in line for line in lines)


def told_at(source, folder):
    pictures, paths = (demo_images(), []) if folder is None else read_folder(folder)[:2]
    return judged(source, make_golden(source, pictures), golden_labels(folder, paths, source), own_images=folder is not None)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[0.485, 0.456, 0.406]", (0.485, 0.456, 0.406)),
        ("(0.485,0.456,0.406)", (0.485, 0.456, 0.406)),
        ("0.485 0.456 0.406", (0.485, 0.456, 0.406)),
        (" 0.485;0.456 ; 0.406 ", (0.485, 0.456, 0.406)),
        ("[0.485 0.456 0.406]", (0.485, 0.456, 0.406)),
        ("0.5", (0.5, 0.5, 0.5)),
        ("[127.5]", (127.5, 127.5, 127.5)),
        (".5,5e-1,+0.5", (0.5, 0.5, 0.5)),
    ],
)
def test_means_and_deviations_are_read_as_people_write_them(written, expected):
    made = build_request(Options(target=("tflite",), mean=written, std=written))
    assert (made.preprocessing.mean, made.preprocessing.std) == (expected, expected)


@pytest.mark.parametrize("written", ["", "[]", "0.5,0.5", "1,2,3,4", "a,b,c", "0,485 0,456 0,406", "0.5,,x"])
def test_other_numbers_of_numbers_are_refused(written):
    with pytest.raises(UsageError, match=r"neither three numbers, such as 0\.485,0\.456,0\.406, nor one for all channels"):
        build_request(Options(target=("tflite",), mean=written))
    if written.startswith("0,"):
        with pytest.raises(UsageError, match="Write decimals with a point"):
            build_request(Options(target=("tflite",), mean=written))
    with pytest.raises(UsageError, match="std"):
        build_request(Options(target=("tflite",), std="0"))


@pytest.mark.parametrize(("written", "expected"), [("0.5", 0.5), ("[0.5]", 0.5), ("[1, 1, 1]", 1), ('"0.5 0.5 0.5"', 0.5)])
def test_config_files_take_one_number_too(tmp_path, written, expected):
    path = tmp_path / "export.toml"
    path.write_text(f"target = 'tflite'\nmean = {written}\n", encoding="utf-8")
    assert build_request(read_config(path)).preprocessing.mean == (expected,) * 3
