"""Networks for learned flow maps, called as ``net(s, t, x, condition)``.

Every layer passes forward mode (also twice), vmap, ``torch.compile(fullgraph=True)`` and bfloat16
weights.
"""

from flowmaps.networks._mlp import MLP

__all__ = ["MLP"]
