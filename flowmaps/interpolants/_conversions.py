"""Velocity, score, denoiser and noise: four names of one prediction."""

from torch import Tensor

from flowmaps._checks import as_clock, brief, check_state, is_number, per_sample
from flowmaps._typing import Time
from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["PREDICTIONS", "convert"]

PREDICTIONS = ("velocity", "score", "denoiser", "noise")
"""What a network may predict at (t, x)."""


def convert(
    value: Tensor, t: Time, x: Tensor, interpolant: Interpolant, source: str, to: str
) -> Tensor:
    """Turn one prediction at (t, x) into another, for a standard normal base independent of data.

    With sigma^2 = alpha^2 + gamma^2 the state is I_t = sigma n + beta x1, n normal: alpha x0 and
    the latent gamma z make one noise. Then

    - denoiser D = E[x1 | I_t = x];
    - noise n = E[n | I_t = x] = (x - beta D) / sigma;
    - score = grad log rho_t(x) = -n / sigma;
    - velocity b = sigma' n + beta' D.

    At the base's end (beta = 0) noise and score say nothing of the data, at the data's end
    (sigma = 0) the denoiser says nothing of the noise: what is asked there is not finite, and
    refused if t is a number. From a velocity everything but the score is known at both ends.

    Args:
        value: the prediction (batch, *event).
        t: times, a number or a tensor of shape () or (batch,).
        x: states (batch, *event).
        interpolant: the path.
        source, to: ``"velocity"``, ``"score"``, ``"denoiser"`` or ``"noise"``.

    Raises:
        TypeError, ValueError: for tensors that do not fit, other names, or a number t at which the
            prediction asked for is not known.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, section 2.3; Kingma and Gao
        (2023), arXiv:2303.00848, for the diffusion's names.

    Example:
        >>> import torch, flowmaps as fm
        >>> problem = fm.problems.GaussianInterpolant(mean=[1.0], covariance=[[4.0]])
        >>> x = torch.tensor([[0.3]])
        >>> path, b = fm.interpolants.Linear(), problem.field(0.5, x)
        >>> found = fm.interpolants.convert(b, 0.5, x, path, "velocity", "denoiser")
        >>> torch.allclose(found, problem.posterior_mean(0.5, x))
        True
    """
    for name, kind in (("source", source), ("to", to)):
        if kind not in PREDICTIONS:
            raise ValueError(f"{name} must be one of {PREDICTIONS}, got {kind!r}")
    if check_state(x).shape != value.shape:
        raise ValueError(f"value must have x's shape {tuple(x.shape)}, got {tuple(value.shape)}")
    if not isinstance(interpolant, Interpolant):
        raise TypeError(f"interpolant must be an Interpolant, got {brief(interpolant)}")
    if source == to:
        return value
    clock = as_clock(t, x, "t")
    noise, data = _parts(value, clock, x, interpolant, source)
    sigma, slope = interpolant.noise_level(clock)
    beta_slope = interpolant.beta_derivative(clock)
    if to == "denoiser":
        found = data
    elif to == "noise":
        found = noise
    elif to == "score":
        found = -noise / per_sample(sigma, x)
    else:
        found = per_sample(slope, x) * noise + per_sample(beta_slope, x) * data
    if is_number(t) and not bool(found.isfinite().all()):
        raise ValueError(
            f"at time {t:g} the {source} does not tell the {to}; keep away from that end"
        )
    return found


def _parts(
    value: Tensor, clock: Tensor, x: Tensor, path: Interpolant, source: str
) -> tuple[Tensor, Tensor]:
    """Return E[n | x] and E[x1 | x]."""
    sigma, slope = (per_sample(part, x) for part in path.noise_level(clock))
    beta = per_sample(path.beta(clock), x)
    beta_slope = per_sample(path.beta_derivative(clock), x)
    if source == "velocity":
        apart = sigma * beta_slope - slope * beta
        return (beta_slope * x - beta * value) / apart, (sigma * value - slope * x) / apart
    if source == "denoiser":
        return (x - beta * value) / sigma, value
    noise = value if source == "noise" else -sigma * value
    return noise, (x - sigma * noise) / beta
