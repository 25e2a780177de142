"""Networks for learned flow maps, called as ``net(s, t, x, condition)``.

``MLP`` is for small systems and flattened data, ``UNet`` for images, ``TemporalFourier`` for whole
trajectories from one time. Every layer passes forward
mode (also twice), vmap, ``torch.compile(fullgraph=True)`` and bfloat16 weights.
"""

from flowmaps.networks._mlp import MLP
from flowmaps.networks._temporal import TemporalFourier
from flowmaps.networks._unet import UNet

__all__ = ["MLP", "TemporalFourier", "UNet"]
