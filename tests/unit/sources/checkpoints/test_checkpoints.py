"""Checkpoints as training scripts leave them: which weights are taken, and what is said of it."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

from squeeze_export.errors import UsageError
from squeeze_export.sources.squeezenet import SqueezeNet
from squeeze_export.sources.weights import canonical_sha256, load_weights
from tests.unit.sources.checkpoints.checkpoints import MODEL, holds, load, refused, saved, state_of


def network(state):
    made = SqueezeNet(MODEL, 3)
    made.load_state_dict(state)
    return made


def optimizer():
    return {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def test_the_checkpoint_of_the_imagenet_example(tmp_path):
    content = {
        "epoch": 3,
        "arch": MODEL,
        "state_dict": state_of(prefix="module."),
        "best_acc1": torch.tensor(71.5),
        "optimizer": optimizer(),
    }
    loaded = load(saved(tmp_path / "model_best.pth.tar", content))
    assert holds(loaded, state_of())
    assert loaded.notes == ("The weights are those under 'state_dict.module' of the checkpoint.",)


@pytest.mark.parametrize("averaged", ["state_dict_ema", "model_ema", "ema", "ema_state_dict", "params_ema"])
def test_averaged_weights_come_first_and_a_key_takes_the_others(tmp_path, averaged):
    plain, average = state_of(1), state_of(2)
    path = saved(tmp_path / "last.pth.tar", {"state_dict": plain, averaged: average, "optimizer": optimizer()})
    loaded = load(path)
    assert holds(loaded, average)
    assert f"({averaged}, state_dict): {averaged} was taken, averaged over the training." in loaded.notes[0]
    assert "--checkpoint-key state_dict takes the others" in loaded.notes[0]
    chosen = load(path, checkpoint_key="state_dict")
    assert holds(chosen, plain)
    assert chosen.notes == ()


def test_the_digest_finds_the_weights_again_and_without_a_match_the_choice_stays(tmp_path):
    plain, average = state_of(1), state_of(2)
    path = saved(tmp_path / "x.ckpt", {"model": plain, "model_ema": {"state_dict": average}})
    for state in (plain, average):
        assert holds(load(path, sha256=canonical_sha256(state)), state)
    assert holds(load(path, sha256="0" * 64), average)


def test_an_unknown_key_names_those_that_are_there(tmp_path):
    path = saved(tmp_path / "x.pt", {"net": state_of(), "epoch": 2, "model_ema": {"state_dict": state_of(2)}})
    told = refused(path, "nothing under the key 'best'", "net", "model_ema.state_dict", checkpoint_key="best")
    assert "epoch" not in told
    refused(path, "no tensors by name under the key 'model_ema'", checkpoint_key="model_ema")
    refused(path, "'epoch'", checkpoint_key="epoch")
    assert holds(load(path, checkpoint_key="model_ema.state_dict"), state_of(2))
    bare = saved(tmp_path / "bare.pt", state_of())
    refused(bare, "leave --checkpoint-key out", checkpoint_key="state_dict")


def test_a_key_is_for_files_only():
    with pytest.raises(UsageError, match="--checkpoint-key ema is for weights from a file, and these are demo"):
        load_weights(MODEL, "demo", seed=0, checkpoint_key="ema")


@pytest.mark.parametrize("place", ["net", "network", "weights", "params", "best", "model.state_dict", "a.b.c"])
def test_a_state_dict_is_found_under_any_key(tmp_path, place):
    content = state_of()
    for key in reversed(place.split(".")):
        content = {key: content, "epoch": 1}
    assert holds(load(saved(tmp_path / "x.pt", content)), state_of())


def test_only_what_fits_is_taken_of_several(tmp_path):
    content = {"state_dict": {"conv1.weight": torch.zeros(3, 3)}, "student": state_of(), "generator": {"a": torch.zeros(2)}}
    loaded = load(saved(tmp_path / "x.pt", content))
    assert holds(loaded, state_of())
    assert loaded.notes == ("The weights are those under 'student' of the checkpoint.",)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "net.", "backbone.", "encoder_q.", "a.b.model.", "1.", "model._orig_mod."]
)
def test_any_prefix_that_makes_all_names_fit(tmp_path, prefix):
    assert holds(load(saved(tmp_path / "x.pt", state_of(prefix=prefix))), state_of())


def test_wrappers_within_names_do_not_matter(tmp_path):
    state = {name.replace("features.", "features._fsdp_wrapped_module."): value for name, value in state_of().items()}
    assert holds(load(saved(tmp_path / "x.pt", state)), state_of())


def test_a_lightning_checkpoint_with_its_losses_and_classes(tmp_path):
    content = {
        "pytorch-lightning_version": "2.1",
        "state_dict": {**state_of(prefix="model."), "criterion.weight": torch.ones(3), "train_acc.tp": torch.zeros(1)},
        "hyper_parameters": {"class_names": ["cat", "dog", "eel"], "root": pathlib.PurePosixPath("data"), "lr": np.float64(0.1)},
        "callbacks": {"checkpoint": {"best_model_score": torch.tensor(1.0)}},
    }
    loaded = load(saved(tmp_path / "epoch=3.ckpt", content))
    assert holds(loaded, state_of())
    assert loaded.notes == (
        "Left out, as no weights of the network: criterion.weight, train_acc.tp.",
        "The weights are those under 'state_dict.model' of the checkpoint.",
    )
    assert loaded.label_claims == {"class_names": ["cat", "dog", "eel"]}


def test_losses_beside_the_network_are_left_out_and_named(tmp_path):
    loaded = load(
        saved(tmp_path / "x.pt", {**state_of(), "criterion.weight": torch.ones(3), "loss_fn.pos_weight": torch.ones(3)})
    )
    assert holds(loaded, state_of())
    assert loaded.notes == ("Left out, as no weights of the network: criterion.weight, loss_fn.pos_weight.",)


def test_parts_that_change_the_answers_are_not_left_out(tmp_path):
    on_top = {**state_of(prefix="net."), "fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}
    refused(saved(tmp_path / "a.pt", on_top), "fc.weight (2, 3) is a further layer that takes the network's 3 outputs")
    within = {**state_of(), "features.3.se.fc1.weight": torch.zeros(2, 128)}
    refused(saved(tmp_path / "b.pt", within), "holds all 52 weights", "no place for: features.3.se.fc1.weight (2, 128)")
    in_front = {**state_of(), "stn.weight": torch.zeros(2)}
    refused(saved(tmp_path / "c.pt", in_front), "no place for: stn.weight (2,)")


def test_a_normalisation_in_the_model_is_told_with_its_numbers(tmp_path):
    state = {"0.mean": torch.tensor([0.5, 0.25, 0.125]), "0.std": torch.ones(3), **state_of(prefix="1.")}
    notes = load(saved(tmp_path / "x.pt", state)).notes
    assert notes[0] == "Left out, as no weights of the network: 0 (2 tensors)."
    assert notes[1].startswith("0.mean (0.5, 0.25, 0.125) was left out: if the model normalised its images by it")


def test_two_networks_in_one_state_dict_are_told_apart(tmp_path):
    first, second = "module.encoder_q", "module.encoder_k"
    state = {**state_of(1, prefix=f"{first}."), **state_of(2, prefix=f"{second}."), "module.queue": torch.zeros(8, 4)}
    path = saved(tmp_path / "moco.pth.tar", {"state_dict": state})
    loaded = load(path)
    assert holds(loaded, state_of(1))
    assert f"--checkpoint-key state_dict.{second} takes the others" in loaded.notes[0]
    assert "module.encoder_k (52 tensors), module.queue" in loaded.notes[1]
    assert holds(load(path, checkpoint_key=f"state_dict.{second}"), state_of(2))
    averaged = {**state_of(1, prefix="model."), **state_of(2, prefix="ema_model.module.")}
    assert holds(load(saved(tmp_path / "y.pt", averaged)), state_of(2))


def test_swa_weights_lose_their_counter(tmp_path):
    state = AveragedModel(network(state_of())).state_dict()
    assert "n_averaged" in state
    loaded = load(saved(tmp_path / "swa.pt", state))
    assert holds(loaded, state_of())
    assert "n_averaged" in loaded.notes[0]


def test_counters_of_profilers_and_compiled_names(tmp_path):
    state = {**state_of(), "total_ops": torch.zeros(1), "features.3.total_params": torch.zeros(1)}
    assert holds(load(saved(tmp_path / "thop.pt", {f"_orig_mod.{name}": value for name, value in state.items()})), state_of())


def test_pruned_weights_are_multiplied_with_their_masks(tmp_path):
    pruned = network(state_of())
    prune.l1_unstructured(pruned.features[0], "weight", 0.5)
    prune.l1_unstructured(pruned.features[3].squeeze, "bias", 0.25)
    state = pruned.state_dict()
    assert "features.0.weight_mask" in state
    loaded = load(saved(tmp_path / "pruned.pt", {"state_dict": state}))
    assert torch.equal(loaded.state["features.0.weight"], pruned.features[0].weight)
    assert torch.equal(loaded.state["features.3.squeeze.bias"], pruned.features[3].squeeze.bias)
    assert (loaded.state["features.0.weight"] == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    assert loaded.notes[0] == "2 pruned weights were multiplied with their masks (such as features.0.weight)."
    state["features.0.weight_mask"] = torch.ones(3)
    refused(saved(tmp_path / "odd.pt", state), "values of shape (64, 3, 3, 3) and a mask of shape (3,)")


def test_a_mask_as_a_parametrization(tmp_path):
    state = state_of()
    weight = state.pop("features.0.weight")
    mask = (weight > 0).to(weight.dtype)
    state |= {"features.0.parametrizations.weight.original": weight, "features.0.parametrizations.weight.0.mask": mask}
    assert torch.equal(load(saved(tmp_path / "x.pt", state)).state["features.0.weight"], weight * mask)
    del state["features.0.parametrizations.weight.0.mask"]
    refused(saved(tmp_path / "y.pt", state), "features.0.weight has a parametrization", "remove_parametrizations")


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, torch.nn.utils.weight_norm], ids=["new", "old"])
def test_weight_normalisation_is_computed(tmp_path, wrap):
    made = network(state_of())
    wrap(made.features[0])
    with torch.no_grad():
        for name, value in made.features[0].named_parameters():
            if name.endswith(("original0", "_g")):
                value.mul_(torch.linspace(1, 2, 64).reshape(64, 1, 1, 1))
    loaded = load(saved(tmp_path / "x.pt", made.state_dict()))
    made(torch.zeros(1, 3, 32, 32))  # the old form computes the weight before each run
    assert torch.allclose(loaded.state["features.0.weight"], made.features[0].weight, rtol=1e-6, atol=0)
    assert "weight normalisation" in loaded.notes[0]


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, torch.nn.utils.spectral_norm], ids=["new", "old"])
@pytest.mark.filterwarnings("ignore:.torch.nn.utils.spectral_norm. is deprecated:FutureWarning")
def test_spectral_normalisation_is_refused(tmp_path, wrap):
    made = network(state_of())
    wrap(made.features[0])
    refused(saved(tmp_path / "x.pt", made.state_dict()), "features.0.weight has spectral normalisation", "remove_spectral_norm")


def test_a_missing_bias_of_the_head_is_zero_and_any_other_is_missing(tmp_path):
    state = state_of()
    del state["classifier.1.bias"]
    loaded = load(saved(tmp_path / "x.pt", state))
    assert torch.equal(loaded.state["classifier.1.bias"], torch.zeros(3))
    assert loaded.notes == ("classifier.1.bias is not in the file: it is taken as zero, as of a last layer without bias.",)
    del state["features.0.bias"]
    refused(saved(tmp_path / "y.pt", state), "1 missing: features.0.bias (64,)")
    del state["classifier.1.weight"]
    refused(saved(tmp_path / "z.pt", state), "3 missing", "classifier.1.weight (classes, 512, 1, 1)")


def test_names_that_were_changed_are_shown_beside_those_that_are_missing(tmp_path):
    state = {name.replace("expand", "grow"): value for name, value in state_of().items()}
    refused(saved(tmp_path / "x.pt", state), "32 missing: features.3.expand1x1", "32 not the network's: features.10.grow1x1")


@pytest.mark.parametrize("form", ["zip", "protocol 4", "protocol 1", "stream", "bare pickle", "numpy"])
def test_every_way_of_saving_gives_the_same(tmp_path, form):
    state, path = state_of(), tmp_path / "weights"
    args = argparse.Namespace(data=pathlib.PurePosixPath("d"), class_to_idx={"cat": 0, "dog": 1, "eel": 2})
    content = {"model": state, "args": args, "acc": np.float32(0.5)}
    match form:
        case "zip":
            torch.save(content, path)
        case "protocol 4":
            torch.save(content, path, pickle_protocol=4)
        case "protocol 1":
            torch.save(content, path, pickle_protocol=1)
        case "stream":
            torch.save(content, path, _use_new_zipfile_serialization=False)
        case "bare pickle":
            path.write_bytes(pickle.dumps(content))
        case _:
            arrays = {name: np.asfortranarray(value.numpy()) for name, value in state.items()}
            path.write_bytes(pickle.dumps(content | {"model": arrays}))
    loaded = load(path)
    assert holds(loaded, state)
    assert loaded.label_claims == {"class_to_idx": {"cat": 0, "dog": 1, "eel": 2}}
    assert loaded.notes == ("The weights are those under 'model' of the checkpoint.",)


def test_tensors_that_share_a_storage_are_each_themselves(tmp_path):
    # A view into a larger storage, and a transposed one: what is stored is not what is meant.
    state, whole = state_of(), torch.randn(2, 64)
    state["features.0.bias"] = whole[1]
    state["features.0.weight"] = torch.randn(3, 3, 3, 64).permute(3, 0, 1, 2)
    for form in (True, False):
        loaded = load(saved(tmp_path / "x.pt", state, _use_new_zipfile_serialization=form))
        assert all(torch.equal(loaded.state[name], value) for name, value in state.items())


def test_parameters_and_tensors_with_attributes_are_tensors(tmp_path):
    state = {name: torch.nn.Parameter(value) for name, value in state_of().items()}
    state["features.0.weight"].tag = "mine"
    assert holds(load(saved(tmp_path / "x.pt", state)), state_of())


@pytest.mark.parametrize(
    ("content", "claims"),
    [
        ({"classes": ("cat", "dog", "eel")}, {"classes": ["cat", "dog", "eel"]}),
        ({"classes": np.array(["cat", "dog", "eel"])}, {"classes": ["cat", "dog", "eel"]}),
        ({"classes": np.array(["cat", "dog", "eel"], dtype=object)}, {"classes": ["cat", "dog", "eel"]}),
        ({"meta": {"CLASSES": ["cat", "dog", "eel"]}}, {"classes": ["cat", "dog", "eel"]}),
        ({"args": argparse.Namespace(id2label={0: "cat"})}, {"id2label": {0: "cat"}}),
        ({"config": {"label2id": {"cat": 0}, "names": {0: "cat"}}}, {"label2id": {"cat": 0}, "names": {0: "cat"}}),
        ({"class_to_idx": {"cat": torch.tensor(0), "dog": np.int64(1)}}, {"class_to_idx": {"cat": 0, "dog": 1}}),
        ({"idx_to_class": {"0": ["n01440764", "tench"]}}, {"idx_to_class": {"0": ["n01440764", "tench"]}}),
        ({"classes": 3, "names": [], "class_names": [object]}, {}),
        ({"names": ["top"], "args": {"names": ["inner"]}}, {"names": ["top"]}),
    ],
)
def test_what_a_checkpoint_says_of_its_classes(tmp_path, content, claims):
    loaded = load(saved(tmp_path / "x.pt", {"state_dict": state_of(), **content}))
    assert loaded.label_claims == claims


def test_safetensors_say_it_in_their_metadata(tmp_path):
    metadata = {"classes": '["cat", "dog", "eel"]', "config": '{"id2label": {"0": "cat"}}', "format": "pt"}
    save_file(state_of(), tmp_path / "x.safetensors", metadata=metadata)
    assert load(tmp_path / "x.safetensors").label_claims == {"classes": ["cat", "dog", "eel"], "id2label": {"0": "cat"}}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # such files are about all the same
def test_quantised_state_dicts_are_named(tmp_path):
    state = state_of()
    state["features.0.weight"] = torch.quantize_per_tensor(state["features.0.weight"], 0.1, 0, torch.qint8)
    refused(saved(tmp_path / "a.pt", state), "features.0.weight (quantised, qint8)")
    packed = {"features.0.weight": state["features.0.weight"], "features.0.scale": torch.tensor(0.1)}
    refused(
        saved(tmp_path / "b.pt", packed), "but a quantised state dict (it has features.0.weight)", "from before the quantization"
    )
    prepared = {**state_of(prefix="x."), "y.weight_fake_quant.scale": torch.ones(1)}
    del prepared["x.features.0.weight"]
    refused(saved(tmp_path / "c.pt", prepared), "quantised state dict (it has y.weight_fake_quant.scale)")


def test_an_entry_that_is_no_tensor_is_told_where_one_is_wanted(tmp_path):
    refused(saved(tmp_path / "x.pt", {**state_of(), "features.0.weight": 5}), "features.0.weight is no tensor (int)")


@pytest.mark.realdata
def test_real_weights_in_a_training_checkpoint(tmp_path, real_data):
    path = real_data / "weights" / "squeezenet1_1_torchvision.pth"
    plain = load(path)
    content = {
        "epoch": 9,
        "state_dict": {f"module.{name}": value for name, value in torch.load(path).items()},
        "best": torch.ones(1),
    }
    assert load(saved(tmp_path / "x.pth.tar", content)).origin.sha256 == plain.origin.sha256
    told = refused(real_data / "weights" / "tf_efficientnet_lite0.safetensors", "EfficientNet-Lite0 (timm's names)", MODEL)
    assert "missing" not in told


def test_a_checkpoint_of_a_machine_of_the_other_byte_order(tmp_path):
    saved(tmp_path / "x.pth", state_of())
    other = "big" if sys.byteorder == "little" else "little"
    with zipfile.ZipFile(tmp_path / "x.pth") as archive, zipfile.ZipFile(tmp_path / "y.pth", "w") as turned:
        for name in archive.namelist():
            data = archive.read(name)
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").byteswap().tobytes()
            turned.writestr(name, other if name.endswith("byteorder") else data)
    assert holds(load(tmp_path / "y.pth"), state_of())
