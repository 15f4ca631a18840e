"""Train the UNet of this example on made scenes, and measure it on textures it never saw.

    python train.py --device cuda --steps 9000 --out .

writes ``unet.safetensors`` (the state dict, float32) and ``training.json`` (how, and how well).
Images enter as in ``scenes/preprocess.json``: 8-bit grey divided by 255, nothing else.
The last weights are kept, whatever they score: the unseen textures choose no checkpoint.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import textures
import torch
from metrics import best_threshold, iou
from model import unet
from safetensors.torch import save_file
from scenes import scene
from textures import Bytes
from torch import nn
from torch.nn import functional

SEED_VALID, SEED_UNSEEN = 1001, 2002
"""Seeds of the two measured sets: training textures in new scenes, and unseen textures."""

_photos: dict[str, Bytes] = {}


def _load(packed: Path | None) -> None:
    _photos.update(textures.load_photos(packed))


def _make(job: tuple[int, int, tuple[str, ...], int]) -> tuple[Bytes, Bytes]:
    seed, number, names, size = job
    return scene(seed, number, names, _photos, size)


def make_scenes(
    seed: int, count: int, names: Sequence[str], workers: int, packed: Path | None, size: int = 256
) -> tuple[Bytes, Bytes]:
    """Scenes 0..count-1 of ``seed``: images and masks, uint8, each count x size x size."""
    jobs = [(seed, number, tuple(names), size) for number in range(count)]
    # spawn: the parent may hold a CUDA context, which doesn't survive a fork
    with multiprocessing.get_context("spawn").Pool(workers, _load, (packed,)) as pool:
        made = pool.map(_make, jobs, chunksize=8)
    return np.stack([image for image, _ in made]), np.stack([mask for _, mask in made])


def augmented(
    images: torch.Tensor, masks: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch as the network sees it, from uint8 images and masks, N x S x S.

    Returns float32 N x 1 x C x C in [0, 1] and int64 N x C x C. Crop, turn and flip are common to
    the batch; brightness, contrast, gamma and negation differ by image. Values are
    rounded to 1/255 again, because that is all an 8-bit image can bring.
    """
    size = int(rng.integers(128, images.shape[1] + 1))  # odd sizes too: their mirrored rim is input
    top, left = (int(v) for v in rng.integers(0, images.shape[1] - size + 1, 2))
    x = images[:, top : top + size, left : left + size].float() / 255.0
    y = masks[:, top : top + size, left : left + size].long()
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    x, y = torch.rot90(x, turns, (1, 2)), torch.rot90(y, turns, (1, 2))
    if flip:
        x, y = x.flip(2), y.flip(2)

    def draw(low: float, high: float) -> torch.Tensor:
        values = rng.uniform(low, high, (len(x), 1, 1)).astype(np.float32)
        return torch.from_numpy(values).to(x.device)

    x = torch.where(draw(0, 1) < 0.5, 1.0 - x, x)
    x = x.clamp(0.0, 1.0) ** torch.exp(draw(-0.35, 0.35))
    x = (x - 0.5) * draw(0.7, 1.3) + 0.5 + draw(-0.1, 0.1)
    x = (x.clamp(0.0, 1.0) * 255.0).round() / 255.0
    return x[:, None].contiguous(), y.contiguous()


def loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross entropy plus one minus the soft foreground IoU, which is what is measured."""
    logits = logits.float()
    inside = logits.softmax(1)[:, 1]
    target = masks.float()
    both = (inside * target).sum((1, 2))
    either = (inside + target).sum((1, 2)) - both
    return functional.cross_entropy(logits, masks) + 1.0 - ((both + 1) / (either + 1)).mean()


@torch.no_grad()
def predict(model: nn.Module, images: Bytes, device: torch.device) -> Bytes:
    """Masks (0 or 1, uint8, N x H x W) of 8-bit grey images, N x H x W, in plain float32."""
    model.eval()
    answers = []
    for start in range(0, len(images), 16):
        x = torch.from_numpy(images[start : start + 16]).to(device).float()[:, None] / 255.0
        answers.append(model(x).argmax(1).to(torch.uint8).cpu().numpy())
    return np.concatenate(answers)


def measure(
    model: nn.Module, images: Bytes, masks: Bytes, device: torch.device
) -> dict[str, object]:
    """IoU of the network and of the best threshold, and how much of the scenes is foreground."""
    return {
        "scenes": len(images),
        "foreground": float(masks.mean()),
        "iou": iou(predict(model, images, device), masks),
        "threshold_iou": best_threshold(images, masks),
    }


def fit(
    model: nn.Module, images: Bytes, masks: Bytes, args: argparse.Namespace, device: torch.device
) -> float:
    """AdamW under a one-cycle schedule; returns the mean loss of the last 5 % of the steps."""
    rng = np.random.default_rng(args.seed)
    x_all, y_all = torch.from_numpy(images).to(device), torch.from_numpy(masks).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=args.rate, total_steps=args.steps, pct_start=0.1
    )
    model.train()
    losses: list[torch.Tensor] = []
    began = time.monotonic()
    for step in range(args.steps):
        chosen = torch.from_numpy(rng.integers(0, len(images), args.batch)).to(device)
        x, y = augmented(x_all[chosen], y_all[chosen], rng)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(x)
        value = loss(logits, y)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(value.detach())
        if (step + 1) % max(1, args.steps // 20) == 0:
            recent = torch.stack(losses[-max(1, args.steps // 20) :]).mean()
            print(
                f"step {step + 1}: loss {recent:.4f}, {time.monotonic() - began:.0f} s", flush=True
            )
    return float(torch.stack(losses[-max(1, args.steps // 20) :]).mean())


def parse() -> argparse.Namespace:
    """The options; their defaults are what the shipped weights were trained with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--scenes", type=int, default=8000, help="training scenes, made first")
    parser.add_argument("--measured", type=int, default=256, help="scenes of each measured set")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--photos", type=Path, help="packed photographs (textures.pack_photos)")
    parser.add_argument("--out", type=Path, default=Path())
    return parser.parse_args()


def main() -> None:
    """Make the scenes, train, measure, write."""
    args = parse()
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    began = time.monotonic()
    sets = {
        name: make_scenes(seed, count, names, args.workers, args.photos)
        for name, seed, count, names in (
            ("training", args.seed, args.scenes, textures.TRAINING),
            ("valid", SEED_VALID, args.measured, textures.TRAINING),
            ("unseen", SEED_UNSEEN, args.measured, textures.UNSEEN),
        )
    }
    made = time.monotonic() - began
    print(f"made the scenes in {made:.0f} s", flush=True)
    model = unet().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    final = fit(model, *sets["training"], args, device)
    trained = time.monotonic() - began - made
    torch.backends.cudnn.allow_tf32 = False  # measured in float32 proper
    record = {
        "steps": args.steps,
        "batch": args.batch,
        "seed": args.seed,
        "rate": args.rate,
        "training_scenes": args.scenes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "final_loss": final,
        "seconds": {"scenes": round(made, 1), "training": round(trained, 1)},
        "training_textures_new_scenes": measure(model, *sets["valid"], device),
        "unseen_textures": measure(model, *sets["unseen"], device),
        "textures": {"training": textures.TRAINING, "unseen": textures.UNSEEN},
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
    args.out.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, args.out / "unet.safetensors")
    (args.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
