"""Figures of a closed set: every item is scored against all subjects. Scores in, numbers out; fractions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray, IntArray, TextArray
from gaitreid.reid.metrics import bootstrap, cmc


@dataclass(frozen=True, eq=False)
class Identification:
    """Items against subjects.

    Attributes:
        scores: (N, C), higher is likelier.
        truth: (N,), place of the item's subject.
        subjects: (C,).
    """

    scores: FloatArray
    truth: IntArray
    subjects: TextArray

    @property
    def rank(self) -> IntArray:
        """Rank of the right subject, from 1; of equal scores the right one comes last, so that ties never help (N,)."""
        own = np.take_along_axis(self.scores, self.truth[:, None], axis=1)
        return np.asarray((self.scores >= own).sum(axis=1), dtype=np.int64)

    @property
    def curve(self) -> NDArray[np.float64]:
        """CMC at ranks 1 ... C."""
        return cmc(self.rank, len(self.subjects))

    @property
    def confusion(self) -> IntArray:
        """Counts, rows are the truth, columns the answer, of equal scores the first that is wrong, as `rank` has it (C, C)."""
        count = len(self.subjects)
        others = self.scores.astype(np.float64)
        np.put_along_axis(others, self.truth[:, None], -np.inf, axis=1)
        pairs = self.truth * count + np.where(self.rank == 1, self.truth, others.argmax(axis=1))
        return np.bincount(pairs, minlength=count * count).reshape(count, count)

    def figures(self, seed: int) -> dict[str, Any]:
        """Ready for JSON. `nauc_cmc` is the papers' nAUC, `nauc_micro_roc` what their code prints under that name."""
        rank, count = self.rank, len(self.subjects)
        names: TextArray = self.subjects[self.truth]
        per_item = {f"rank{k}": np.asarray(rank <= k, dtype=np.float64) for k in (1, 5, 10)}
        per_item["nauc_cmc"] = (count - rank + 1) / count
        return {
            "items": len(rank),
            "subjects": count,
            **{name: float(values.mean()) for name, values in per_item.items()},
            "nauc_micro_roc": self.nauc_micro_roc(),
            "ci95": {name: bootstrap(values, names, seed=seed) for name, values in per_item.items()},
        }

    def nauc_micro_roc(self) -> float | None:
        """Micro-averaged area under the ROC over all (item, subject) scores, raw, as in the released code."""
        from sklearn.metrics import roc_auc_score

        truth = np.zeros(self.scores.shape, dtype=bool)
        truth[np.arange(len(truth)), self.truth] = True
        return float(roc_auc_score(truth.ravel(), self.scores.ravel())) if len(self.subjects) > 1 else None
