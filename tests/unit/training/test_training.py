"""The training script's own arithmetic: folding, the font split, pools, intervals."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def training_importable(monkeypatch) -> None:
    """training/ is no package and not in the wheel: its scripts import each other from their own folder."""
    monkeypatch.syspath_prepend(str(ROOT / "training"))


PICTURES = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(8)) * 4 - 2


def trained_network():
    """A network as training leaves it: every normalisation has seen data, so what goes in is still seen in what comes out."""
    import train

    torch.manual_seed(3)
    network = train.start(seed=3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = None  # plain averages
    torch.nn.init.normal_(network.classifier[1].weight, std=0.2)
    with torch.no_grad():
        for _ in range(3):
            network.train()(PICTURES + 0.3 * torch.randn_like(PICTURES))
    return network.eval()


def answers(network: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        scores: torch.Tensor = network(PICTURES)
    # What differs between pictures: a constant part common to all would hide a wrong fold.
    return scores - scores.mean(dim=0)


def test_folding_keeps_the_function_and_gives_torchvision_keys() -> None:
    import train

    network = trained_network()
    plain = train.folded(network, 34)
    assert list(plain.state_dict()) == list(train.SqueezeNet("squeezenet1_1", 34).state_dict())
    wanted = answers(network)
    assert wanted.abs().max() > 0.05
    assert (wanted - answers(plain)).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize(
    "damaged", ["features.0.bias", "features.3.squeeze.weight", "features.12.expand3x3.bias", "classifier.1.weight"]
)
def test_a_wrong_fold_would_be_seen(damaged: str) -> None:
    import train

    network = trained_network()
    plain = train.folded(network, 34)
    with torch.no_grad():
        parameter = plain.get_parameter(damaged)
        parameter.mul_(1.02)
    wanted = answers(network)
    assert (wanted - answers(plain)).abs().max() > 1e-4 * wanted.abs().max()


def test_weights_that_do_not_fit_fp16_are_not_written(tmp_path) -> None:
    import train

    network = train.SqueezeNet("squeezenet1_1", 34)
    with torch.no_grad():
        network.classifier[1].bias[0] = 1e6
    with pytest.raises(SystemExit, match="fp16"):
        train.save(network, tmp_path / "w.safetensors", {})
    assert not (tmp_path / "w.safetensors").exists()


def test_no_family_and_no_design_is_on_both_sides_of_the_split() -> None:
    with (ROOT / "training" / "fonts.toml").open("rb") as stream:
        split = tomllib.load(stream)
    train_families = [family for families in split["train"].values() for family in families]
    held_out = [family for families in split["held_out"].values() for family in families]
    assert len(train_families) == len(set(train_families))
    assert not {f.lower() for f in train_families} & {f.lower() for f in held_out}
    assert len(split["train"]) >= 60
    assert len(split["held_out"]) >= 12
    # No training family may even begin with a held-out name: "Oxygen Mono", "Anonymous Pro Minus", "Yrsa ..." are relatives.
    for family in held_out:
        assert not [other for other in train_families if other.lower().startswith(family.lower().split("-")[0])]


def test_the_package_ships_exactly_the_held_out_designs() -> None:
    from squeeze_export.demo import characters

    with (ROOT / "training" / "fonts.toml").open("rb") as stream:
        split = tomllib.load(stream)
    assert {face.family for face in characters.faces()} == set(split["held_out"])
    licence = (characters.DATA / "GLYPHS-LICENSE.txt").read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE Version 1.1" in licence
    for family in split["held_out"]:
        assert f"\n{family}: " in licence


def test_augmentation_changes_pictures_but_keeps_their_middle() -> None:
    import train

    pictures = torch.zeros(4, 3, 128, 128, dtype=torch.uint8)
    pictures[:, :, 48:80, 48:80] = 200
    out = train.augmented(pictures, 112, torch.Generator().manual_seed(1))
    again = train.augmented(pictures, 112, torch.Generator().manual_seed(1))
    other = train.augmented(pictures, 112, torch.Generator().manual_seed(2))
    assert out.shape == (4, 3, 112, 112)
    assert torch.equal(out, again)
    assert not torch.equal(out, other)
    assert (out[:, :, 50:62, 50:62] > 100).all()


def test_wilson_interval_against_published_values() -> None:
    from evaluate_demo import interval

    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    low, high = interval(81, 263)
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert interval(100, 100)[1] == 1.0
    assert interval(100, 100)[0] < 0.97


def test_measurement_sees_the_same_pixels_as_the_package_preset() -> None:
    from evaluate_demo import pixels

    from squeeze_export.demo import characters

    crop = pixels(7, 3)
    assert crop.shape == (224, 224, 3)
    picture, _ = characters.demo_image(3, 7)
    assert np.asarray(picture).mean() == pytest.approx(crop.mean(), abs=40)


def test_curves_are_flattened_close_to_the_true_curve() -> None:
    from fonts import _bezier

    # A quarter circle as a cubic: every point lies within 0.1 % of the radius.
    k = 0.5522847498
    points = np.array(_bezier([(1000, 0), (1000, 1000 * k), (1000 * k, 1000), (0, 1000)]))
    assert np.abs(np.hypot(*points.T) - 1000).max() < 1
    assert 4 <= len(points) <= 12
    assert points[-1].tolist() == [0.0, 1000.0]
