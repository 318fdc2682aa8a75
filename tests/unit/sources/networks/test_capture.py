from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from squeeze_export.errors import SourceError
from squeeze_export.sources.captured import kernels_of
from squeeze_export.sources.networks.capture import capture, centred_snr, compare, fold_batch_norms
from squeeze_export.validation.noise import measure
from tests.unit.sources.networks import nets


def images(count=3, size=(20, 16)):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(5))


def captured(module, **options):
    return capture(module, 20, 16, **options)


def line_of(code):
    lines = Path(nets.__file__).read_text(encoding="utf-8").splitlines()
    return f"nets.py, line {next(place for place, line in enumerate(lines, 1) if code in line)}"


def refused(module, *words, **options):
    with pytest.raises(SourceError) as caught:
        captured(module, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", [nets.Plain, nets.Residual, nets.Attention])
def test_a_capture_is_the_module_to_the_bit(kind):
    module = nets.settled(kind())
    found = captured(module)
    assert (found.how, found.output, found.notes, found.input_shape) == ("exported", None, (), (1, 3, 20, 16))
    assert compare(found, module, images()) == math.inf
    own = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    assert set(found.module().state_dict()) == own
    assert not found.module().training and found.module().eval() is not None


def test_dropouts_and_aliases_are_taken_out():
    class Aliasing(nets.Plain):
        def forward(self, x):
            return super().forward(torch.ops.aten.alias(x).detach())

    found = captured(nets.settled(Aliasing()))
    assert not any(word in found.program.graph_module.code for word in ("alias", "detach", "dropout"))


def test_batch_norms_are_folded_where_a_layer_feeds_them_alone():
    module = nets.settled(nets.Residual())
    folded, names = fold_batch_norms(captured(module))
    assert names == ("depthwise", "hidden")
    kept = set(folded.module().state_dict())
    assert "depthwise.bias" in kept and "joined.running_mean" in kept and "norm.weight" not in kept
    assert 110 < compare(folded, module, images()) < math.inf
    exact = module.depthwise.weight.double() * (
        module.norm.weight.double() / (module.norm.running_var.double() + module.norm.eps).sqrt()
    ).reshape(-1, 1, 1, 1)
    assert torch.equal(folded.module().state_dict()["depthwise.weight"], exact.float())
    again, none = fold_batch_norms(folded)
    assert (again is folded, none) == (True, ())


def test_a_layer_that_two_norms_or_others_use_is_not_folded():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.one, self.other = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
            self.second, self.third = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.first(x)
            x = self.one(x) + self.other(x)
            x = self.third(self.second(x)) + self.second(x * 2)  # the weights, not the result, are used twice
            return x.mean((2, 3))

    found, names = fold_batch_norms(captured(nets.settled(Shared())))
    assert names == ()
    assert "third.running_mean" in found.module().state_dict()


def test_one_of_several_outputs_is_taken_by_name():
    module = nets.settled(nets.Dictionary())
    found = captured(module, output="logits")
    assert (found.output, found.how) == ("logits", "exported")
    assert compare(found, module, images()) == math.inf
    assert torch.equal(found.answers(images(1)), module(images(1))["logits"])
    assert "head.weight" in found.module().state_dict()
    assert torch.equal(captured(nets.settled(nets.Pair()), output="1").answers(images()), found.answers(images()))
    assert captured(module, output="1").output == "embedding"  # by its place, where no output has that name
    assert isinstance(module(images(1)), dict)  # the module itself still gives all of them


def test_several_outputs_of_which_none_is_named_are_listed():
    refused(nets.settled(nets.Dictionary()), "2 outputs: logits (1, 5), embedding (1, 8)", "--model-output logits")
    refused(nets.settled(nets.Pair()), "2 outputs: 0 (1, 8, 18, 14), 1 (1, 5)", "--model-output 1")
    refused(nets.settled(nets.Pair()), "no such output, but 0", output="logits")
    refused(nets.settled(nets.Pair()), "has shape (1, 8, 18, 14) for one image", output="0")
    refused(nets.settled(nets.Plain()), "one tensor, which has no name", output="logits")


def test_the_only_output_of_a_mapping_is_taken_and_said():
    class Alone(nets.Plain):
        def forward(self, x):
            return {"scores": super().forward(x), "loss": None}

    found = captured(nets.settled(Alone()))
    assert found.output == "scores" and "scores was taken" in found.notes[0]


def test_what_the_chosen_output_does_not_need_is_no_layer_of_it():
    module = nets.settled(nets.TwoHeads())
    found = captured(module, output="tags")
    assert not [name for name in found.module().state_dict() if name.startswith("other")]
    assert compare(found, module, images()) == math.inf  # with the mask, which is written through a view
    assert kernels_of(captured(module, output="embedding").module())[-1] == "other.weight"


def test_what_depends_on_the_image_is_refused_with_file_and_line():
    refused(nets.settled(nets.Branching()), "computes other things for other images", line_of("if x.mean() > 0"), "torch.where")
    refused(nets.settled(nets.Counting()), "computes other things for other images", line_of("x.detach().numpy().max()"))


def test_what_only_tracing_takes_is_said():
    module = nets.settled(nets.Scaled())
    found = captured(module)
    assert found.how == "traced"
    assert "torch.export does not take the network" in found.notes[0] and "torch.jit.trace" in found.notes[0]
    assert compare(found, module, images()) == math.inf


def test_a_traced_program_has_its_layers_and_numbers_as_an_exported_one():
    module = nets.settled(nets.Measured())
    found = captured(module)
    assert found.how == "traced"
    assert compare(found, module, images()) == math.inf
    plain = captured(nets.settled(nets.Plain()))
    assert kernels_of(found.module()) == kernels_of(plain.module())
    before = [str(node.target) for node in plain.module().graph.nodes if node.op == "call_function"]
    after = [str(node.target) for node in found.module().graph.nodes if node.op == "call_function"]
    assert after == [*before, "aten.mul.Tensor", "aten.add.Tensor"]
    assert measure(found.module(), images()).fp32 is not None


def test_a_wrong_size_is_the_networks_own_error_in_one_line():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3 * 8 * 8, 4)

        def forward(self, x):
            return self.head(x.flatten(1))

    refused(nets.settled(Fixed()), "cannot compute an image of 3 x 20 x 16", "mat1 and mat2 shapes cannot be multiplied", "line")
    refused(nets.settled(nets.Plain()), "an image of 1 x 20 x 16", channels=1)


def test_scores_that_are_none_are_refused():
    damaged = nets.settled(nets.Plain())
    damaged.head.bias[1] = math.nan
    refused(damaged, "1 of 5 values that are NaN or infinite")

    class Other(nn.Module):
        def __init__(self, give):
            super().__init__()
            self.give = give

        def forward(self, x):
            return self.give(x)

    refused(Other(lambda x: x), "has shape (1, 3, 20, 16) for one image")
    refused(Other(lambda x: "cat"), "gives no tensor, but a str")
    refused(Other(lambda x: x.mean((2, 3)).argmax(1, keepdim=True)), "of int64")
    refused(Other(lambda x: nn.functional.dropout(x, 0.5).mean((2, 3))), "something in it is random")
    refused(Other(lambda x: x.mean((2, 3))[:, :0]), "has shape (1, 0)")
    assert captured(Other(lambda x: x.mean((1, 2, 3)).unsqueeze(1))).answers(images()).shape == (3, 1)


def test_a_module_that_changes_itself_is_refused():
    class Counted(nets.Plain):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x):
            self.seen += 1
            return super().forward(x)

    refused(nets.settled(Counted()), "changes its own buffers", "seen")


def test_another_module_is_told_from_the_captured_one():
    found = captured(nets.settled(nets.Plain()))
    other = nets.settled(nets.Plain(), seed=1)
    with pytest.raises(SourceError, match="dB on the images"):
        compare(found, other, images())
    shifted = nets.settled(nets.Plain())
    shifted.head.bias += 1  # alike in all scores: centring alone would not see it
    with pytest.raises(SourceError, match="dB on the images"):
        compare(found, shifted, images())


def test_the_snr_is_that_of_centred_scores():
    expected = torch.tensor([[1.0, 3.0], [5.0, 3.0]])
    assert centred_snr(expected, expected) == math.inf
    assert centred_snr(expected, expected + 7) == math.inf
    assert centred_snr(expected, expected + torch.tensor([[0.1, -0.1]])) == pytest.approx(20, abs=0.01)
    assert centred_snr(expected[:, :1], expected[:, :1] * 1.1) == pytest.approx(20, abs=0.01)


def test_blocks_without_gradients_stand_in_the_graph_itself():
    class Blocks(nets.Plain):
        def forward(self, x):
            with torch.no_grad():
                x = self.features(x)
                with torch.enable_grad():
                    pooled = x.mean((2, 3))
            with torch.enable_grad(), torch.autocast("cpu", enabled=False):
                return self.head(pooled) + x.amax((1, 2, 3), keepdim=True).flatten(1)

    module = nets.settled(Blocks())
    found = captured(module)
    assert compare(found, module, images()) == math.inf
    assert "higher_order" not in found.program.graph_module.code
    assert fold_batch_norms(found)[1] == ("features.0",)


def test_operations_that_no_exporter_takes_are_named():
    class Lower(nets.Plain):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(x).float()

    refused(nets.settled(Lower()), "wrap_with_autocast", "PyTorch's own operations")
