"""The flow map as an object: kinds of maps, composition, inversion, parametrisations."""

from flowmaps.maps._autonomous import Autonomous
from flowmaps.maps._conjugated import Conjugated
from flowmaps.maps._diffeomorphism import Affine, Diffeomorphism, FromFunctions
from flowmaps.maps._endpoint import Endpoint
from flowmaps.maps._exact import ExactFlowMap
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._identity import Identity
from flowmaps.maps._mean_velocity import MeanVelocity
from flowmaps.maps._neural import NeuralFlowMap
from flowmaps.maps._newton import NewtonInverse
from flowmaps.maps._parametrization import Parametrization
from flowmaps.maps._piecewise import Piecewise
from flowmaps.maps._relation import independent_derivatives
from flowmaps.maps._second_order import SecondOrder
from flowmaps.maps._solver import SolverFlowMap
from flowmaps.maps._through import Through
from flowmaps.maps._times import TimeSet
from flowmaps.maps._transition import Chain, Leg, TransitionMap

__all__ = [
    "Affine",
    "Autonomous",
    "Chain",
    "Conjugated",
    "Diffeomorphism",
    "Endpoint",
    "ExactFlowMap",
    "FlowMap",
    "FromFunctions",
    "Identity",
    "Leg",
    "MeanVelocity",
    "NeuralFlowMap",
    "NewtonInverse",
    "Parametrization",
    "Piecewise",
    "SecondOrder",
    "SolverFlowMap",
    "Through",
    "TimeSet",
    "TransitionMap",
    "independent_derivatives",
]
