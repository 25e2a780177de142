"""A recipe is data: the same run from a script, a folder, or what a folder says of it."""

import inspect
import json
from dataclasses import FrozenInstanceError, asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import flowmaps as fm
from flowmaps.errors import RunFolderError, RunFolderExistsError, TrainingError
from flowmaps.training import Recipe


@dataclass(frozen=True)
class Small(Recipe):
    """A recipe of the tests' own: a shift of the line, learned by flow matching."""

    name: ClassVar[str] = "small"

    steps: int = 8
    width: int = 4
    shift: float = 0.5
    spoiled: bool = False
    note: str | None = None

    def build(self) -> fm.maps.FlowMap:
        return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=self.width, depth=1))

    def objective(self) -> fm.objectives.Objective:
        return fm.objectives.flow_matching()

    def source(self) -> fm.objectives.Pairs:
        data = torch.full((20, 1), torch.nan if self.spoiled else self.shift)
        return fm.objectives.Pairs(None, data)

    def settings(self) -> dict[str, Any]:
        return {"batch": 4, "learning_rate": 1e-2, "warmup": 100, "keep_every": 3}

    def finish(self, learned: fm.maps.FlowMap) -> fm.maps.FlowMap:
        return fm.maps.Autonomous(learned, 1.0)


def weights(module: nn.Module) -> list[list[float]]:
    return [p.flatten().tolist() for p in module.parameters()]


def train(recipe: Recipe, *arguments: Any, **options: Any) -> fm.training.Trained:
    return recipe.train(*arguments, progress=False, **options)


# ---------------------------------------------------------------------------- the same run


def test_with_a_folder_and_without_the_run_is_the_same(tmp_path: Path) -> None:
    alone, kept = train(Small()), train(Small(), tmp_path / "run")
    assert weights(alone.flow_map) == weights(kept.flow_map)
    assert alone.result.history.loss == kept.result.history.loss
    assert (alone.result.folder, kept.result.folder) == (None, tmp_path / "run")
    torch.set_default_dtype(torch.float32)  # what is saved says what it is
    assert weights(fm.load(tmp_path / "run" / "map")) == weights(alone.result.learned)


def test_the_caller_s_random_numbers_play_no_part_and_stay(tmp_path: Path) -> None:
    first = train(Small())
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    again = train(Small(), tmp_path / "run")
    assert weights(again.flow_map) == weights(first.flow_map)
    assert torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(TrainingError):
        train(Small(spoiled=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_and_draws_are_those_of_the_seed() -> None:
    def start(seed: int) -> list[list[float]]:
        torch.manual_seed(seed)
        return weights(Small().build())

    seen: dict[int, list[list[float]]] = {}
    for seed in (0, 1):
        spied = _spied(Small(seed=seed), seen)
        train(spied)
    assert seen == {0: start(0), 1: start(1)}
    zero, one = (train(Small(seed=seed)).result.history.loss for seed in (0, 1))
    assert zero != one


def _spied(recipe: Small, seen: dict[int, list[list[float]]]) -> Recipe:
    """Return the recipe, whose objective notes the weights that it meets first."""

    class Noting(fm.objectives.Objective):
        def __init__(self) -> None:
            super().__init__()
            self.inner = recipe.objective()

        def draw(self, *arguments: Any, **options: Any) -> fm.objectives.Draw:
            return self.inner.draw(*arguments, **options)

        def forward(self, learned: Any, draw: Any, target: Any = None) -> fm.objectives.Loss:
            seen.setdefault(recipe.seed, weights(learned))
            return self.inner(learned, draw, target)

    class Spied(Small):
        def objective(self) -> fm.objectives.Objective:
            return Noting()

    return Spied(**asdict(recipe))


def test_it_is_fit_with_its_settings() -> None:
    recipe = Small(steps=12)
    torch.manual_seed(0)
    learned = recipe.build()
    expected = fm.training.fit(
        learned,
        recipe.objective(),
        recipe.source(),
        steps=12,
        batch=4,
        learning_rate=1e-2,
        warmup=3,  # a quarter of the steps at most
        seed=0,
    )
    trained = train(recipe)
    assert trained.result.history.learning_rate == expected.history.learning_rate
    assert weights(trained.result.learned) == weights(learned)


def test_the_map_for_use_is_the_finished_one() -> None:
    trained = train(Small(steps=2))
    assert isinstance(trained.flow_map, fm.maps.Autonomous)
    assert isinstance(trained.result.learned, fm.maps.NeuralFlowMap)
    assert trained.flow_map(0.0, 3.0, torch.zeros(2, 1)).shape == (2, 1)
    assert not trained.result.learned.training


def test_the_map_for_use_is_in_eval_mode() -> None:
    assert not any(part.training for part in train(Small(steps=2)).flow_map.modules())


# ---------------------------------------------------------------------------- as data


def test_a_folder_says_what_its_recipe_was(tmp_path: Path) -> None:
    recipe = Small(steps=5, seed=3, width=6, shift=0.1 + 0.2, note='with "quotes", and ü')
    train(recipe, tmp_path)
    about = json.loads((tmp_path / "configuration.json").read_text())["about"]
    assert about["recipe"] == "small"
    assert Small(**about["fields"]) == recipe


def test_a_run_is_taken_up_by_the_recipe_that_its_folder_holds(tmp_path: Path) -> None:
    first = train(Small(seed=3), tmp_path)
    about = json.loads((tmp_path / "configuration.json").read_text())["about"]
    again = train(Small(**about["fields"]), tmp_path, resume=True)
    assert weights(again.flow_map) == weights(first.flow_map)
    assert again.result.history == first.result.history


def test_another_recipe_is_refused_by_its_fields(tmp_path: Path) -> None:
    train(Small(), tmp_path)
    for other, difference in (
        (Small(shift=0.25), r"about.fields.shift was 0.5, now 0.25"),
        (Small(seed=1), r"settings.seed was 0, now 1.*about.fields.seed was 0, now 1"),
        (Small(steps=80), r"settings.steps was 8, now 80.*about.fields.steps was 8, now 80"),
    ):
        with pytest.raises(RunFolderError, match=f"started with other settings: .*{difference}"):
            train(other, tmp_path, resume=True)
    with pytest.raises(RunFolderExistsError, match="already holds a run"):
        train(Small(), tmp_path)
    assert train(Small(shift=0.25), tmp_path, overwrite=True).result.steps == 8


def test_a_budget_of_time_takes_the_place_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fm.training._loop, "affordable_steps", lambda seconds, *_: int(seconds))
    timed = train(Small(steps=1000), tmp_path, seconds=20.0)
    assert timed.result.steps == 20
    rates = timed.result.history.learning_rate
    assert rates[:10] == pytest.approx([1e-2 * (k + 1) / 10 for k in range(10)])
    again = train(Small(steps=1000), tmp_path, seconds=20.0, resume=True)
    assert weights(again.flow_map) == weights(timed.flow_map)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_recipe_without_steps_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1"):
        train(Small(steps=steps))


# ---------------------------------------------------------------------------- those on board

ON_BOARD = [
    fm.surrogates.PendulumRecipe(),
    fm.generative.CheckerboardRecipe(samples=200),
    fm.generative.DigitsRecipe(width=8),
]


@pytest.mark.parametrize("recipe", ON_BOARD, ids=lambda recipe: recipe.name)
def test_a_recipe_on_board_is_data(recipe: Recipe) -> None:
    again = type(recipe)(**json.loads(json.dumps(asdict(recipe))))
    assert again == recipe and hash(again) == hash(recipe)
    with pytest.raises(FrozenInstanceError):
        recipe.steps = 1  # type: ignore[misc]
    assert replace(recipe, steps=7).steps == 7


@pytest.mark.parametrize("recipe", ON_BOARD, ids=lambda recipe: recipe.name)
def test_a_recipe_on_board_is_made_by_its_seed(recipe: Recipe) -> None:
    """Its parts are equal whenever they are made, and the caller's random numbers stay."""
    torch.set_default_dtype(torch.float32)
    made = []
    for _ in range(2):
        torch.manual_seed(recipe.seed)
        made.append(weights(recipe.build()))
        before = torch.random.get_rng_state()
        objective, source = recipe.objective(), recipe.source()
        assert torch.equal(torch.random.get_rng_state(), before)
        draw = objective.draw(source, batch=3, generator=torch.Generator().manual_seed(0))
        made.append([draw.points.tolist(), draw.s.tolist(), str(objective)])
    assert made[:2] == made[2:]


@pytest.mark.parametrize("recipe", ON_BOARD, ids=lambda recipe: recipe.name)
def test_the_settings_of_a_recipe_on_board_are_those_of_fit(recipe: Recipe) -> None:
    settings = recipe.settings()
    own = {"steps", "seconds", "seed", "folder", "resume", "overwrite", "progress", "about"}
    assert settings.keys() <= inspect.signature(fm.training.fit).parameters.keys() - own
    json.dumps(settings, allow_nan=False)
