"""The doctor: what in a network breaks forward mode, compilation, low precision, distribution.

``diagnose`` runs every probe on copies of a network and names the submodule at fault and the cure.
"""

from flowmaps.testing.doctor._diagnose import PROBES, diagnose
from flowmaps.testing.doctor._diagnosis import Diagnosis, Finding

__all__ = ["PROBES", "Diagnosis", "Finding", "diagnose"]
