"""The probe at the doors: does a field treat every sample alone?"""

from flowmaps._probing._first import ADVICE, first_value
from flowmaps._probing._once import probe_once

__all__ = ["ADVICE", "first_value", "probe_once"]
