import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from walks import takes

from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import Track3D
from gaitreid.pose.skeleton import H36M17
from gaitreid.reid.adam import Adam
from gaitreid.reid.config import CageConfig, TrainConfig
from gaitreid.reid.encode import encode, pool
from gaitreid.reid.encoders.cage import Cage, CagePlus
from gaitreid.reid.encoders.handmade import Bones
from gaitreid.reid.encoders.supervised import Lstm
from gaitreid.reid.train import Windows, _own_part, batches, train
from gaitreid.reid.windows import SplitConfig, split_track

RNG = np.random.default_rng(0)
FRAMES = np.cumsum(RNG.normal(0, 0.1, (200, 4, 3)), axis=0).astype(np.float32)
START = np.arange(0, 190, 5)
TRACK = START // 60
CPU = torch.device("cpu")


def run(epochs, state=None, seed=0):
    torch.manual_seed(seed)
    encoder = Cage(takes(4, 6), CageConfig(hidden=8))
    config = TrainConfig(epochs=epochs, batch=16)
    losses, snapshots = [], []
    for _, parts, snapshot in train(encoder, FRAMES, START, TRACK, config, CPU, seed, state):
        losses.append(parts["loss"])
        snapshots.append({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in snapshot().items()})
    return encoder, losses, snapshots


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_same_seed_same_weights_and_loss_falls():
    (a, losses, _), (b, _, _), (c, _, _) = run(6), run(6), run(6, seed=1)
    assert same(a, b)
    assert not same(a, c)
    assert losses[-1] < losses[0]


def test_going_on_equals_no_interruption(tmp_path):
    whole, _, _ = run(4)
    torch.manual_seed(0)
    encoder = Cage(takes(4, 6), CageConfig(hidden=8))
    for epoch, _, snapshot in train(encoder, FRAMES, START, TRACK, TrainConfig(epochs=4, batch=16), CPU, 0):
        if epoch == 2:
            torch.save(snapshot(), tmp_path / "c.pt")
            break
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    resumed, losses, _ = run(4, state)
    assert len(losses) == 2
    assert same(whole, resumed)


def test_going_on_equals_no_interruption_where_chance_is_used():
    class Blinded(Cage):
        def loss(self, batch):
            return super().loss(batch.replace(windows=torch.dropout(batch.windows, 0.2, True)))

    config, of = TrainConfig(epochs=3, batch=16), CageConfig(hidden=4, pretext="sorting")
    torch.manual_seed(0)
    whole = Blinded(takes(4, 6), of)
    for epoch, _, snapshot in train(whole, FRAMES, START, TRACK, config, CPU, 0):
        if epoch == 1:
            state = copy.deepcopy(snapshot())
    resumed = Blinded(takes(4, 6), of)
    torch.rand(7)
    for _ in train(resumed, FRAMES, START, TRACK, config, CPU, 0, state):
        pass
    assert same(whole, resumed)


def test_training_is_adam_on_cut_gradients_of_the_batches_in_their_order():
    config, of = TrainConfig(epochs=2, batch=16, learning_rate=0.01, clip=0.05), CageConfig(hidden=4, regularisation=0.3)
    torch.manual_seed(0)
    encoder = Cage(takes(4, 6), of)
    plain = copy.deepcopy(encoder)
    for _ in train(encoder, FRAMES, START, TRACK, config, CPU, 5):
        pass
    windows = Windows(FRAMES, START, TRACK, None, 6, 0, CPU)
    plain.prepare(torch.as_tensor(FRAMES[np.unique(START[:, None] + np.arange(6))]))
    optimiser = torch.optim.Adam(plain.parameters(), lr=0.01)
    for epoch in (1, 2):
        for rows in batches(TRACK, config, np.random.default_rng((5, epoch))):
            loss = plain.loss(windows.batch(torch.as_tensor(rows)))[0]
            loss = loss + 0.5 * 0.3 * torch.stack([p.square().sum() for p in plain.parameters()]).sum()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_value_(plain.parameters(), 0.05)
            optimiser.step()
    for (name, a), b in zip(encoder.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_encoders(precision):
    encoder = CagePlus(takes(4, 6), CageConfig(hidden=4))
    config = TrainConfig(epochs=1, batch=16, precision=precision)
    for _ in train(encoder, FRAMES, START[:16], TRACK[:16], config, CPU, 0):
        pass
    assert {task.precision for task in encoder.encoders} == {getattr(torch, precision)}


def test_every_window_once_and_neighbours_together():
    chosen = batches(TRACK, TrainConfig(batch=16), np.random.default_rng(0))
    assert sorted(np.concatenate(chosen).tolist()) == list(range(len(TRACK)))
    order = np.concatenate(chosen)
    assert order.tolist() != sorted(order)
    for track in set(TRACK.tolist()):
        places = np.flatnonzero(TRACK[order] == track)
        assert (np.diff(places) == 1).all()
        assert (np.diff(order[places]) == 1).all()


def test_orders():
    def of(**options):
        return batches(TRACK, TrainConfig(batch=16, **options), np.random.default_rng(0))

    assert np.concatenate(of(order="file")).tolist() == list(range(len(TRACK)))
    shuffled = np.concatenate(of(order="windows"))
    assert sorted(shuffled.tolist()) == list(range(len(TRACK)))
    assert (np.diff(shuffled) == 1).mean() < 0.2
    assert [len(c) for c in of(order="file", drop_last=True)] == [16, 16]
    assert max(np.concatenate(of(share=0.5))) == len(TRACK) // 2 - 1


def test_the_later_window_is_of_the_same_track_or_there_is_none():
    windows = Windows(FRAMES, START, TRACK, None, 6, 10, CPU)
    of = windows.batch(torch.arange(len(START)))
    for n, start in enumerate(START):
        same = [k for k, other in enumerate(START) if other == start + 10 and TRACK[k] == TRACK[n]]
        assert bool(of.has_later[n]) == bool(same)
        if same:
            assert np.array_equal(of.later[n], FRAMES[start + 10 : start + 16])
    pairs = of.pairs(2)
    assert pairs.tolist() == [TRACK[n] == TRACK[n + 2] for n in range(len(START) - 2)]


def cut(stretches, length, step):
    """Starts of windows of stretches (first row, rows), and how many of each."""
    starts = [np.arange(first, first + rows - length + 1, step) for first, rows in stretches]
    return np.concatenate(starts), [len(s) for s in starts]


# Prediction of the next whole window at an even and an odd length, and of half of it at other steps than the usual.
@pytest.mark.parametrize(("length", "step", "ahead"), [(6, 3, 6), (5, 2, 5), (6, 4, 3), (6, 1, 3), (6, 5, 6)])
def test_targets_are_later_frames_of_the_same_stretch(length, step, ahead):
    # Two stretches of one track, the second of which begins where the last window of the first ends, and one of another.
    rows = 2 * length + step * 3
    first_end = (rows - length) // step * step + length
    start, counts = cut([(0, first_end), (first_end, rows), (first_end + rows, rows)], length, step)
    track = np.repeat([0, 0, 1], counts)
    stretch = np.repeat([0, 1, 2], counts)
    of = Windows(FRAMES, start, track, None, length, ahead, CPU).batch(torch.arange(len(start)))
    known = [{r for s in start[stretch == k] for r in range(s, s + length)} for k in range(3)]
    for n in range(len(start)):
        target = range(start[n] + ahead, start[n] + ahead + length)
        assert bool(of.has_later[n]) == (set(target) <= known[stretch[n]]), (n, target)
        assert np.array_equal(of.later[n], FRAMES[list(target)] if of.has_later[n] else FRAMES[start[n] : start[n] + length])
    assert of.has_later.any()


def test_windows_that_share_no_frames_predict_whole_windows_alone():
    start = np.arange(0, 36, 6)  # their rows need not be frames in a row
    whole = Windows(FRAMES, start, start * 0, None, 6, 6, CPU)
    assert whole.has_later.tolist() == [True] * 5 + [False]
    assert not Windows(FRAMES, start, start * 0, None, 6, 3, CPU).has_later.any()


@pytest.mark.parametrize(("step", "frames"), [(3, 12), (6, 12), (8, 14)])
@pytest.mark.parametrize("fps", [None, 10.0])
def test_a_gap_is_seen_whatever_the_step(step, frames, fps):
    # The first stretch is such that the next window begins where it would without a gap, or sooner.
    frame = np.concatenate([np.arange(frames), np.arange(frames) + 40])
    xyz = np.resize(FRAMES, (2 * frames, 17, 3))
    score = np.ones(xyz.shape[:2], np.float32)
    track = Track3D(frame=frame, time=frame / 10, xyz=xyz, score=score, skeleton=H36M17, lifter="made up")
    found = split_track(track, SplitConfig(length=6, step=step, fps=fps, trim=0, normalize="none"))
    number = Windows(found.xyz, found.start, found.start * 0, None, 6, 6, CPU).number
    apart = np.diff(found.frame[found.start])
    assert apart.max() > 40 - frames
    assert (np.diff(number) == 1).tolist() == (apart == step).tolist()


def test_windows_on_either_side_of_a_gap_are_no_pair():
    start, track = np.array([0, 3, 6, 12, 15, 18]), np.zeros(6, dtype=np.int64)
    windows = Windows(FRAMES, start, track, None, 6, 3, CPU)
    of = windows.batch(torch.arange(6))
    assert of.pairs(1).tolist() == [True, True, False, True, True]
    assert of.pairs(2).tolist() == [True, False, False, True]
    assert of.has_later.tolist() == [True, True, False, True, True, False]
    # Nor does a gap make up for a window that lies elsewhere in the batch.
    for interval in (1, 2, 3):
        shuffled = windows.batch(torch.tensor([2, 0, 3, 4, 5, 1]))
        numbers = np.array([2, 0, 3, 4, 5, 1])
        near = [b - a == interval and (a < 3) == (b < 3) for a, b in zip(numbers, numbers[interval:], strict=False)]
        assert shuffled.pairs(interval).tolist() == near


@pytest.mark.parametrize("pretext", ["prediction", "prediction-full"])
def test_a_task_that_has_no_target_anywhere_is_refused(pretext):
    encoder = Cage(takes(4, 6), CageConfig(hidden=3, pretext=pretext))
    alone = np.array([0, 20, 40])
    with pytest.raises(UsageError, match=r"follow without a gap: set a shorter split\.length"):
        next(train(encoder, FRAMES, alone, np.arange(3), TrainConfig(epochs=1), CPU, 0))


@pytest.mark.parametrize("order", ["tracks", "file", "windows"])
def test_encoders_that_learn_from_labels_shuffle_all_windows(order):
    seen = []

    class Watched(Lstm):
        def loss(self, batch):
            seen.extend(batch.subject.tolist())
            return super().loss(batch)

    encoder = Watched(takes(4, 6, ("a", "b")))
    subject = np.arange(len(START)) * 2 // len(START)
    config = TrainConfig(epochs=1, batch=8, order=order)
    for _ in train(encoder, FRAMES, START, TRACK, config, CPU, 0, subject=subject):
        pass
    assert sorted(seen) == sorted(subject)
    assert np.abs(np.diff(seen)).sum() > 5  # in the order of the file, and by tracks, it is 1 to 3


def test_every_process_has_windows_of_a_batch(monkeypatch):
    for name, value in {"is_initialized": True, "get_world_size": 3, "get_rank": 2}.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    assert _own_part(np.arange(7)).tolist() == [5, 6]
    with pytest.raises(UsageError, match=r"3 processes cannot share a batch of 2 windows"):
        _own_part(np.arange(2))


def test_an_encoder_without_weights_is_only_prepared():
    (epoch,) = train(Bones(takes(4, 6)), FRAMES, START, TRACK, TrainConfig(epochs=9), CPU, 0)
    assert epoch[0] == 1
    assert not epoch[1]["loss"]


def test_the_regularisation_is_the_gradient_of_half_the_squared_norm():
    config = CageConfig(hidden=3, regularisation=0.5, contrastive="none")
    found = []
    for by_hand in (False, True):
        torch.manual_seed(0)
        encoder = Cage(takes(4, 6), config)
        windows = Windows(FRAMES, START[:8], TRACK[:8], None, 6, 0, CPU)
        loss, _ = encoder.loss(windows.batch(torch.arange(8)))
        if by_hand:
            loss = loss + 0.5 * 0.5 * torch.stack([p.square().sum() for p in encoder.parameters()]).sum()
            loss.backward()
        else:
            loss.backward()
            Adam(encoder.parameters(), 0.0, regularisation=0.5).step()
        found.append([p.grad for p in encoder.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


PARALLEL = """
import sys, numpy as np, torch
from dataclasses import replace
from gaitreid.reid.config import CageConfig, SupervisedConfig, TrainConfig
from gaitreid.reid.encoders.cage import CagePlus, age
from gaitreid.reid.encoders.supervised import Lstm
from gaitreid.reid.train import group, is_first, train
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/reid"]
import test_walk_training as of_walks
from walks import people, takes
with group(torch.device("cpu")):
    torch.manual_seed(0)
    encoder = age(takes(), CageConfig(hidden=8))
    frames, start, track, _ = people()
    start, track = start[:192], track[:192]
    for _ in train(encoder, frames, start, track, TrainConfig(epochs=2, batch=32), torch.device("cpu"), 0):
        pass
    # Batches of 3 to 5 windows are shared 2 to 1 and 3 to 2, and not all of them have a target, or a known subject.
    of_plus = CageConfig(hidden=4, tasks=("reverse", "prediction"), contrastive="none", regularisation=0.02)
    uneven = {reduction: CagePlus(takes(), replace(of_plus, reduction=reduction)) for reduction in ("mean", "sum")}
    uneven["labels"] = Lstm(takes(subjects=("a", "b")), SupervisedConfig(hidden=4))
    known = np.resize([0, 1, -1, -1, 0], 19)
    for name, other in uneven.items():
        for size in (3, 5):
            few = slice(0, 19)
            config = TrainConfig(epochs=1, batch=size)
            for _ in train(other, frames, start[few], start[few] // 8, config, torch.device("cpu"), 0, subject=known):
                pass
    walker = of_walks.made()
    of_walks.run(walker, people=2, iterations=3, every=3)
    others = {f"{name}.{key}": value for name, other in uneven.items() for key, value in other.state_dict().items()}
    if is_first():
        torch.save({**encoder.state_dict(), **walker.state_dict(), **others}, sys.argv[2])
assert not torch.distributed.is_initialized()  # a process that ends while in the group aborts, though seldom with two
"""


def test_two_processes_train_as_one_does(tmp_path):
    script = tmp_path / "parallel.py"
    script.write_text(PARALLEL)
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for arguments, name in (([], "one.pt"), (["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"], "two.pt")):
        command = [sys.executable, *arguments, str(script), tests, str(tmp_path / name)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert result.returncode == 0, result.stderr
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-3 if name.startswith("maps") else 1e-4)


def test_encoding_does_not_depend_on_the_batch():
    encoder, _, _ = run(1)
    one = encode(encoder, FRAMES, START, 6, "mean", 1, CPU)
    many = encode(encoder, FRAMES, START, 6, "mean", 64, CPU)
    np.testing.assert_allclose(one, many, atol=1e-5)
    sc = encode(encoder, FRAMES, START, 6, "sc", 64, CPU)
    np.testing.assert_allclose(sc.reshape(len(START), 6, -1).mean(axis=1), many, atol=1e-5)


def test_frames_outside_the_windows_do_not_count():
    spoilt = np.concatenate([FRAMES, np.full((10, 4, 3), np.nan, np.float32)])
    torch.manual_seed(0)
    encoder = Cage(takes(4, 6), CageConfig(hidden=8))
    for _, parts, _ in train(encoder, spoilt, START, TRACK, TrainConfig(epochs=1), CPU, 0):
        assert np.isfinite(parts["loss"])


def test_pool_is_the_mean_over_a_tracks_windows():
    vectors = np.array([[1.0, 0], [3.0, 2], [5.0, 5]])
    assert pool(vectors, np.array([0, 0, 1]), 2).tolist() == [[2.0, 1.0], [5.0, 5.0]]
