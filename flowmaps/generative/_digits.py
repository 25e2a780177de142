"""Scikit-learn's 1,797 real 8x8 digits."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Digits", "load_digits"]


@dataclass(frozen=True)
class Digits:
    """Handwritten digits in two parts, each class split alike.

    Args:
        train, held_out: images (n, 1, 8, 8), float32, ink from -1 (none) to 1 (full).
        train_labels, held_out_labels: classes 0 to 9, (n,), int64.

    Example:
        >>> import flowmaps as fm
        >>> digits = fm.generative.load_digits()
        >>> digits.train.min().item(), digits.train_labels.max().item()
        (-1.0, 9)
    """

    train: Tensor
    train_labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor


def load_digits(held_out: float = 0.25, seed: int = 0) -> Digits:
    """Load the digits that come with scikit-learn and split them.

    Args:
        held_out: share of the images kept from training, in (0, 1).
        seed: of the split.

    Raises:
        ModuleNotFoundError: without scikit-learn; names the extra to install.
        ValueError: for a share outside (0, 1).

    Source:
        Alpaydin, Kaynak (1998), Optical recognition of handwritten digits, UCI machine learning
        repository (test part).

    Example:
        >>> import flowmaps as fm
        >>> digits = fm.generative.load_digits()
        >>> tuple(digits.train.shape), tuple(digits.held_out.shape)
        ((1347, 1, 8, 8), (450, 1, 8, 8))
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must be a share in (0, 1), got {held_out}")
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the digits come with scikit-learn; install it with pip install flowmaps[demo]"
        ) from error
    images, labels = datasets.load_digits(return_X_y=True)
    train, rest, train_labels, rest_labels = train_test_split(
        images / 8.0 - 1.0, labels, test_size=held_out, random_state=seed, stratify=labels
    )
    return Digits(
        torch.tensor(train, dtype=torch.float32).reshape(-1, 1, 8, 8),
        torch.tensor(train_labels, dtype=torch.int64),
        torch.tensor(rest, dtype=torch.float32).reshape(-1, 1, 8, 8),
        torch.tensor(rest_labels, dtype=torch.int64),
    )
