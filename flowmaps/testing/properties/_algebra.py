"""What every flow satisfies, whatever its field: identity, semigroup, inverse."""

from typing import final

from torch import Tensor

from flowmaps import residuals
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._view import View

__all__ = ["Identity", "Inverse", "Semigroup"]


@final
class Identity(Property):
    """X_{s,s}(x) = x."""

    name, kind = "identity", "algebra"

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return X_{s,s}(x) - x."""
        return residuals.identity(
            view.map, draw.s, draw.x, draw.condition, difference=view.difference
        )

    def code(self, arguments: str) -> str:
        """Return the call of ``flowmaps.residuals``."""
        return f"fm.residuals.identity(flow_map, {arguments.replace('s, t, x', 's, x')})"


@final
class Semigroup(Property):
    """X_{u,t}(X_{s,u}(x)) = X_{s,t}(x)."""

    name, kind = "semigroup", "algebra"

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return X_{u,t}(X_{s,u}(x)) - X_{s,t}(x)."""
        s, u, t, x = draw[:4]
        return residuals.semigroup(view.map, s, u, t, x, draw.condition, difference=view.difference)

    def code(self, arguments: str) -> str:
        """Return the call of ``flowmaps.residuals``."""
        return f"fm.residuals.semigroup(flow_map, {arguments.replace('s, t, x', 's, u, t, x')})"


@final
class Inverse(Property):
    """X_{t,s}(X_{s,t}(x)) = x."""

    name, kind = "inverse", "algebra"
    requires = frozenset({"backward"})

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return X_{t,s}(X_{s,t}(x)) - x."""
        s, _, t, x = draw[:4]
        return residuals.inverse(view.map, s, t, x, draw.condition, difference=view.difference)

    def code(self, arguments: str) -> str:
        """Return the call of ``flowmaps.residuals``."""
        return f"fm.residuals.inverse(flow_map, {arguments})"
