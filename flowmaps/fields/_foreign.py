"""Networks trained elsewhere, in their own times and outputs, as fields from noise to data."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_numbers, as_positive, brief, shaped_like
from flowmaps._typing import Condition
from flowmaps.fields._adapter import Adapter

__all__ = ["from_diffusers", "from_edm", "from_velocity"]

_PREDICTIONS = ("epsilon", "v_prediction", "sample")


@final
class from_velocity(Adapter):  # noqa: N801  (reads as the function that it is to its users)
    """Make a field from a flow-matching network u(tau, x) = dx/dtau of other conventions.

    For the straight path, ours is time t = tau where its noise is at tau = 0, and t = 1 - tau where
    its noise is at 1; the interpolant is the network's own, such as ``fm.interpolants.Linear()``.

    Args:
        network: called with time (batch,) and state; returns a tensor, an object with ``.sample``,
            or a tuple with the tensor first. A condition follows by position if it is a tensor, by
            keywords if it is a dict.
        reversed_time: whether its noise is at tau = 1, as in diffusers; the field is then
            -u(1 - t, x).
        time_scale: what tau is multiplied by when it is handed to the network, such as 1000; the
            velocity is per unit of tau all the same.
        call: ``"tx"`` or ``"xt"``, the order of arguments, or the keywords of time and state, such
            as ``("timestep", "hidden_states")``.

    Raises:
        TypeError, ValueError: if an argument is none of that kind.

    Source:
        Lipman et al. (2022), arXiv:2210.02747.

    Example:
        >>> import torch, flowmaps as fm
        >>> noise_at_one = lambda x, time: x * time[:, None]
        >>> field = fm.fields.from_velocity(
        ...     noise_at_one, reversed_time=True, time_scale=1000.0, call="xt"
        ... )
        >>> field(torch.tensor([0.75]), torch.ones(1, 1)).item()
        -250.0
    """

    def __init__(
        self,
        network: Callable[..., Any],
        reversed_time: bool = False,
        time_scale: float = 1.0,
        call: str | Sequence[str] = "tx",
    ):
        super().__init__(network)
        if not isinstance(reversed_time, bool):
            raise TypeError(f"reversed_time must be True or False, got {brief(reversed_time)}")
        pair = not isinstance(call, str) and len(call) == 2
        if call not in ("tx", "xt") and not (pair and all(isinstance(n, str) for n in call)):
            raise ValueError(
                'call must be "tx", "xt" or the keywords of time and state, such as '
                f'("timestep", "hidden_states"), got {brief(call)}'
            )
        self.network, self.reversed_time = network, reversed_time
        self.time_scale = as_positive(time_scale, "time_scale")
        self.call = call

    def forward(self, t: Tensor, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the velocity (batch, *event) in our time."""
        time = self.time_scale * (1 - t if self.reversed_time else t)
        velocity = _called(self.network, time, x, condition, self.call)
        return -velocity if self.reversed_time else velocity

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {
            "network": self.network,
            "reversed_time": self.reversed_time,
            "time_scale": self.time_scale,
            "call": self.call,
        }


@final
class from_diffusers(Adapter):  # noqa: N801
    """Make a field from a denoising network with discrete steps, as diffusers' U-Nets.

    Step k = 0 .. N - 1 has the state sqrt(a_k) x1 + sqrt(1 - a_k) x0, with a = ``alphas_cumprod``.
    Ours is time t = 1 - k / (N - 1): the path is I_t = sin(phi) x0 + cos(phi) x1 with angle
    phi(t) = arccos sqrt(a_k), between steps a monotone cubic, so b(t, x) = phi'(t) v(x) with
    v = E[cos(phi) x0 - sin(phi) x1 | x]. The network sees k as a real number (batch,). At time 0
    the state is standard normal as far as a_{N-1} is small; at time 1 noise of sqrt(1 - a_0) is
    left.

    Args:
        network: called as ``network(x, k)``; a condition follows by position if it is a tensor, by
            keywords if it is a dict. Returns a tensor, an object with ``.sample``, or a tuple with
            the tensor first.
        schedule: a_k, decreasing, at least two, or a scheduler with ``.alphas_cumprod``.
        prediction: what the network returns: ``"epsilon"`` (x0), ``"v_prediction"`` (v), or
            ``"sample"`` (x1).

    Raises:
        TypeError, ValueError: if an argument is none of that kind, the scheduler says another
            prediction, or a_k = 0 with "epsilon", which has no value there.

    Source:
        Ho et al. (2020), arXiv:2006.11239, equation 4; Salimans and Ho (2022), arXiv:2202.00512,
        appendix D, for v; Song et al. (2020), arXiv:2011.13456, for the flow.

    Example:
        >>> import torch, flowmaps as fm
        >>> at_zero = lambda x, k: x * 0  # data that is zero
        >>> field = fm.fields.from_diffusers(at_zero, [0.9, 0.5, 0.1], prediction="sample")
        >>> field(torch.tensor([0.5]), torch.ones(1, 1)).item() < 0
        True
    """

    def __init__(self, network: Callable[..., Any], schedule: Any, prediction: str = "epsilon"):
        super().__init__(network)
        if prediction not in _PREDICTIONS:
            raise ValueError(f"prediction must be one of {_PREDICTIONS}, got {brief(prediction)}")
        says = getattr(getattr(schedule, "config", None), "prediction_type", prediction)
        if says != prediction:
            raise ValueError(f"the scheduler says prediction {says!r}, got {prediction!r}")
        found = getattr(schedule, "alphas_cumprod", schedule)
        kept = as_numbers(found, "schedule").cpu()
        if kept.ndim != 1 or len(kept) < 2 or not bool((kept.diff() < 0).all()):
            raise ValueError(
                "schedule must be alphas_cumprod, at least two decreasing numbers, got "
                f"{brief(kept.tolist())}"
            )
        if not (kept[0] < 1 and kept[-1] >= 0) or (kept[-1] == 0 and prediction == "epsilon"):
            raise ValueError(
                "alphas_cumprod must be in (0, 1), or end at 0 for other predictions than epsilon, "
                f"got {kept[0]} to {kept[-1]}"
            )
        self.network, self.prediction, self._kept = network, prediction, kept.tolist()
        self.register_buffer("cubics", _cubics(torch.arccos(kept.sqrt())), persistent=False)

    cubics: Tensor

    def forward(self, t: Tensor, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the velocity (batch, *event) in our time."""
        last = len(self._kept) - 1
        k = (1 - t) * last
        angle, slope = self._angle(k)
        found = _called(self.network, k, x, condition, "xt")
        cos, sin = (shaped_like(f(angle).to(x.dtype), x) for f in (torch.cos, torch.sin))
        if self.prediction == "epsilon":
            velocity = (found - sin * x) / cos
        elif self.prediction == "sample":
            velocity = (cos * x - found) / sin
        else:
            velocity = found
        return shaped_like((-last * slope).to(x.dtype), x) * velocity

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"network": self.network, "schedule": self._kept, "prediction": self.prediction}

    def _angle(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return phi and d phi / dk at steps k (batch,)."""
        piece = k.detach().floor().clamp(0, len(self._kept) - 2)
        h = k - piece
        a, b, c, d = self.cubics.to(k.dtype)[:, piece.long()]
        return ((a * h + b) * h + c) * h + d, (3 * a * h + 2 * b) * h + c


@final
class from_edm(Adapter):  # noqa: N801
    """Make a field from a denoiser D(x, sigma) = E[x1 | x1 + sigma x0 = x], as EDM's networks.

    Ours is time t of the path I_t = sigma(t) x0 + x1, so b(t, x) = sigma'(t) / sigma(t) (x - D),
    with sigma(t) = (sigma_max^(1/rho) + t (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho. At time 0
    the state is, as far as sigma_max is large, normal with standard deviation sigma_max: draw
    sigma_max * noise; at time 1 noise of sigma_min is left.

    Args:
        denoiser: called as ``denoiser(x, sigma)`` with sigma (batch,); conditions and outputs as in
            ``from_diffusers``.
        sigma_min, sigma_max: noise at time 1 and at time 0, positive.
        rho: exponent of the schedule, positive.

    Raises:
        TypeError, ValueError: if an argument is none of that kind.

    Source:
        Karras et al. (2022), arXiv:2206.00364, equations 3 and 5.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.from_edm(lambda x, sigma: 0 * x, 0.5, 2.0, rho=1.0)
        >>> field(torch.tensor([0.0]), torch.ones(1, 1)).item()
        -0.75
    """

    def __init__(
        self,
        denoiser: Callable[..., Any],
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
    ):
        super().__init__(denoiser)
        self.denoiser, self.rho = denoiser, as_positive(rho, "rho")
        self.sigma_min = as_positive(sigma_min, "sigma_min")
        self.sigma_max = as_positive(sigma_max, "sigma_max")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sigma_min must be less than sigma_max, got {sigma_min} and {sigma_max}"
            )

    def forward(self, t: Tensor, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the velocity (batch, *event) in our time."""
        first, last = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        root = first + t * (last - first)
        denoised = _called(self.denoiser, root**self.rho, x, condition, "xt")
        rate = self.rho * (last - first) / root  # sigma' / sigma
        return shaped_like(rate.to(x.dtype), x) * (x - denoised)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {
            "denoiser": self.denoiser,
            "sigma_min": self.sigma_min,
            "sigma_max": self.sigma_max,
            "rho": self.rho,
        }


def _called(
    network: Callable[..., Any], t: Tensor, x: Tensor, condition: Condition, call: Any
) -> Tensor:
    """Return what a network of another library says, in x's dtype."""
    positional = () if condition is None or isinstance(condition, dict) else (condition,)
    keywords = condition if isinstance(condition, dict) else {}
    if call == "tx":
        found = network(t, x, *positional, **keywords)
    elif call == "xt":
        found = network(x, t, *positional, **keywords)
    else:
        found = network(*positional, **{call[0]: t, call[1]: x}, **keywords)
    if isinstance(found, (tuple, list)) and found:
        found = found[0]
    found = found if isinstance(found, Tensor) else getattr(found, "sample", found)
    if not isinstance(found, Tensor):
        raise TypeError(
            "the network must return a tensor, an object with .sample, or a tuple with the tensor "
            f"first, got {type(found).__name__}"
        )
    if found.shape != x.shape:
        raise ValueError(
            f"the network must return the state's shape {tuple(x.shape)}, got {tuple(found.shape)}"
        )
    return found.to(x.dtype)


def _cubics(values: Tensor) -> Tensor:
    """Return coefficients (4, n - 1), highest power first, of the monotone cubic through values."""
    from scipy.interpolate import PchipInterpolator

    if len(values) == 2:
        zero, step = torch.zeros((), dtype=values.dtype), values[1] - values[0]
        return torch.stack([zero, zero, step, values[0]])[:, None]
    return torch.tensor(PchipInterpolator(range(len(values)), values.numpy()).c, dtype=values.dtype)
