"""What a recipe's map is worth: sections with figures, one module a recipe."""

from flowmaps.cli.assess._checkerboard import assess_checkerboard, checkerboard_grid
from flowmaps.cli.assess._digits import assess_digits, digits_grid
from flowmaps.cli.assess._pendulum import assess_pendulum

__all__ = [
    "assess_checkerboard",
    "assess_digits",
    "assess_pendulum",
    "checkerboard_grid",
    "digits_grid",
]
