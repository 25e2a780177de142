"""Adapters and combinators of fields: any callable ``b(t, x)`` or ``b(t, x, condition)``.

What they return is a module with the field inside: its parameters are found, moved and saved.
"""

from flowmaps.fields._adapters import per_sample, reversed_time, scalar_time, scaled
from flowmaps.fields._foreign import from_diffusers, from_edm, from_velocity
from flowmaps.fields._forgetting import forgotten
from flowmaps.fields._guidance import autoguided, guided

__all__ = [
    "autoguided",
    "forgotten",
    "from_diffusers",
    "from_edm",
    "from_velocity",
    "guided",
    "per_sample",
    "reversed_time",
    "scalar_time",
    "scaled",
]
