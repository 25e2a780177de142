"""The properties of flow maps, in the order in which they are measured."""

from flowmaps.testing.properties._algebra import Identity, Inverse, Semigroup
from flowmaps.testing.properties._conduct import (
    BatchConsistency,
    Determinism,
    Finite,
    InputKept,
    UnderVmap,
)
from flowmaps.testing.properties._consistency import (
    ConditionRespected,
    DeviceConsistency,
    DtypeConsistency,
)
from flowmaps.testing.properties._derivatives import DerivativeHonesty, ModesAgree
from flowmaps.testing.properties._equations import (
    Eulerian,
    EulerianReached,
    IntegralLagrangian,
    Lagrangian,
    Reached,
    Tangent,
    TangentReached,
)
from flowmaps.testing.properties._law import Density, PushForward
from flowmaps.testing.properties._structure import (
    Conserved,
    Equivariance,
    GronwallBound,
    Liouville,
    OrderPreservation,
    Symplecticity,
)

__all__ = [
    "BatchConsistency",
    "ConditionRespected",
    "Conserved",
    "Density",
    "DerivativeHonesty",
    "Determinism",
    "DeviceConsistency",
    "DtypeConsistency",
    "Equivariance",
    "Eulerian",
    "EulerianReached",
    "Finite",
    "GronwallBound",
    "Identity",
    "InputKept",
    "IntegralLagrangian",
    "Inverse",
    "Lagrangian",
    "Liouville",
    "ModesAgree",
    "OrderPreservation",
    "PushForward",
    "Reached",
    "Semigroup",
    "Symplecticity",
    "Tangent",
    "TangentReached",
    "UnderVmap",
    "standard",
]


def standard() -> tuple:
    """Return the properties that every verification measures, conduct first.

    Example:
        >>> import flowmaps as fm
        >>> [one.name for one in fm.testing.properties.standard()][:2]
        ['finite values', 'determinism']
    """
    return (
        Finite(),
        Determinism(),
        InputKept(),
        BatchConsistency(),
        UnderVmap(),
        ConditionRespected(),
        DtypeConsistency(),
        DeviceConsistency(),
        Identity(),
        Semigroup(),
        Inverse(),
        OrderPreservation(),
        DerivativeHonesty(),
        ModesAgree(),
        IntegralLagrangian(),
        Tangent(),
        TangentReached(),
        Lagrangian(),
        Eulerian(),
        EulerianReached(),
        Liouville(),
        GronwallBound(),
    )
