"""Train the demo weights: SqueezeNet 1.1 on 34 printed characters, from nothing but fonts and random numbers.

One command, see README.md. Stages grow the pictures from small to the 224 pixels of deployment. Every convolution but the last is
trained with batch normalisation, which is folded into its weights at the end: the result is a plain SqueezeNet 1.1.
A stopped run continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from evaluate_demo import measure
from pool import make_pool, open_pool
from torch import distributed, multiprocessing, nn
from torch.nn import functional

from squeeze_export.demo import characters
from squeeze_export.sources.squeezenet import SqueezeNet, initialise

HERE: Final = Path(__file__).parent
CHECKPOINT: Final = "checkpoint.pt"
MEAN: Final = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
STD: Final = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255


@dataclass(frozen=True, kw_only=True)
class Stage:
    """`samples` pictures at `side` pixels out of `pool` rendered at `drawn`; the rate falls from `rate` to `final_rate`."""

    side: int
    drawn: int
    pool: int
    samples: int
    batch: int
    rate: float
    final_rate: float


STAGES: Final = (
    Stage(side=64, drawn=128, pool=24000, samples=64000, batch=64, rate=2e-3, final_rate=1e-3),
    Stage(side=112, drawn=128, pool=24000, samples=40000, batch=64, rate=1.5e-3, final_rate=4e-4),
    Stage(side=224, drawn=256, pool=6000, samples=10000, batch=32, rate=8e-4, final_rate=1e-5),
    Stage(side=224, drawn=256, pool=8000, samples=20000, batch=32, rate=7e-4, final_rate=5e-6),
)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of `count` processes that each work on their share of every batch. On a GPU there is one."""

    rank: int
    count: int
    device: torch.device

    def average(self, network: nn.Module) -> None:
        """Replace the gradients by their mean over all workers."""
        if self.count == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        distributed.all_reduce(flat)
        for gradient, mean in zip(gradients, flat.div(self.count).split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


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
    """Random crop (the character stays inside), resize, gain, offset: uint8 (N, 3, P, P) -> float (N, 3, side, side).

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


def start(seed: int) -> nn.Module:
    """The network before training, with batch normalisation."""
    network = SqueezeNet("squeezenet1_1", len(characters.CHARACTERS))
    initialise(network, torch.Generator().manual_seed(seed))
    with_normalisation(network)
    network.classifier[0].p = 0.1  # the pictures are many: little to overfit
    with torch.no_grad():
        # The network ends in a ReLU. Scores that start positive keep every class alive until it has learned something.
        network.classifier[1].bias.fill_(1.0)
    return network


def train(worker: Worker, stages: tuple[Stage, ...], seed: int, out: Path) -> None:
    """Run all stages, or what the checkpoint in `out` left of them, and leave the last checkpoint there."""
    torch.manual_seed(seed + 1000 * worker.rank)
    network = start(seed).to(worker.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    first, begin, seconds = 0, 0, 0.0
    if (out / CHECKPOINT).exists():
        saved = torch.load(out / CHECKPOINT, weights_only=True, map_location=worker.device)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        first, begin, seconds = saved["stage"], saved["step"], saved["seconds"]
    for number in range(first, len(stages)):
        seconds = _stage(worker, stages[number], number, begin, seconds, network, optimizer, seed, out)
        begin = 0


def _stage(
    worker: Worker,
    stage: Stage,
    number: int,
    begin: int,
    before: float,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    seed: int,
    out: Path,
) -> float:
    pool = open_pool(out, size=stage.drawn, count=stage.pool, seed=seed)
    steps = stage.samples // stage.batch
    network.train()
    started, losses, hits = time.monotonic(), [], []
    for step in range(begin, steps):
        # Everything random depends on (seed, stage, step), so that a continued run sees what an unbroken one would.
        rng = np.random.default_rng([seed, number, step])
        mine = rng.integers(0, stage.pool, stage.batch)[worker.rank :: worker.count]
        pictures, labels = pool.batch(mine)
        generator = torch.Generator().manual_seed(int(rng.integers(2**40)))
        drawn = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(worker.device)
        inputs = normalised(augmented(drawn, stage.side, generator)).contiguous(memory_format=torch.channels_last)
        targets = torch.from_numpy(labels).to(worker.device)
        warm = min(1.0, (step + 1) / 150)
        rate = stage.final_rate + (stage.rate - stage.final_rate) * 0.5 * (1 + np.cos(np.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = float(rate * warm)
        scores = network(inputs)
        loss = functional.cross_entropy(scores, targets, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        worker.average(network)
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        hits.append(float((scores.detach().argmax(1) == targets).float().mean()))
        if worker.rank:
            continue
        seconds = before + time.monotonic() - started
        if (step + 1) % 50 == 0:
            recent = f"loss {np.mean(losses[-50:]):.3f}, top-1 {100 * np.mean(hits[-50:]):.1f} %"
            speed = (step + 1 - begin) * stage.batch / (time.monotonic() - started)
            print(f"{stage.side} px, step {step + 1}/{steps}: {recent}, {speed:.0f} img/s, {seconds:.0f} s", flush=True)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            last = step + 1 == steps
            place = {"stage": number + last, "step": 0 if last else step + 1, "seconds": seconds}
            torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), **place}, out / "checkpoint.new")
            (out / "checkpoint.new").replace(out / CHECKPOINT)
    return before + time.monotonic() - started


def _join(rank: int, count: int, stages: tuple[Stage, ...], seed: int, out: Path, rendezvous: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=count)
    train(Worker(rank=rank, count=count, device=torch.device("cpu")), stages, seed, out)
    distributed.destroy_process_group()


def run(stages: tuple[Stage, ...], seed: int, out: Path) -> None:
    """Draw the pools, then train on the GPU, or on a process per CPU core (which wait for each other less than threads would)."""
    for stage in stages:
        make_pool(out, size=stage.drawn, count=stage.pool, seed=seed)
    if torch.cuda.is_available():
        train(Worker(rank=0, count=1, device=torch.device("cuda")), stages, seed, out)
        return
    count = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_join, args=(count, stages, seed, out, f"file://{folder}/rendezvous"), nprocs=count)


def finished(out: Path) -> SqueezeNet:
    """The plain network that the checkpoint in `out` stands for."""
    network = start(0)
    network.load_state_dict(torch.load(out / CHECKPOINT, weights_only=True, map_location="cpu")["network"])
    return folded(network.eval(), len(characters.CHARACTERS))


def save(network: SqueezeNet, path: Path, metadata: dict[str, str]) -> None:
    """Write weights as fp16 safetensors with the keys of torchvision's SqueezeNet 1.1."""
    from safetensors.torch import save_file

    half = {name: value.to(torch.float16).contiguous() for name, value in network.state_dict().items()}
    if not all(torch.isfinite(value).all() for value in half.values()):
        raise SystemExit("a weight does not fit fp16: nothing written")
    save_file(half, path, metadata=metadata)


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of weights, pictures and order (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=HERE / "out", help="pools, checkpoint, weights, metrics (default: %(default)s)"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="fraction of pictures and samples, to try the script (default: all)"
    )
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="train nothing: write the weights of the checkpoint so far")
    parser.add_argument("--install", action="store_true", help="also copy the weights into the package's data")
    arguments = parser.parse_args()
    metadata = {"model": "squeezenet1_1", "classes": characters.CHARACTERS, "licence": "Apache-2.0", "seed": str(arguments.seed)}
    if arguments.snapshot:
        save(finished(arguments.out), arguments.snapshot, metadata)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    stages = tuple(
        replace(s, pool=max(64, int(s.pool * arguments.scale)), samples=max(2 * s.batch, int(s.samples * arguments.scale)))
        for s in STAGES
    )
    run(stages, arguments.seed, arguments.out)
    weights = arguments.out / characters.WEIGHTS.name
    save(finished(arguments.out), weights, metadata)
    print(f"{weights} written, {weights.stat().st_size} bytes", flush=True)
    if arguments.install:
        characters.WEIGHTS.write_bytes(weights.read_bytes())
    metrics = measure(weights, seed=0, count=2040)
    (arguments.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"held-out fonts: {100 * metrics['top1']:.2f} % of {metrics['images']} (95 % interval {metrics['interval']})")


if __name__ == "__main__":
    main()
