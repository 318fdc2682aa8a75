"""Tiny networks, each with what a converter gets wrong."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from squeeze_export.sources.networks import capture

SIDE = 7


class Resized(nn.Module):
    """As GhostNetV2: gates at half the size, resized to the nearest; 7 is no multiple of 3."""

    def __init__(self, side=SIDE, mode="nearest"):
        super().__init__()
        self.layer, self.side, self.mode = nn.Conv2d(3, 7, 1), side, mode

    def forward(self, image):
        values = self.layer(image)
        gate = functional.interpolate(functional.avg_pool2d(values, 2, 2), size=(self.side, self.side), mode=self.mode)
        return gate.mean((2, 3)) + (gate * functional.interpolate(values, size=(self.side, self.side))).sum((2, 3))


class Attended(nn.Module):
    """As MobileViTv2: one context for all places, expanded to them."""

    def __init__(self, user="mul"):
        super().__init__()
        self.layer, self.last, self.user = nn.Conv2d(3, 15, 1), nn.Conv2d(7, 7, 1), user

    def forward(self, image):
        scores, keys, values = self.layer(image).split([1, 7, 7], 1)
        context = (keys * torch.softmax(scores, -1)).sum(-1, keepdim=True).expand_as(values)
        if self.user == "cat":
            return torch.cat([context, values], 1).mean((2, 3))[:, :7]
        return self.last(values.relu() * context).mean((2, 3))


class Scaled(nn.Module):
    """As MobileViTv2's group norms end: products and sums, each of which coremltools would make a batch norm with an epsilon."""

    def __init__(self):
        super().__init__()
        self.gains = nn.ParameterList([torch.ones(1, 3, 1, 1) for _ in range(8)])
        self.shifts = nn.ParameterList([torch.ones(1, 3, 1, 1) for _ in range(8)])
        self.last = nn.Conv2d(3, 7, 1, bias=False)

    def forward(self, image):
        for gain, shift in zip(self.gains, self.shifts, strict=True):
            image = functional.elu(image * (gain.abs() + 1) + shift.abs())
        return self.last(image).mean((2, 3))


class Padded(nn.Module):
    """As EfficientViT-B0: a matrix is padded by one row of ones, behind which torch.onnx does not follow the number of images."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Conv2d(3, 9, 1), nn.Conv2d(3, 7, 1)

    def forward(self, image):
        queries, keys, values = self.layer(image).reshape(1, 1, 9, SIDE * SIDE).split(3, 2)
        padded = functional.pad(values, (0, 0, 0, 1), mode="constant", value=1.0)
        found = padded @ keys.relu().transpose(-1, -2) @ queries.relu()
        found = found[:, :, :-1] / (found[:, :, -1:] + 1)
        return self.last(found.reshape(1, 3, SIDE, SIDE)).mean((2, 3))


class Encoded(nn.Module):
    """As EdgeNeXt: a position encoding, computed for every image from nothing but its size, and a layer for it."""

    def __init__(self):
        super().__init__()
        self.layer, self.places = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1)
        self.last = nn.Conv2d(6, 7, 1)

    def forward(self, image):
        rows = torch.ones(1, SIDE, SIDE).cumsum(1, dtype=torch.float32)
        steps = 10 ** (2 * torch.div(torch.arange(6, dtype=torch.float32), 2, rounding_mode="floor") / 6)
        angles = rows[:, :, :, None] / steps
        encoding = torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), 4).flatten(3).permute(0, 3, 1, 2)
        return self.last((self.layer(image) + self.places(encoding)).relu()).mean((2, 3))


class Shifted(nn.Module):
    """As Swin: a mask written slice by slice into zeros. `written`: into a tensor that each image's numbers go into as well."""

    def __init__(self, written=False):
        super().__init__()
        self.layer, self.written = nn.Conv2d(3, 7, 1), written

    def forward(self, image):
        mask = image.new_zeros((SIDE, SIDE))
        for place, rows in enumerate((slice(0, -3), slice(-3, -1), slice(-1, None))):
            mask[rows, 2:] = place
        if self.written:
            mask[0] += image[0, 0, 0]
        mask = mask.masked_fill(mask > 1, -3.0)
        return (self.layer(image) + mask).relu().mean((2, 3))


class Pooled(nn.Module):
    """As VGG on images smaller than its own: an average to more places than there are, of windows of one and two rows."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Conv2d(3, 4, 3, 2), nn.Linear(4 * 7 * 5, 7)

    def forward(self, image):
        return self.last(functional.adaptive_avg_pool2d(self.layer(image), (7, 5)).flatten(1))


class Cancelling(nn.Module):
    """Batch norms take away means of many deviations: fp32 keeps few digits of what is left, folded norms keep all."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 7, 1)

    def forward(self, image):
        return self.last(self.norm(self.first(image))).mean((2, 3))


class Enlarged(nn.Module):
    """As EfficientFormerV2: a resizing by factors, a list of numbers in the file."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 7, 1)

    def forward(self, image):
        return functional.interpolate(self.layer(image), scale_factor=2, mode="bilinear").square().mean((2, 3))


class Normed(nn.Module):
    """As vision transformers: layer norms in front of linear layers, straight, over a reshape, and of others as well."""

    def __init__(self):
        super().__init__()
        self.patches, self.first, self.second = nn.Conv2d(3, 16, 2, 2), nn.LayerNorm(16), nn.LayerNorm(16)
        self.query, self.key, self.mixed = nn.Linear(16, 16), nn.Linear(16, 16, bias=False), nn.Linear(16, 16)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 7)

    def forward(self, image):
        values = self.patches(image).flatten(2).transpose(1, 2)
        normed = self.first(values)
        keys = torch.sigmoid(self.key(normed.reshape(-1, 16)).reshape(1, -1, 16))
        values = self.second(values + self.query(normed) * keys)
        values = values + self.mixed(values)
        return self.head(self.norm(values.mean(1)))


class Sequenced(nn.Module):
    """As LeViT: linear layers over a sequence, each with a batch norm over the flattened one, and a norm over (1, channels)."""

    def __init__(self):
        super().__init__()
        self.patches, self.first, self.norm = nn.Conv2d(3, 8, 1), nn.Linear(8, 12, bias=False), nn.BatchNorm1d(12)
        self.other, self.across, self.head = nn.Linear(12, 12), nn.BatchNorm1d(SIDE * SIDE), nn.Linear(12, 7)

    def forward(self, image):
        values = self.first(self.patches(image).flatten(2).transpose(1, 2))
        values = self.norm(values.flatten(0, 1)).reshape_as(values)
        return self.head(self.across(self.other(values.relu())).mean(1))


def captured(network):
    """Captured with weights of one seed; every norm has its own scale and offset."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in sorted(network.state_dict().items()):
            if value.is_floating_point():
                value.copy_(
                    torch.rand(value.shape, generator=generator) + 0.5
                    if name.endswith("var")
                    else torch.randn(value.shape, generator=generator) * 0.5
                )
    return capture.capture(network.eval(), SIDE, SIDE)
