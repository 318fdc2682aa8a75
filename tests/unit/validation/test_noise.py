"""The noise floor against what can be worked out by hand, on tiny networks, and the bars that follow from it."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from squeeze_export.contracts.parity import NoiseFloor, NoiseLevel
from squeeze_export.validation import metrics
from squeeze_export.validation.noise import measure, tolerance


def images(count=4, side=16, channels=3):
    """Waves of other lengths and phases in each image: structure, as photographs have it."""
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    rows = [
        [np.sin(2 * np.pi * ((n + 1) * x + (c + 1) * y) + n) + 0.3 * (x > 0.2 * n) for c in range(channels)] for n in range(count)
    ]
    return np.array(rows, np.float32)


class Attention(nn.Module):
    """One layer of attention over patches, with a constant made in forward, a table in a list and an operation in place."""

    def __init__(self):
        super().__init__()
        self.patches, self.attention = nn.Conv2d(3, 16, 4, 4), nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 10)
        self.table = [torch.linspace(0.9, 1.1, 16)]

    def forward(self, image):
        values = self.patches(image).flatten(2).transpose(1, 2) * self.table[0]
        values = values + self.attention(values, values, values)[0]
        values += torch.arange(16, dtype=torch.float32) * 0.01
        return self.head(nn.functional.gelu(values.float()).mean(dim=1))


def conv_bn_relu():
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *head(16))


def depthwise():
    kernel = nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False)
    return nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU6(), kernel, nn.BatchNorm2d(16), nn.ReLU6(inplace=True), *head(16))


def hard_swish():
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish(inplace=True), *head(16))


def head(channels):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)


def deep(blocks):
    rest = [part for _ in range(blocks) for part in (nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *rest, *head(8))


def ready(build):
    """With random weights, batch norms that have seen the images, and in eval mode."""
    torch.manual_seed(3)
    network = build()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
            nn.init.uniform_(part.weight, 0.7, 1.3)
            nn.init.normal_(part.bias, 0, 0.2)
    with torch.no_grad():
        network.train()(torch.from_numpy(images(8)))
    return network.eval()


def answers(network, pixels):
    with torch.no_grad():
        return np.concatenate([network(torch.from_numpy(row[None])).numpy() for row in pixels])


def traced(network, pixels):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # of the checks inside torch's own attention
        return torch.jit.trace(network, torch.from_numpy(pixels[:1]), check_trace=False)


def passes(bar, reference, target):
    error = metrics.max_abs_error(reference, target) / np.abs(reference).max()
    centred = metrics.centred_snr_db(reference, target)
    return (
        error <= bar.max_error_of_peak
        and metrics.snr_db(reference, target) >= bar.min_snr_db
        and centred >= bar.min_centred_snr_db
    )


NETWORKS = (conv_bn_relu, depthwise, Attention, hard_swish)


def test_a_linear_layer_rounds_as_can_be_worked_out():
    """y = w x, with w and x that fp16 holds: the only rounding is that of y, to 11 binary digits."""

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[1.0, 1.0], [1.0, -1.0], [3.0, 5.0]]).T)

        def forward(self, image):
            return image.flatten(1) @ self.weight

    pixels = np.array([[1024.0, 0.5], [512.0, 0.25]], np.float32).reshape(2, 1, 1, 2)
    floor = measure(Product().eval(), pixels)
    exact = np.array([[1024.5, 1023.5, 3074.5], [512.25, 511.75, 1537.25]])
    rounded = np.array([[1024.0, 1023.5, 3074.0], [512.0, 511.75, 1537.0]])  # steps of 1, 1/2 and 2; of 1/2, 1/4 and 1; to even
    assert floor.fp16 == NoiseLevel(
        snr_db=pytest.approx(metrics.snr_db(exact, rounded)),
        centred_snr_db=pytest.approx(metrics.centred_snr_db(exact, rounded)),
        max_error_of_peak=pytest.approx(0.5 / 3074.5),
    )
    assert floor.fp32 == NoiseLevel(snr_db=math.inf, centred_snr_db=math.inf, max_error_of_peak=0.0)  # every sum is exact in fp32


def test_the_fp32_level_is_that_of_fp64():
    """A third has a known error in fp32, and 1 none."""

    class Third(nn.Module):
        def forward(self, image):
            return image.flatten(1) / torch.tensor(3.0)

    floor = measure(Third().eval(), np.array([1.0, 3.0, 2.0, 9.0], np.float32).reshape(2, 1, 1, 2))
    expected = np.array([[1 / 3, 1.0], [2 / 3, 3.0]])
    found = np.array([[np.float32(1) / np.float32(3), 1.0], [np.float32(2) / np.float32(3), 3.0]], np.float64)
    assert floor.fp32.snr_db == pytest.approx(metrics.snr_db(expected, found))
    assert floor.fp32.max_error_of_peak == pytest.approx(np.abs(expected - found).max() / 3)


def test_weights_that_are_fp16_already_do_not_promise_that_nothing_is_lost():
    network = ready(conv_bn_relu)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    assert 55 < measure(network, images()).fp16_stored.snr_db < 90


@pytest.mark.parametrize("build", NETWORKS)
def test_levels_are_where_the_formats_put_them(build):
    floor = measure(ready(build), images())
    assert floor.problems == () and (floor.images, floor.classes) == (4, 10)
    assert 110 < floor.fp32.centred_snr_db < 160 and floor.fp32.max_error_of_peak < 1e-5
    assert 40 < floor.fp16.centred_snr_db < 80 and 1e-5 < floor.fp16.max_error_of_peak < 1e-2
    assert floor.fp16.snr_db < floor.fp16_stored.snr_db + 6 < 100


@pytest.mark.parametrize("build", NETWORKS)
def test_a_graph_and_a_trace_have_the_floor_of_their_module(build):
    network, pixels = ready(build), images()
    sample = torch.from_numpy(pixels[:1])
    plain = measure(network, pixels)
    graph = measure(torch.export.export(network, (sample,), strict=False).module(), pixels)
    trace = measure(traced(network, pixels), pixels)
    for found in (graph, trace):
        assert found.problems == ()
        assert found.fp32.centred_snr_db == pytest.approx(plain.fp32.centred_snr_db, abs=3)
        assert found.fp16.centred_snr_db == pytest.approx(plain.fp16.centred_snr_db, abs=3)
        assert found.fp16_stored.centred_snr_db == pytest.approx(plain.fp16_stored.centred_snr_db, abs=3)


def test_the_floor_of_a_deeper_network_is_lower():
    shallow, deeper = (measure(ready(lambda blocks=blocks: deep(blocks)), images()) for blocks in (1, 12))
    assert deeper.fp32.snr_db < shallow.fp32.snr_db - 3
    assert deeper.fp16.snr_db < shallow.fp16.snr_db - 3
    assert tolerance(deeper, "fp16").min_snr_db < tolerance(shallow, "fp16").min_snr_db - 3


@pytest.mark.parametrize("build", NETWORKS)
def test_nothing_is_changed(build):
    network, pixels = ready(build), images()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    identities = {name: id(tensor) for name, tensor in network.named_parameters()}
    given, scores = pixels.copy(), answers(network, pixels)
    state = torch.is_grad_enabled(), torch.get_default_dtype(), torch.backends.mha.get_fastpath_enabled()
    flags = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    assert measure(network, pixels) == measure(network, torch.from_numpy(pixels))
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.backends.mha.get_fastpath_enabled()) == state
    assert (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()) == flags
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert {name: id(tensor) for name, tensor in network.named_parameters()} == identities
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    assert not network.training and all(tensor.requires_grad for tensor in network.parameters())
    assert np.array_equal(pixels, given) and np.array_equal(answers(network, pixels), scores)


def test_a_callers_switches_do_not_reach_into_it():
    network, pixels = ready(conv_bn_relu), images()
    plain = measure(network, pixels)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert measure(network, pixels) == plain


def test_what_a_network_keeps_is_kept_by_the_copy_alone():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.kept = ready(conv_bn_relu), {}

        def forward(self, image):
            self.kept.setdefault("last", self.inner[0].weight * 2)
            return self.inner(image) * self.kept["last"].mean()

    network = Keeps().eval()
    first = measure(network, images())
    assert network.kept == {}
    answers(network, images())
    again = measure(network, images())  # now the table is there, and is rounded as a weight
    assert again.fp16.snr_db == pytest.approx(first.fp16.snr_db, abs=6)


def test_an_overflow_is_named():
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.scale = ready(conv_bn_relu), nn.Hardtanh(-1e9, 1e9)

        def forward(self, image):
            return self.scale(self.inner(image) * 1e6) / 1e6

    floor = measure(Large().eval(), images())
    assert floor.fp16 is None and floor.fp32 is not None and floor.fp16_stored is not None
    ((level, reason),) = floor.problems
    assert level == "fp16" and "65504" in reason and "the first such result is that of mul" in reason
    with pytest.raises(ValueError, match=r"no noise floor for fp16: .*65504"):
        tolerance(floor, "fp16")
    assert tolerance(floor, "fp16", stored=True).precision == "fp16"

    network = nn.Sequential(nn.Conv2d(3, 4, 1), *head(4)).eval()
    with torch.no_grad():
        network[0].weight.fill_(3e4)
    assert "convolution in 0" in dict(measure(network, images()).problems)["fp16"]


def test_a_mask_of_minus_infinity_is_no_overflow():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ready(conv_bn_relu)

        def forward(self, image):
            scores = self.inner(image)
            mask = torch.zeros(10).index_fill(0, torch.tensor([3]), torch.finfo(torch.float32).min)
            return torch.softmax(scores + mask, dim=1) + scores

    assert measure(Masked().eval(), images()).fp16 is not None


def test_a_network_that_is_not_finite_has_no_floor():
    network = ready(conv_bn_relu)
    with torch.no_grad():
        network[-1].bias[2] = math.nan
    floor = measure(network, images())
    assert (floor.fp32, floor.fp16, floor.fp16_stored) == (None, None, None)
    assert {"own outputs are not finite" in reason for _, reason in floor.problems} == {True}


@pytest.mark.parametrize("count", [1, 4])
def test_a_network_that_does_not_see_the_image_has_no_floor(count):
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.usual = ready(conv_bn_relu), nn.Parameter(torch.randn(1, 10))

        def forward(self, image):
            return self.usual + 0 * self.inner(image)

    floor = measure(Blind().eval(), images(count))
    assert floor.fp32 is None and "do not differ between these images" in dict(floor.problems)["fp32"]
    with pytest.raises(ValueError, match="do not differ"):
        tolerance(floor, "fp32")


def test_what_rounding_hides_is_no_floor():
    class Faint(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ready(conv_bn_relu)
            self.usual = nn.Parameter(torch.randn(1, 10) * 100)

        def forward(self, image):
            return self.usual + 0.01 * self.inner(image)

    floor = measure(Faint().eval(), images())
    assert floor.fp32 is not None and floor.fp16 is None and "hides what differs" in dict(floor.problems)["fp16"]


@pytest.mark.parametrize(
    ("network", "pixels", "said"),
    [
        (nn.Flatten().eval(), np.zeros((4, 3, 2), np.float32), r"images \(N, C, H, W\)"),
        (nn.Flatten().eval(), np.zeros((0, 3, 2, 2), np.float32), r"images \(N, C, H, W\)"),
        (nn.Flatten().eval(), np.zeros((1, 3, 2, 2)), "float64"),
        (nn.Flatten(), np.zeros((1, 3, 2, 2), np.float32), "training mode"),
        (nn.Identity().eval(), np.zeros((1, 3, 2, 2), np.float32), r"gives \(1, 3, 2, 2\)"),
        (nn.LSTM(2, 2).eval(), np.zeros((1, 1, 2, 2), np.float32), "."),
    ],
)
def test_other_forms_are_refused(network, pixels, said):
    with pytest.raises((ValueError, RuntimeError), match=said):
        measure(network, pixels)


# Bars


def floor_of(snr=100.0, centred=98.0, error=1e-6, *, images=8, classes=1000, constant=3.0):
    level = NoiseLevel(snr_db=snr, centred_snr_db=centred, max_error_of_peak=error)
    return NoiseFloor(images=images, classes=classes, constant_db=constant, fp32=level, fp16=level, fp16_stored=level)


def test_a_bar_follows_its_floor_and_tells_it():
    bar, lower = tolerance(floor_of(), "fp32"), tolerance(floor_of(90, 88, 3e-6), "fp32")
    assert bar.precision == "fp32" and bar.probability_floor == 2.0**-120
    assert bar.min_snr_db - lower.min_snr_db == pytest.approx(10) and bar.min_snr_db - bar.min_centred_snr_db == pytest.approx(2)
    assert lower.max_error_of_peak == pytest.approx(3 * bar.max_error_of_peak, rel=0.05)
    assert "100 dB, 98 dB centred and 1e-06 of the peak" in bar.reason and "eager fp32 against fp64, 8 images" in bar.reason


def test_no_bar_asks_for_more_than_a_kernel_can_give():
    perfect = floor_of(math.inf, math.inf, 0.0)
    assert 110 <= tolerance(perfect, "fp32").min_snr_db <= 120 and tolerance(perfect, "fp32").max_error_of_peak > 1e-6
    assert 50 <= tolerance(perfect, "fp16").min_snr_db <= tolerance(perfect, "fp16", stored=True).min_snr_db <= 70
    assert "no error at all" in tolerance(perfect, "fp32").reason


def test_only_what_computes_in_fp16_has_its_floor_for_probabilities():
    assert tolerance(floor_of(), "fp16").probability_floor == 2.0**-14
    assert tolerance(floor_of(), "fp16", stored=True).probability_floor == 2.0**-120


def test_few_numbers_leave_more_room_and_none_lets_a_constant_pass():
    many, few = tolerance(floor_of(40, 40, 1e-2), "fp16"), tolerance(floor_of(40, 40, 1e-2, images=2, classes=2), "fp16")
    assert few.min_snr_db < many.min_snr_db - 6 and few.max_error_of_peak > 2 * many.max_error_of_peak
    assert tolerance(floor_of(20, 20, 0.1, images=1, classes=2, constant=9.0), "fp16").min_centred_snr_db >= 12


def test_one_class_is_judged_without_a_centred_snr():
    bar = tolerance(floor_of(100, math.nan, classes=1), "fp32")
    assert bar.min_centred_snr_db == bar.min_snr_db


@pytest.mark.parametrize("precision", ["int8", "pal4", "sparse"])
def test_other_precisions_have_no_floor(precision):
    with pytest.raises(ValueError, match=precision):
        tolerance(floor_of(), precision)


# A sound computation passes, a fault does not


@pytest.mark.parametrize("build", NETWORKS)
def test_another_order_of_the_sums_passes(build):
    network, pixels = ready(build), images()
    reference, floor = answers(network, pixels), measure(network, pixels)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # torch's, of its own way to set these flags
        with torch.backends.mkldnn.flags(enabled=False):
            native = answers(network, pixels)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        script = torch.jit.freeze(traced(network, pixels))
    for found in (native, answers(script, pixels)):
        assert passes(tolerance(floor, "fp32"), reference, found)
    halved = network.half()
    with torch.no_grad():
        if not isinstance(network, Attention):  # its constants are fp32: it does not run in fp16
            found = np.concatenate([halved(torch.from_numpy(row[None]).half()).float().numpy() for row in pixels])
            assert passes(tolerance(floor, "fp16"), reference, found)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_fault_does_not(precision):
    pixels = images()
    network = ready(hard_swish)
    bar, reference = tolerance(measure(network, pixels), precision), answers(network, pixels)
    assert passes(bar, reference, reference)
    assert not passes(bar, reference, answers(network, pixels[:, ::-1].copy()))  # BGR
    assert not passes(bar, reference, answers(network, pixels + 0.5))
    for change in (
        lambda parts: parts[0].weight.copy_(parts[0].weight.roll(1, 0)),
        lambda parts: parts[1].bias.zero_(),
        lambda parts: parts[-1].weight.copy_(parts[-1].weight.reshape(16, 10).T.clone()),
    ):
        other = ready(hard_swish)
        with torch.no_grad():
            change(other)
        assert not passes(bar, reference, answers(other, pixels))
    swish = ready(hard_swish)
    swish[2] = nn.SiLU()
    assert not passes(bar, reference, answers(swish, pixels))


def test_a_wrong_epsilon_does_not_pass_in_fp32():
    pixels, network = images(), ready(conv_bn_relu)
    bar, reference = tolerance(measure(network, pixels), "fp32"), answers(network, pixels)
    network[1].eps = 1e-3
    assert not passes(bar, reference, answers(network, pixels))
