import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import H36M17, KINECT20, Skeleton
from gaitreid.reid.config import LdaConfig
from gaitreid.reid.encode import Input
from gaitreid.reid.encoders.handmade import D13, D16, Bones, Joints, JointsLda
from gaitreid.reid.handmade import bone_lengths, joint_statistics


def person(skeleton=KINECT20):
    """Somebody who stands upright, y up: lengths in decimetres that one can add up."""
    at = {
        "pelvis": (0, 10, 0), "spine": (0, 12, 0), "neck": (0, 15, 0), "thorax": (0, 15, 0), "head": (0, 18, 0),
        "nose": (0, 17, 1), "left_shoulder": (2, 15, 0), "right_shoulder": (-2, 15, 0), "left_elbow": (2, 12, 0),
        "right_elbow": (-2, 12, 0), "left_wrist": (2, 10, 0), "right_wrist": (-2, 10, 0), "left_hand": (2, 9, 0),
        "right_hand": (-2, 9, 0), "left_hip": (1, 10, 0), "right_hip": (-1, 10, 0), "left_knee": (1, 6, 0),
        "right_knee": (-1, 6, 0), "left_ankle": (1, 1, 0), "right_ankle": (-1, 1, 0), "left_foot": (1, 0, 1),
        "right_foot": (-1, 0, 1),
    }  # fmt: skip
    return torch.tensor([at[joint] for joint in skeleton.joints], dtype=torch.float32)


@pytest.mark.parametrize("skeleton", [KINECT20, H36M17])
@pytest.mark.parametrize("turn", [1, -1])
def test_thirteen_descriptors_by_hand(skeleton, turn):
    windows = person(skeleton).expand(2, 3, -1, -1) * torch.tensor([1.0, turn, 1.0])
    found = D13(Input(skeleton, 3)).features(windows)[0, 0]
    torso, right = 3.0, 4.0
    slanted = (2**2 + 3**2) ** 0.5
    expected = [17, 14, 2, 2, slanted, 5, 5, right, right, torso, 2, torso / right, torso / right]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
    more = D16(Input(skeleton, 3)).features(windows)[0, 0]
    torch.testing.assert_close(more, torch.tensor([*expected[:11], slanted, 5, 5, 3, 4], dtype=torch.float32))


def test_descriptors_of_a_body_that_is_not_the_same_on_both_sides():
    torch.manual_seed(0)
    windows = person() + 0.3 * torch.randn(1, 4, 20, 3)

    def apart(a, b):
        return (windows[0, :, KINECT20.index(a)] - windows[0, :, KINECT20.index(b)]).norm(dim=-1)

    def arm(side):
        return apart(f"{side}_shoulder", f"{side}_elbow") + apart(f"{side}_elbow", f"{side}_wrist")

    floor = windows[0, :, KINECT20.indices("left_ankle", "right_ankle"), 1].min()  # of the whole window
    heights = [windows[0, :, KINECT20.index(name), 1] - floor for name in ("head", "neck")]
    torso, right, left = apart("neck", "spine"), apart("right_hip", "right_knee"), apart("left_hip", "left_knee")
    both = [apart("neck", "left_shoulder"), apart("neck", "right_shoulder"), apart("spine", "right_shoulder")]
    lengths = [*heights, *both, arm("right"), arm("left"), right, left, torso, apart("right_hip", "left_hip")]
    found = D13(Input(KINECT20, 4)).features(windows)[0]
    torch.testing.assert_close(found, torch.stack([*lengths, torso / right, torso / left], dim=1))
    shanks = [apart("right_knee", "right_ankle"), apart("left_knee", "left_ankle")]
    more = [apart("spine", "left_shoulder"), *shanks, apart("head", "neck"), apart("left_shoulder", "right_shoulder")]
    torch.testing.assert_close(D16(Input(KINECT20, 4)).features(windows)[0], torch.stack([*lengths, *more], dim=1))


def test_features_are_scaled_by_what_they_were_prepared_on():
    model = D13(Input(KINECT20, 3))
    frames = person() * torch.linspace(0.8, 1.2, 50)[:, None, None]
    model.prepare(frames)
    scaled = model.features(frames[:, None])
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-2)
    assert float(scaled[..., 0].std()) == pytest.approx(1, rel=1e-3)


def test_bones_and_joints_are_the_features_of_whole_tracks():
    windows = torch.randn(2, 7, 20, 3)
    lengths = Bones(Input(KINECT20, 7)).features(windows)[0]
    np.testing.assert_allclose(np.median(lengths, axis=0), bone_lengths(windows[0].numpy(), KINECT20), rtol=1e-5)
    statistics = Joints(Input(KINECT20, 7)).features(windows)
    assert statistics.shape == (2, 1, 120)
    np.testing.assert_allclose(statistics[0, 0], joint_statistics(windows[0].numpy()), rtol=1e-4, atol=1e-5)


class TestJointsLda:
    people = Input(Skeleton("few", ("a", "b", "c"), ()), 7, subjects=tuple("abcdef"))

    def fitted(self, **options) -> tuple[JointsLda, np.ndarray]:
        """A model of six people who differ a little in one coordinate and vary a lot in another joint; their vectors."""
        rng = np.random.default_rng(0)
        who = np.repeat(np.arange(6), 40)
        xyz = rng.normal(0, 0.02, (len(who), 7, 3, 3))
        xyz[:, :, 1, 1] += 0.1 * who[:, None]
        xyz[:, :, 2] += rng.normal(0, 2, (len(who), 1, 3))
        self.windows = torch.tensor(xyz, dtype=torch.float32)
        model = JointsLda(self.people, LdaConfig(**options))
        model.fit(model.measure(self.windows)[:, 0].numpy(), who)
        return model, model.features(self.windows)[:, 0].numpy().reshape(6, 40, -1)

    def test_quantiles_and_movement(self):
        windows = torch.randn(2, 7, 3, 3)
        measured = JointsLda(self.people).measure(windows).view(2, 6, 9)
        quantiles = np.quantile(windows.flatten(2), JointsLda.quantiles, axis=1).transpose(1, 0, 2)
        np.testing.assert_allclose(measured[:, :5], quantiles, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(measured[:, 5], windows.flatten(2).diff(dim=1).abs().mean(dim=1), rtol=1e-4, atol=1e-5)

    def test_people_are_told_apart_by_what_tells_them_apart(self):
        _, vectors = self.fitted(dimensions=2)
        for found, least, most in ((vectors, 0.95, 1.0), (self.windows.flatten(1).numpy().reshape(6, 40, -1), 0.0, 0.6)):
            gallery, probes = found[:, :20].reshape(120, -1), found[:, 20:].reshape(120, -1)
            nearest = ((probes[:, None] - gallery[None]) ** 2).sum(axis=-1).argmin(axis=1)
            assert least <= (nearest // 20 == np.arange(120) // 20).mean() <= most

    def test_the_spread_within_people_is_one_in_all_directions(self):
        _, vectors = self.fitted(shrinkage=1e-4, dimensions=2)
        within = (vectors - vectors.mean(axis=1, keepdims=True)).reshape(240, 2)
        np.testing.assert_allclose(within.T @ within / 240, np.eye(2), atol=0.05)

    def many(self, walks, seed=0, **options):
        """A model of forty people who were seen so often each, in four coordinates, and what was measured of their walks."""
        rng = np.random.default_rng(seed)
        who = np.repeat(np.arange(40), walks)
        measured = rng.normal(0, 1, (40, 54))[who] * np.linspace(0, 1, 54) + rng.normal(0, 0.4, (len(who), 54))
        model = JointsLda(
            Input(Skeleton("few", ("a", "b", "c"), ()), 7, subjects=tuple(map(str, range(40)))), LdaConfig(**options)
        )
        model.fit(measured, who)
        vectors = (measured - model.mean.numpy()) / model.deviation.numpy() @ model.directions.numpy()
        return model, measured, who, vectors

    def test_distances_are_the_mean_over_halves_of_the_people(self):
        model, measured, who, vectors = self.many([5] * 40, halves=4, dimensions=39, shrinkage=0.1)
        scaled = (measured - measured.mean(axis=0)) / measured.std(axis=0)
        total, sets = np.zeros((len(who), len(who))), model._halves(who)
        for chosen in sets:
            assert len(np.unique(who[chosen])) == 20
            lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1).fit(scaled[chosen], who[chosen])
            spread = scaled @ lda.scalings_[:, :39]
            total = total + ((spread[:, None] - spread[None]) ** 2).sum(axis=-1) / len(sets)
        found = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=-1)
        assert np.abs(found - total).max() < 0.05 * total.max()  # 39 directions of 54 say nearly all of it
        assert not np.array_equal(sets[0], sets[1])

    def test_the_same_people_give_the_same_directions(self):
        first, again = self.many([3] * 40, halves=3)[0], self.many([3] * 40, halves=3)[0]
        assert torch.equal(first.directions, again.directions)

    def test_no_half_is_without_somebody_who_was_seen_twice(self):
        model, *_ = self.many([1] * 39 + [9], halves=8)
        assert torch.isfinite(model.directions).all()
        assert model.directions.abs().max() > 0

    def test_it_needs_people_with_several_tracks(self):
        with pytest.raises(UsageError, match="two or more known subjects"):
            JointsLda(Input(KINECT20, 7, subjects=("a",)))
        model = JointsLda(self.people)
        with pytest.raises(UsageError, match="two of somebody"):
            model.fit(np.zeros((2, 54)), np.array([0, 1]))


@pytest.mark.parametrize("kind", [Bones, Joints, JointsLda, D13, D16])
def test_planned_without_memory_nothing_is_computed_there(kind, monkeypatch):
    """On the meta device a product loads torch's compiler, which takes longer than everything else together."""
    seen, measure = [], kind.measure

    def looking(self, windows):
        seen.append(windows.device.type)
        return measure(self, windows)

    monkeypatch.setattr(kind, "measure", looking)
    takes = Input(H36M17, 20, "gait", ("001", "002"))
    with torch.device("meta"):
        planned = kind(takes)
    assert seen == ["cpu"]
    assert planned.mean.device.type == "meta"
    assert {name: t.shape for name, t in planned.state_dict().items()} == {
        name: t.shape for name, t in kind(takes).state_dict().items()
    }
