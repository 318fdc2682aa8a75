"""What a program has switched in torch does not reach into an export."""

from __future__ import annotations

import pytest
import torch

from squeeze_export import torch_state
from squeeze_export.golden.images import read_folder
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source


@pytest.fixture
def switched():
    """All that a program may have switched at once; put back afterwards."""
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        yield
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    torch.set_default_device(device)
    torch.set_default_dtype(dtype)


@torch_state.usual()
def pack(folder):
    spec = spec_for("torchvision", model="squeezenet1_1", input_size=(65, 64))
    source = load_source(name="net", model="squeezenet1_1", weights="random", seed=3, labels=None, preprocessing=spec)
    return make_golden(source, read_folder(folder)[0][:2])


def test_the_same_reference_comes_out(image_folder, request):
    before = pack(image_folder)
    request.getfixturevalue("switched")
    again = pack(image_folder)
    assert again.weights == before.weights
    assert again.reference.logits.tobytes() == before.reference.logits.tobytes()
    assert (torch.get_default_dtype(), str(torch.get_default_device())) == (torch.float64, "meta")
    assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled()
    assert torch.are_deterministic_algorithms_enabled()


def test_the_commands_of_the_library_are_shielded(switched, monkeypatch):
    """Each public walk begins in torch's usual state."""
    from squeeze_export.evaluation import walk
    from squeeze_export.pipeline import walk as pipeline
    from squeeze_export.verification import bundles, comparison

    for module, name, inner in (
        (pipeline, "export", "plan"), (bundles, "verify", "open_bundle"), (comparison, "compare", "open_bundle"),
        (walk, "evaluate", "open_bundle"),
    ):  # fmt: skip
        seen = []

        def stop(*_, seen=seen):
            seen.append((torch.get_default_dtype(), torch.is_inference_mode_enabled(), torch.empty(1).device.type))
            raise KeyError

        monkeypatch.setattr(module, inner, stop)
        with pytest.raises(KeyError):
            getattr(module, name)(*(walk.EvaluationRequest(bundle="x", images="demo"), None)[: 1 if module is pipeline else 2])
        assert seen == [(torch.float32, False, "cpu")]
