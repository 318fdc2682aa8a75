"""Train the demo weights: SqueezeNet 1.1 on 34 printed characters, from nothing but fonts and random numbers.

One command, see README.md. Stages grow the pictures from small to the 224 pixels of deployment. Every convolution but the last is
trained with batch normalisation, which is folded into its weights at the end: the result is the plain SqueezeNet 1.1 that the package
knows. A stopped run continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from pool import Pool, make_pool
from torch import nn
from torch.nn import functional

from squeeze_export import demo
from squeeze_export.models.squeezenet import SqueezeNet, initialise

HERE: Final = Path(__file__).parent
MEAN: Final = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
STD: Final = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255


@dataclass(frozen=True, kw_only=True)
class Stage:
    """`samples` pictures at `side` pixels, drawn from `pool` rendered ones; the learning rate falls from `rate` to `final_rate`."""

    side: int
    pool: int
    samples: int
    batch: int
    rate: float
    final_rate: float


STAGES: Final = (
    Stage(side=112, pool=24000, samples=128000, batch=64, rate=2e-3, final_rate=4e-4),
    Stage(side=224, pool=10000, samples=30000, batch=32, rate=8e-4, final_rate=1e-5),
)


class Normalised(nn.Sequential):
    """A convolution followed by batch normalisation, for training only."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution, nn.BatchNorm2d(convolution.out_channels))


def with_normalisation(network: nn.Module) -> None:
    """Put batch normalisation behind every convolution of a SqueezeNet except the classifier's, in place."""
    for parent in list(network.features.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and not isinstance(parent, Normalised):
                setattr(parent, name, Normalised(child))


def folded(trained: nn.Module, classes: int) -> SqueezeNet:
    """The same function in eval mode as a plain SqueezeNet: w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta."""
    state: dict[str, torch.Tensor] = {}
    for name, module in trained.named_modules():
        if isinstance(module, Normalised):
            convolution, norm = module[0], module[1]
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            state[f"{name}.weight"] = convolution.weight * factor.view(-1, 1, 1, 1)
            state[f"{name}.bias"] = (convolution.bias - norm.running_mean) * factor + norm.bias
    state["classifier.1.weight"], state["classifier.1.bias"] = trained.classifier[1].weight, trained.classifier[1].bias
    plain = SqueezeNet("squeezenet1_1", classes)
    plain.load_state_dict({name: value.detach().float().cpu() for name, value in state.items()})
    return plain.eval()


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """The deployment preprocessing's last step: (N, 3, H, W) in 0..255 to zero mean and unit variance per channel."""
    return (pixels - MEAN.to(pixels.device)) / STD.to(pixels.device)


def augmented(pictures: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Random crop (the character stays inside), resize, gain and offset per channel: uint8 (N, 3, P, P) -> float (N, 3, side, side).

    One crop size per batch: the crops of a batch must stack.
    """
    full = pictures.shape[-1]

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator).mul(high - low).add(low).to(pictures.device)

    crop = int(full * float(uniform(0.82, 0.94)))
    slack = full - crop
    # Within a third of the slack of the centre.
    offsets = (slack / 2 + uniform(-1, 1, len(pictures), 2) * slack / 3).round().int().tolist()
    crops = torch.stack([p[:, y : y + crop, x : x + crop] for p, (y, x) in zip(pictures, offsets, strict=True)]).float()
    resized = (
        crops
        if crop == side
        else functional.interpolate(crops, size=(side, side), mode="bilinear", antialias=crop > side, align_corners=False)
    )
    return resized * uniform(0.8, 1.2, len(pictures), 3, 1, 1) + uniform(-20, 20, len(pictures), 1, 1, 1)


def train(stages: tuple[Stage, ...], seed: int, out: Path) -> SqueezeNet:
    """Run all stages, or what a checkpoint in `out` left of them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    network = SqueezeNet("squeezenet1_1", len(demo.CHARACTERS))
    initialise(network, torch.Generator().manual_seed(seed))
    with_normalisation(network)
    network.classifier[0].p = 0.1  # the data are endless: little to overfit
    with torch.no_grad():
        # The network ends in a ReLU. Scores that start positive keep every class alive until it has learned something.
        network.classifier[1].bias.fill_(1.0)
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    checkpoint, first, begin = out / "checkpoint.pt", 0, 0
    spent = 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        first, begin, spent = saved["stage"], saved["step"], saved["seconds"]
        print(f"continuing stage {first + 1} at step {begin}", flush=True)

    for number in range(first, len(stages)):
        stage = stages[number]
        pool = make_pool(out, size=round(stage.side / demo.scene.VISIBLE), count=stage.pool, seed=seed + number)
        steps = stage.samples // stage.batch
        spent = _stage(stage, pool, network, optimizer, device, (seed, number, begin, steps), checkpoint, spent)
        begin = 0
    return folded(network.eval(), len(demo.CHARACTERS))


def _stage(
    stage: Stage,
    pool: Pool,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    place: tuple[int, int, int, int],
    checkpoint: Path,
    spent: float,
) -> float:
    seed, number, begin, steps = place
    network.train()
    started, losses, hits = time.monotonic(), [], []
    for step in range(begin, steps):
        # Everything random depends on (seed, stage, step), so that a continued run sees what an unbroken one would.
        rng = np.random.default_rng([seed, number, step])
        pictures, labels = pool.batch(rng.integers(0, stage.pool, stage.batch))
        generator = torch.Generator().manual_seed(int(rng.integers(2**40)))
        inputs = normalised(augmented(torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device), stage.side, generator))
        targets = torch.from_numpy(labels).to(device)
        progress = step / steps
        warm = min(1.0, (step + 1) / 150)
        rate = stage.final_rate + (stage.rate - stage.final_rate) * 0.5 * (1 + np.cos(np.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = float(rate * warm)
        scores = network(inputs.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(scores, targets, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        hits.append(float((scores.detach().argmax(1) == targets).float().mean()))
        if (step + 1) % 50 == 0:
            seconds = spent + time.monotonic() - started
            speed = (step + 1 - begin) * stage.batch / (time.monotonic() - started)
            recent = f"loss {np.mean(losses[-50:]):.3f}, top-1 {100 * np.mean(hits[-50:]):.1f} %"
            print(
                f"stage {number + 1} ({stage.side} px) step {step + 1}/{steps}: {recent}, {speed:.0f} img/s, {seconds:.0f} s",
                flush=True,
            )
        if (step + 1) % 200 == 0 or step + 1 == steps:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            done = {
                "stage": number + (step + 1 == steps),
                "step": (step + 1) % steps,
                "seconds": spent + time.monotonic() - started,
            }
            torch.save({**state, **done}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    return spent + time.monotonic() - started


def save(network: SqueezeNet, path: Path, metadata: dict[str, str]) -> None:
    """Write weights as fp16 safetensors with the keys of torchvision's SqueezeNet 1.1."""
    from safetensors.torch import save_file

    half = {name: value.to(torch.float16).contiguous() for name, value in network.state_dict().items()}
    if not all(torch.isfinite(value).all() for value in half.values()):
        raise SystemExit("a weight does not fit fp16: nothing written")
    save_file(half, path, metadata=metadata)


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of weights, pictures and order (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=HERE / "out", help="pools, checkpoint, weights, metrics (default: %(default)s)"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="fraction of pictures and samples, to try the script (default: all)"
    )
    parser.add_argument("--threads", type=int, default=None, help="CPU threads for training")
    parser.add_argument("--install", action="store_true", help="also copy the weights into the package's data")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    scaled = tuple(
        Stage(
            **{
                **vars(s),
                "pool": max(64, int(s.pool * arguments.scale)),
                "samples": max(2 * s.batch, int(s.samples * arguments.scale)),
            }
        )
        for s in STAGES
    )
    started = time.monotonic()
    network = train(scaled, arguments.seed, arguments.out)
    weights = arguments.out / demo.WEIGHTS.name
    save(
        network,
        weights,
        {
            "format": "pt",
            "model": "squeezenet1_1",
            "classes": demo.CHARACTERS,
            "licence": "Apache-2.0",
            "seed": str(arguments.seed),
        },
    )
    print(f"{weights} written, {weights.stat().st_size} bytes, this run {time.monotonic() - started:.0f} s", flush=True)
    if arguments.install:
        demo.WEIGHTS.write_bytes(weights.read_bytes())
    from evaluate_demo import measure

    metrics = measure(weights, seed=0, count=2040)
    (arguments.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"held-out fonts: {100 * metrics['top1']:.2f} % of {metrics['images']} (95 % interval {metrics['interval']})")


if __name__ == "__main__":
    main()
