from __future__ import annotations

import sys
import textwrap
import warnings

import pytest
import torch
from torch import nn

from squeeze_export import sdks
from squeeze_export.errors import SourceError, TargetUnavailableError, UsageError
from squeeze_export.sources.networks import building, factories
from squeeze_export.sources.networks.building import build, of_module, parse_arguments
from squeeze_export.sources.networks.names import Wanted, parse_model

CODE = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, num_classes=5, width=8):
            super().__init__()
            self.head = nn.Linear(3, num_classes)
            self.width = width
        def forward(self, x):
            return self.head(x.mean((2, 3)))

    def build(width=1.0):
        print("hello from the factory")
        return Net(width=width)

    def raises():
        return {}["nothing"]

    def needs(path, *, depth):
        return Net()

    def pair():
        return Net(), 3

    def half():
        return Net().half()

    def lazy():
        return nn.LazyLinear(4)

    def leaves():
        raise SystemExit(3)

    number = 5
    made = Net(7)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module called some_nets in the current folder."""
    (tmp_path / "some_nets.py").write_text(textwrap.dedent(CODE), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("some_nets", "broken_nets"):
        sys.modules.pop(name, None)


def built(name, classes=None, **arguments):
    return build(parse_model(name), arguments=arguments, num_classes=classes)


def refused(name, *words, **arguments):
    with pytest.raises(SourceError) as caught:
        built(name, **arguments)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    return message


def test_arguments_are_python_literals_or_else_text():
    given = ["width=0.5", "flag=true", "name=x", "none=None", "sizes=(1, 2)", "text='3'", "empty=", "path=a=b"]
    assert parse_arguments(given) == {
        "width": 0.5,
        "flag": True,
        "name": "x",
        "none": None,
        "sizes": (1, 2),
        "text": "3",
        "empty": "",
        "path": "a=b",
    }


@pytest.mark.parametrize("given", [["width"], ["=3"], ["a b=3"], ["a=1", "a=2"]])
def test_other_arguments_are_refused(given):
    with pytest.raises(UsageError, match="--model-arg"):
        parse_arguments(given)


def test_a_factory_is_called_with_its_arguments(nets, capsys):
    found = built("some_nets:build", width=0.5)
    assert found.module.width == 0.5
    assert not found.module.training and not any(value.requires_grad for value in found.module.parameters())
    assert found.notes == ("The network of some_nets:build was in training mode: it was put into eval mode.",)
    assert found.preprocessing is None
    printed = capsys.readouterr()
    assert (printed.out, "hello from the factory" in printed.err) == ("", True)  # standard output belongs to --json
    assert str(nets) not in sys.path


def test_the_number_of_classes_goes_to_a_factory_that_takes_it(nets):
    assert built("some_nets:Net", 9).module.head.out_features == 9
    assert built("some_nets:Net", 9, num_classes=4).module.head.out_features == 4
    assert built("some_nets:build", 9).module.head.out_features == 5
    assert built("some_nets:made", 9).module.head.out_features == 7
    assert (factories.takes_classes("some_nets:Net"), factories.takes_classes("some_nets:build")) == (True, False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere_nets:build", ("there is no module nowhere_nets",)),
        ("some_nest:build", ("Did you mean some_nets?",)),
        ("some_nets:biuld", ("has no biuld", "Did you mean build?")),
        ("some_nets:zzz", ("It has Net, build",)),
        ("some_nets:number", ("no function or class, but a int",)),
        ("some_nets:raises", ("KeyError: 'nothing'", "some_nets.py, line 18")),
        ("some_nets:leaves", ("SystemExit: 3",)),
        ("some_nets:needs", ("needs arguments: path, depth", "--model-arg path=VALUE --model-arg depth=VALUE")),
        ("some_nets:pair", ("returned no torch.nn.Module, but a tuple of Net, int",)),
        ("some_nets:lazy", ("parameters without values (weight",)),
    ],
)
def test_a_factory_that_gives_no_network_is_refused(nets, name, words):
    refused(name, *words)


def test_arguments_that_a_factory_has_not_are_refused(nets):
    refused("some_nets:build", "has no parameter widht", "Did you mean width?", widht=3)
    refused("some_nets:made", "takes no --model-arg (width)", width=3)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def build(:\n", ("SyntaxError", "broken_nets.py, line 1")),
        ("import surely_not_installed\n", ("surely_not_installed", "broken_nets.py, line 1", "Install what it needs")),
        ("x = 1\ny = x / 0\n", ("ZeroDivisionError", "broken_nets.py, line 2")),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(nets, code, words):
    (nets / "broken_nets.py").write_text(code, encoding="utf-8")
    refused("broken_nets:build", *words)


def test_other_kinds_of_numbers_become_fp32_and_it_is_said(nets):
    found = built("some_nets:half")
    assert found.module.head.weight.dtype == torch.float32
    assert found.notes[1] == "The network of some_nets:half had parameters in float16: they were converted to fp32."


def test_a_module_in_memory_is_copied():
    mine = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double()
    found = of_module(mine)
    assert mine.training and mine[0].weight.dtype == torch.float64 and mine[0].weight.requires_grad
    assert found.module[0].weight.dtype == torch.float32 and not found.module.training
    assert len(found.notes) == 2
    assert of_module(nn.Linear(2, 2).eval()).notes == ()
    with pytest.raises(SourceError, match=r"is no torch\.nn\.Module, but a dict"):
        of_module({})


def test_torchscript_is_no_network_to_capture():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        script = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(SourceError, match=r"is TorchScript, which .* pass the module that it was made from"):
        of_module(script)


def test_parameters_on_the_meta_device_are_refused():
    with pytest.raises(SourceError, match="without values"):
        of_module(nn.Linear(2, 2, device="meta"))


@pytest.mark.parametrize("extra", ["timm", "torchvision"])
def test_a_missing_extra_names_the_command(monkeypatch, extra):
    monkeypatch.setattr(sdks, "find_spec", lambda name: None)
    with pytest.raises(TargetUnavailableError, match=rf"pip install 'squeeze-export\[{extra}\]'"):
        built(f"{extra}:resnet18")


def test_an_extra_that_does_not_load_is_told(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(sdks, "find_spec", lambda name: object())
    monkeypatch.setattr(building.importlib, "import_module", broken)
    with pytest.raises(TargetUnavailableError, match=f"made for torch {torch.__version__.partition('+')[0]}"):
        built("torchvision:resnet18")


@pytest.mark.parametrize("kind", ["squeezenet", "hf", "program"])
def test_what_is_read_from_files_is_not_built(kind):
    with pytest.raises(UsageError, match="is not built by name"):
        build(Wanted(kind=kind, name="x"), arguments={}, num_classes=None)


def test_weights_computed_from_others_are_written_out():
    mine = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))).eval()
    found = of_module(mine)
    assert set(found.module.state_dict()) == {"0.weight", "0.bias"}
    assert torch.equal(found.module(torch.ones(1, 3)), mine(torch.ones(1, 3)))
    assert found.notes == ("The module computes weights from others (0.weight): they were computed once, for good.",)


def test_random_batch_norms_are_calibrated_the_same_each_time():
    images = torch.randn(3, 3, 20, 16, generator=torch.Generator().manual_seed(0)) * 5 + 2

    def calibrated():
        torch.manual_seed(4)
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 18 * 14, 4)).eval()
        return network, building.calibrate_norms(network, images)

    network, told = calibrated()
    assert told == ("Batch norms of the random weights were calibrated on drawn images.",)
    normed = network[:2](images)
    assert normed.mean((0, 2, 3)).abs().max() < 0.1 and (normed.std((0, 2, 3)) - 1).abs().max() < 0.1
    assert not any(part.training for part in network.modules()) and network[1].momentum == 0.1
    again, _ = calibrated()
    assert all(
        torch.equal(one, other) for one, other in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert building.calibrate_norms(nn.Flatten(), images) == ()

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, image):
            assert len(image) == 1
            return self.norm(image)

    alone = Alone().eval()
    assert building.calibrate_norms(alone, images) == () and torch.equal(alone.norm.running_var, torch.ones(3))
