"""The probe at the doors: does a field treat every sample alone?"""

from flowmaps._probing._first import ADVICE, first_value
from flowmaps._probing._once import occasion, probe_once
from flowmaps._probing._probe import rounding

__all__ = ["ADVICE", "first_value", "occasion", "probe_once", "rounding"]
