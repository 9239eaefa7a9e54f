from operator import call

import pytest
import torch

from gaitreid.pipeline import jobs
from gaitreid.pipeline.jobs import each


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(jobs, "cores", lambda: 2)
    assert list(each(call, [torch.get_num_threads] * 2, 2)) == [1, 1]


def test_one_job_runs_in_this_process() -> None:
    here = object()
    assert list(each(lambda item: (item, here), [3, 1, 2], 1)) == [(3, here), (1, here), (2, here)]
