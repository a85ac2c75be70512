"""The 12 zero-cost proxies of Multi-Predict's Table 6, for any torch module, in one shared pass.

Definitions are those of NAS-Bench-Suite-Zero (Krishnakumar et al., NeurIPS 2022, section 2), which
took them from the papers named below. One forward pass in training mode serves nwot, flops, jacov
and all that needs the loss's gradient; grasp goes through that gradient once more. synflow and zen
change the weights, so they have copies of the module.

Torch is imported here and nowhere else in `predictors.encodings`: import this module where it is
needed only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

TINY = 1e-12
"""What a logarithm takes in place of zero: a network without a path from input to output has no
gradient and no reaction to its input, and still needs a value, which is the worst one."""

JACOV_EPSILON = 1e-5
"""Mellor et al. 2020, Neural Architecture Search without Training (v1), equation 2."""

ZEN_STEP = 1e-2
"""Lin et al., Zen-NAS, ICCV 2021, algorithm 1."""


@dataclass
class Trace:
    """What hooks saw of one forward pass.

    layers, outputs: the convolutions and linear layers, in the order in which they ran. macs: of
    one image. codes: (B, B), for each pair of images, in how many ReLU inputs they agree in sign.
    """

    layers: list[nn.Module] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    macs: float = 0.0
    codes: Tensor | None = None

    def layer(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """After a convolution or a linear layer."""
        del inputs
        self.layers.append(module)
        self.outputs.append(output)
        self.macs += output[0].numel() * _weight(module)[0].numel()

    def relu(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """After a ReLU."""
        del module, output
        on = (inputs[0].detach() > 0).flatten(1).float()
        both = on @ on.T + (1 - on) @ (1 - on).T
        self.codes = both if self.codes is None else self.codes + both


def measure(module: nn.Module, images: Tensor, labels: Tensor, seed: int = 0) -> dict[str, float]:
    """All proxies, by the names in `zcp.NAMES`. The module's weights stay as they are.

    images: (B, C, H, W) float32; labels: (B,) int64. Both may be random: the proxies rank networks
    by them as by real ones. seed: of zen's weights and images. All values are finite.
    """
    trained = copy.deepcopy(module).train()
    trace = Trace()
    watched = images.clone().requires_grad_(True)
    with _hooked(trained, trace):
        logits = trained(watched)
    found = {
        "flops": trace.macs,
        "params": float(sum(p.numel() for p in module.parameters())),
        "l2_norm": float(sum(_weight(m).detach().norm() for m in _layers(module))),
        "nwot": _nwot(trace.codes, len(images)),
        "jacov": _jacov(logits, watched),
        **_by_gradient(trained, trace, functional.cross_entropy(logits, labels)),
    }
    del trace, logits
    return {**found, "synflow": _synflow(module, images), "zen": _zen(module, images, seed)}


def nwot(module: nn.Module, images: Tensor) -> float:
    """That proxy alone, a tenth of the work of all: one forward pass. The module's running means
    change. images: (B, C, H, W) float32."""
    trace = Trace()
    with torch.no_grad(), _hooked(module.train(), trace):
        module(images)
    return _nwot(trace.codes, len(images))


@contextmanager
def _hooked(module: nn.Module, trace: Trace) -> Iterator[None]:
    handles = [m.register_forward_hook(trace.layer) for m in _layers(module)]
    relus = [m for m in module.modules() if isinstance(m, nn.ReLU | nn.ReLU6)]
    handles += [m.register_forward_hook(trace.relu) for m in relus]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nwot(codes: Tensor | None, batch: int) -> float:
    """Log-determinant of how the codes agree (Mellor et al., ICML 2021, equation 2)."""
    if codes is None:
        return 0.0
    _, log_determinant = torch.linalg.slogdet(codes.double())
    worst = batch * float(torch.log(torch.tensor(TINY)))
    return max(float(log_determinant), worst)


def _jacov(logits: Tensor, images: Tensor) -> float:
    """How apart the images' input gradients are (Mellor et al. 2020, equation 2)."""
    jacobian = _gradients(logits.sum(), [images])[0].flatten(1).double()
    centred = jacobian - jacobian.mean(1, keepdim=True)
    norms = centred.norm(dim=1)
    same = torch.ones(len(images), len(images), dtype=torch.float64)
    apart = centred @ centred.T / torch.outer(norms, norms).clamp_min(TINY)
    correlation = torch.where((norms > 0).all(), apart, same)
    values = torch.linalg.eigvalsh(correlation) + JACOV_EPSILON
    values = values.clamp_min(JACOV_EPSILON / 2)
    return float(-(values.log() + 1 / values).sum())


def _by_gradient(module: nn.Module, trace: Trace, loss: Tensor) -> dict[str, float]:
    """Sums over the weights of convolutions and linear layers.

    grad_norm, snip (Lee et al., ICLR 2019, equation 6), plain: of the loss's gradient. fisher: of
    the activations' gradient (Turner et al., BlockSwap, ICLR 2020, equation 3). grasp: of the
    Hessian times the gradient (Wang et al., ICLR 2020, equation 8).
    """
    weights = [_weight(m) for m in _layers(module)]
    wanted = [*weights, *trace.outputs]
    found = _gradients(loss, wanted, retain=True)
    gradients, reactions = found[: len(weights)], found[len(weights) :]
    fixed = [g.detach() for g in gradients]
    products = [(g * w.detach()) for g, w in zip(fixed, weights, strict=True)]
    product = sum(((g * f).sum() for g, f in zip(gradients, fixed, strict=True)), torch.zeros(()))
    curved = _gradients(product, weights)
    return {
        "grad_norm": float(sum(g.norm() for g in fixed)),
        "snip": float(sum(p.abs().sum() for p in products)),
        "plain": float(sum(p.sum() for p in products)),
        "fisher": sum(map(_fisher, trace.layers, trace.outputs, reactions)),
        "grasp": -float(sum((h * w.detach()).sum() for h, w in zip(curved, weights, strict=True))),
    }


def _fisher(layer: nn.Module, output: Tensor, gradient: Tensor) -> float:
    """Of one layer: each channel counts as often as it has weights."""
    product = output.detach() * gradient.detach()
    channel = product.flatten(2).sum(2) if product.dim() > 2 else product
    return float((channel**2).mean(0).sum() / 2) * _weight(layer)[0].numel()


def _synflow(module: nn.Module, images: Tensor) -> float:
    """Sum of weight times gradient, all weights positive, without batch norm (Tanaka et al.,
    NeurIPS 2020, equation 5). Products of many layers leave float32."""
    linear = _without_norms(copy.deepcopy(module)).double().eval()
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    ones = torch.ones(1, *images.shape[1:], dtype=torch.float64)
    weights = [_weight(m) for m in _layers(linear)]
    gradients = _gradients(linear(ones).sum(), weights)
    return float(sum((w.detach() * g).sum() for w, g in zip(weights, gradients, strict=True)))


def _zen(module: nn.Module, images: Tensor, seed: int) -> float:
    """How much a small step of the input moves the last feature map, with batch norm's scales put
    back (Lin et al., ICCV 2021, algorithm 1)."""
    drawn = copy.deepcopy(module).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        _draw(drawn)
        start = torch.randn_like(images)
        step = start + ZEN_STEP * torch.randn_like(images)
        apart = (_last_map(drawn, start) - _last_map(drawn, step)).abs().flatten(1).sum(1).mean()
    norms = [m.running_var for m in drawn.modules() if isinstance(m, nn.BatchNorm2d)]
    scales = sum(float(v.mean().clamp_min(TINY).sqrt().log()) for v in norms if v is not None)
    return float(apart.clamp_min(TINY).log()) + scales


def _draw(module: nn.Module) -> None:
    """Standard normal weights, batch norm as new."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            nn.init.normal_(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.BatchNorm2d):
            m.reset_parameters()


def _last_map(module: nn.Module, images: Tensor) -> Tensor:
    """What goes into the global pooling, or the output of a module without one."""
    seen: list[Tensor] = []
    pools = [m for m in module.modules() if isinstance(m, nn.AdaptiveAvgPool2d)]
    handles = [m.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for m in pools]
    output: Tensor = module(images)
    for handle in handles:
        handle.remove()
    return seen[-1] if seen else output


def _without_norms(module: nn.Module) -> nn.Module:
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return module


def _layers(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor), "convolutions and linear layers have weights"
    return weight


def _gradients(of: Tensor, by: Sequence[Tensor], retain: bool = False) -> Sequence[Tensor]:
    """Gradients, zero for what `of` does not depend on; `retain` so that they have gradients."""
    if not of.requires_grad:
        return [torch.zeros_like(t) for t in by]
    found = torch.autograd.grad(of, by, allow_unused=True, create_graph=retain, retain_graph=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, by, strict=True)]


def kaiming(module: nn.Module) -> None:
    """Weights as in the published proxies of FBNet: normal by fan-out (He et al. 2015, section
    2.2), and small ones in the classifier."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
        elif isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=1e-3)
            nn.init.zeros_(m.bias)
