"""An independent classifier that names the class of samples."""

from torch import Tensor

from flowmaps.generative._digits import Digits

__all__ = ["ClassJudge"]


class ClassJudge:
    """A support vector machine (radial basis functions) trained on the real training digits alone.

    Args:
        digits: data; the held-out part measures the judge itself.

    Example:
        >>> import flowmaps as fm
        >>> judge = fm.generative.ClassJudge(fm.generative.load_digits())
        >>> judge.accuracy > 0.98
        True
    """

    def __init__(self, digits: Digits):
        from sklearn.svm import SVC

        self._machine = SVC(kernel="rbf", gamma=0.02, C=10.0)  # pyright: ignore[reportArgumentType]
        self._machine.fit(digits.train.flatten(1).numpy(), digits.train_labels.numpy())
        self.accuracy = self.agreement(digits.held_out, digits.held_out_labels)
        """Share of held-out real digits that it names rightly."""

    def agreement(self, images: Tensor, labels: Tensor) -> float:
        """Return the share of images (n, 1, 8, 8) named as labels (n,) say; ink is clipped."""
        ink = images.detach().clamp(-1.0, 1.0).flatten(1)
        named = self._machine.predict(ink.cpu().numpy())
        return float((named == labels.cpu().numpy()).mean())
