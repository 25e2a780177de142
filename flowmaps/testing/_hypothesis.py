"""Hypothesis, or a word on what to install."""

try:
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import strategies as st
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        initialize,
        precondition,
        rule,
        run_state_machine_as_test,
    )
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    raise ModuleNotFoundError(
        "the strategies and state machines of flowmaps.testing need hypothesis; install it with "
        'pip install "flowmaps[testing]"',
        name="hypothesis",
    ) from error

__all__ = [
    "HealthCheck",
    "Phase",
    "RuleBasedStateMachine",
    "initialize",
    "precondition",
    "rule",
    "run_state_machine_as_test",
    "settings",
    "st",
]
