"""Closed sets: who of these people is it? A recogniser learns from encoded windows with labels and scores others.

The papers' own is the recognition network, one hidden layer over the features of a frozen encoder (CAGE, section 3.8). AP
averages the predictions of the frames of a window, SC takes the frames concatenated.
"""

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.reid.adam import Adam
from gaitreid.reid.config import RecogniseConfig

Manner = Literal["ap", "sc"]


class Recogniser(Protocol):
    """Scores rows of features against classes."""

    def fit(self, features: FloatArray, label: IntArray) -> None:
        """Learn from features (N, D) with labels (N,) in 0 ... C - 1."""

    def scores(self, features: FloatArray) -> FloatArray:
        """(N, D) -> (N, C), higher is likelier."""


class Network:
    """The recognition network: D -> 256 (ReLU) -> C, cross-entropy, Adam.

    Args:
        classes: C.
        published: weights drawn from N(0, 1) and inputs as they are, as in the released code; else torch's initial values and
            standardised inputs, which train ten times faster.
    """

    def __init__(self, classes: int, config: RecogniseConfig, *, seed: int = 0, published: bool = False) -> None:
        self.classes, self.config, self.seed, self.published = classes, config, seed, published
        self.layers: nn.Module | None = None
        self.mean, self.deviation = torch.zeros(1), torch.ones(1)

    def fit(self, features: FloatArray, label: IntArray) -> None:
        """See `Recogniser`."""
        for _ in self.epochs(features, label):
            pass

    def epochs(self, features: FloatArray, label: IntArray) -> Iterator[int]:
        """As `fit`, but yields after every epoch; rows are shuffled anew each time (the released code shuffles once)."""
        torch.manual_seed(self.seed)
        x, y = torch.as_tensor(features), torch.as_tensor(label)
        layers = nn.Sequential(nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Linear(256, self.classes))
        if self.published:
            for name, weight in layers.named_parameters():
                nn.init.zeros_(weight) if name.endswith("bias") else nn.init.normal_(weight)
        else:
            self.mean, self.deviation = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
            x = (x - self.mean) / self.deviation
        self.layers = layers
        optimiser = Adam(layers.parameters(), self.config.learning_rate)
        rng = np.random.default_rng(self.seed)
        for epoch in range(1, self.config.epochs + 1):
            order = torch.as_tensor(rng.permutation(len(x)))
            for rows in torch.split(order, self.config.batch):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(layers(x[rows]), y[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            yield epoch

    @torch.no_grad()
    def scores(self, features: FloatArray) -> FloatArray:
        """Logits."""
        assert self.layers is not None
        logits: Tensor = self.layers((torch.as_tensor(features) - self.mean) / self.deviation)
        return np.asarray(logits.numpy())


class Classical:
    """A classifier of scikit-learn: k-nearest neighbours, a support vector machine, or boosted trees."""

    def __init__(self, kind: Literal["knn", "svm", "adaboost"], classes: int, *, seed: int = 0) -> None:
        self.kind, self.classes, self.seed = kind, classes, seed
        self.model: Any = None

    def fit(self, features: FloatArray, label: IntArray) -> None:
        """See `Recogniser`."""
        from sklearn.ensemble import AdaBoostClassifier
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC
        from sklearn.tree import DecisionTreeClassifier

        made = {
            "knn": lambda: KNeighborsClassifier(1),
            "svm": lambda: SVC(decision_function_shape="ovr"),
            "adaboost": lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=6), n_estimators=100, random_state=self.seed),
        }[self.kind]()
        self.model = make_pipeline(StandardScaler(), made).fit(features, label)

    def scores(self, features: FloatArray) -> FloatArray:
        """Class probabilities, or for the support vector machine its decision function."""
        found = self.model.decision_function(features) if self.kind == "svm" else self.model.predict_proba(features)
        if found.ndim == 1:  # two classes: one column
            found = np.stack([-found, found], axis=1)
        result = np.full((len(features), self.classes), found.min() - 1.0)
        result[:, self.model.classes_] = found
        return result


def recogniser(config: RecogniseConfig, classes: int, *, seed: int, published: bool = False) -> Recogniser:
    """The recogniser that a configuration names."""
    if config.recogniser == "rn":
        return Network(classes, config, seed=seed, published=published)
    return Classical(config.recogniser, classes, seed=seed)


def rows(features: FloatArray, manner: Manner) -> FloatArray:
    """What a recogniser sees of windows (N, f, D): every frame (N f, D) for AP, the frames concatenated (N, f D) for SC."""
    return features.reshape(-1, features.shape[-1]) if manner == "ap" else features.reshape(len(features), -1)


def fit(one: Recogniser, features: FloatArray, label: IntArray, manner: Manner) -> None:
    """Teach a recogniser windows (N, f, D) with labels (N,)."""
    one.fit(rows(features, manner), label if manner == "sc" else np.repeat(label, features.shape[1]))


def score(one: Recogniser, features: FloatArray, manner: Manner) -> FloatArray:
    """Scores of windows: (N, f, D) -> (N, C); for AP the mean over the frames."""
    found = one.scores(rows(features, manner))
    return found if manner == "sc" else found.reshape(len(features), -1, found.shape[-1]).mean(axis=1)


def pool_scores(scores: FloatArray, track: IntArray) -> tuple[FloatArray, IntArray]:
    """Mean over the windows of each track: (K, C), and which tracks these are."""
    tracks, place = np.unique(track, return_inverse=True)
    total = np.zeros((len(tracks), scores.shape[1]))
    np.add.at(total, place, scores)
    return total / np.bincount(place)[:, None], tracks
