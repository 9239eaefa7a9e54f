from dataclasses import replace
from pathlib import Path

import numpy as np
from galleries import casia, windows_of_noise

from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.recognise import recognise
from gaitreid.pipeline.work import Work


def test_names_of_views_lead_nowhere(tmp_path: Path) -> None:
    of = casia(subjects=2, views=("../../../a", "/b", "0/90"))
    made = windows_of_noise(replace(of, video=np.array([f"video{k}" for k in range(len(of.video))])), 6)
    work, config = Work(tmp_path / "work"), Config()
    store.write(work.sequences, "sequences", {"/sequences": made}, {"config": "", "made_from": ""})
    config = replace(config, train=replace(config.train, model="joints"), recognise=replace(config.recognise, recogniser="knn"))
    recognise(work, config, "joints", Console(-1), protocol="ks20-cvs", train_on="", test_on="", as_published=False)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    found = sorted(path.name for path in (work.root / "models").iterdir())
    assert found == ["joints-ks20-cvs-0_90", "joints-ks20-cvs-_.._.._a", "joints-ks20-cvs-_b"]
