"""Runs of recipes: which there are, how they are started, and how they are read again."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import flowmaps as fm
from flowmaps.cli._questions import Question, of_generation, of_pendulum
from flowmaps.cli.assess import (
    assess_checkerboard,
    assess_digits,
    assess_pendulum,
    checkerboard_grid,
    digits_grid,
)
from flowmaps.cli.report import Figure, Section
from flowmaps.errors import RunFolderError, UsageError
from flowmaps.generative import CheckerboardRecipe, DigitsRecipe
from flowmaps.maps import FlowMap
from flowmaps.surrogates import PendulumRecipe
from flowmaps.training import Recipe

__all__ = ["KINDS", "Kind", "Run", "new_folder", "open_run"]


@dataclass(frozen=True)
class Kind:
    """A recipe that the command line knows: its class, its assessment, what its map is to be.

    Those of samples have a picture of them too.
    """

    recipe: type[Recipe]
    assess: Callable[..., Section]
    question: Callable[[Any, FlowMap], Question]
    grid: Callable[[FlowMap, tuple[int, ...], int], Figure] | None = None


KINDS = {
    "pendulum": Kind(PendulumRecipe, assess_pendulum, of_pendulum),
    "checkerboard": Kind(CheckerboardRecipe, assess_checkerboard, of_generation, checkerboard_grid),
    "digits": Kind(DigitsRecipe, assess_digits, of_generation, digits_grid),
}


@dataclass(frozen=True)
class Run:
    """A run on disk: its kind, its recipe, and where it lies."""

    kind: Kind
    recipe: Recipe
    folder: Path

    def flow_map(self) -> FlowMap:
        """Return the finished map for use; raise RunFolderError if it is not finished."""
        folder = self.folder / "map"
        if not (folder / "flowmap.json").exists():
            raise RunFolderError(
                f"the run in {self.folder} is not finished; go on with "
                f"flowmaps train {self.recipe.name} --out {self.folder} --resume"
            )
        return self.recipe.finish(fm.load(folder)).eval()


def new_folder(name: str) -> Path:
    """Return a path under runs/ that says what and when."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def kind_of(name: str) -> Kind:
    """Return the kind of a recipe's name; raise UsageError for another name."""
    if name not in KINDS:
        raise UsageError(f"there is no recipe {name!r}; the recipes are {', '.join(KINDS)}")
    return KINDS[name]


def open_run(folder: Path) -> Run:
    """Read what a folder's run is.

    Raises:
        RunFolderError: if the folder holds no run of a recipe.
    """
    path = folder / "configuration.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))["about"]
        kind = kind_of(about["recipe"])
        known = {field.name for field in fields(kind.recipe)}
        recipe = kind.recipe(**{k: v for k, v in about["fields"].items() if k in known})
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{folder} holds no run: configuration.json is missing; give the folder of a run that "
            "flowmaps train has made"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{path} is not of a recipe's run ({type(error).__name__}: {error}); give the folder "
            "of a run that flowmaps train has made"
        ) from error
    return Run(kind, recipe, folder)
