"""Settings of encoding and matching; those of training are here too, since this module loads without torch."""

from dataclasses import dataclass, field
from typing import Literal

from gaitreid.pose.errors import UsageError

Exclude = Literal["same-recording", "same-window", "overlap", "same-view", "nothing"]


@dataclass(frozen=True)
class CageConfig:
    """The encoders AGE and CAGE and their losses (SGE-LA, IJCAI 2020; CAGE, TPAMI 2021). `docs/models.md` compares the presets.

    Attributes:
        hidden: units of every LSTM layer, K.
        pretext: what is to be reconstructed: the window reversed, the window itself (plain), the half of a window later that
            half of it shares (prediction), the next whole window (prediction-full), or the order of shuffled frames (sorting).
        tasks: of `cage-plus`: an encoder each.
        attention: none, bas (plain), mbas (multiplied by the locality mask), las (trained towards locality). Prediction and
            sorting have no locality to train: with them las is bas (CAGE, section 3.7).
        aux: what the decoder is fed beside its attentional state in training: zero (the released code), teacher (the frame
            before, of the target), free (its own last output).
        encode_aux: what it is fed where windows are encoded: the same, or its own last output (free; CAGE, section 3.1.1).
        score: general has a matrix between query and key, dot has none.
        squash: whether a tanh follows the attentional state's weights.
        features: what a frame is encoded as: context (AGE, CAGE; h_t where there is no attention) or hidden (h_t of the encoder).
        contrastive: paper, dedup (a window's own copy is no negative) or none (AGE).
        pairs: windows that are pairs, all others of the batch being negatives: neighbours of one track (track), the same with
            negatives of that track alone (within; CAGE, alg. 1), or neighbours in the batch, whoever walks there (batch; the
            released code).
        interval: how many windows apart the two of a pair are.
        temperature: of the contrastive loss.
        window: D of the locality mask; null is the length of a window.
        reduction: of reconstruction and locality losses over the windows that have a target: mean, or sum (the released code).
        reconstruction_weight, locality_weight, contrastive_weight: lambdas of the sum of losses.
        regularisation: beta, on half the squared norm of all weights.
        standardize: whether coordinates are first brought to zero mean and unit deviation over the training frames.
    """

    hidden: int = 256
    pretext: Literal["reverse", "plain", "prediction", "prediction-full", "sorting"] = "reverse"
    tasks: tuple[Literal["reverse", "plain", "prediction", "prediction-full", "sorting"], ...] = (
        "reverse",
        "prediction",
        "sorting",
    )
    attention: Literal["none", "bas", "mbas", "las"] = "las"
    aux: Literal["zero", "teacher", "free"] = "zero"
    encode_aux: Literal["same", "free"] = "same"
    score: Literal["general", "dot"] = "general"
    squash: bool = False
    features: Literal["context", "hidden"] = "context"
    contrastive: Literal["paper", "dedup", "none"] = "dedup"
    pairs: Literal["track", "within", "batch"] = "track"
    interval: int = 1
    temperature: float = 0.1
    window: int | None = None
    reduction: Literal["mean", "sum"] = "mean"
    reconstruction_weight: float = 1.0
    locality_weight: float = 1.0
    contrastive_weight: float = 1.0
    regularisation: float = 1e-4
    standardize: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.hidden < 1 or self.temperature <= 0 or self.interval < 1 or (self.window is not None and self.window < 1):
            raise UsageError("cage.hidden, cage.interval and cage.window must be 1 or more, cage.temperature above 0")


@dataclass(frozen=True)
class SupervisedConfig:
    """Encoders that learn from labels: LSTMs and PoseGait.

    Attributes:
        hidden: units of an LSTM layer.
        layers: LSTM layers; null is one for `lstm`, two for `lstm-multi`.
        dropout: of PoseGait's last layer.
        centre_weight: of PoseGait's centre loss beside the cross-entropy; its paper has one, what weight we do not know (Wen
            et al., ECCV 2016, take 0.003).
        standardize: whether coordinates are first brought to zero mean and unit deviation over the training frames.
    """

    hidden: int = 256
    layers: int | None = None
    dropout: float = 0.5
    centre_weight: float = 0.0
    standardize: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.hidden < 1 or (self.layers is not None and self.layers < 1) or not 0 <= self.dropout < 1:
            raise UsageError("supervised.hidden and supervised.layers must be 1 or more, supervised.dropout in [0, 1)")
        if self.centre_weight < 0:
            raise UsageError("supervised.centre_weight must be 0 or more")


@dataclass(frozen=True)
class LdaConfig:
    """Statistics of joints, carried by LDA to where people are told apart.

    Attributes:
        dimensions: of a vector, and at most one fewer than the people who are learnt from.
        shrinkage: of the covariance within people, towards a multiple of the identity.
        halves: LDAs, each learnt from a half of the people drawn at random, whose mean is taken (bagging, Breiman 1996); of fewer
            than 32 people one LDA is learnt from all of them.
    """

    dimensions: int = 48
    shrinkage: float = 0.05
    halves: int = 20

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.dimensions < 1 or self.halves < 1 or not 0 < self.shrinkage <= 1:
            raise UsageError("lda.dimensions and lda.halves must be 1 or more, lda.shrinkage above 0 and at most 1")


@dataclass(frozen=True)
class TrainConfig:
    """How an encoder is trained.

    Attributes:
        model: encoder by name.
        epochs: passes over the windows.
        batch: windows a step.
        learning_rate: of Adam, constant.
        clip: gradients are cut to this, element by element.
        order: tracks are shuffled and their windows stay in the order of time (tracks), nothing is shuffled (file), or all
            windows are (windows; encoders that learn from labels always do).
        drop_last: whether a last batch that is not full is left out.
        share: of the windows, the first in the order of the file, that are trained on.
        precision: of the matrix products of AGE and CAGE in training; the others know float32 only.
        graphs: whether steps of AGE and CAGE are recorded as CUDA graphs, on one GPU. New: not yet run on a GPU.
        subjects: train on these only, such as 001-074 or 001,005; null takes everybody.
        select: train on these tracks only: a selector, as of `match --probe`.
    """

    model: str = "cage"
    epochs: int = 20
    batch: int = 64
    learning_rate: float = 5e-4
    clip: float = 5.0
    order: Literal["tracks", "file", "windows"] = "tracks"
    drop_last: bool = False
    share: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    graphs: bool = False
    subjects: str | None = None
    select: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0 or self.clip <= 0 or not 0 < self.share <= 1:
            raise UsageError("train: epochs must be 1 or more, batch 2 or more, learning_rate and clip above 0, share in (0, 1]")


@dataclass(frozen=True)
class PackConfig:
    """How silhouettes and keypoints become whole walks.

    Attributes:
        keypoints: rgb, of the 2D stage, from the video's picture; or silhouette, of an estimator that sees the silhouettes
            (GaitTAKE, section 3.2).
        min_frames: shorter walks are left out.
        whole: leave out frames in which somebody comes into the picture or goes out of it at its left or right edge, where
            `min_frames` others are left.
    """

    keypoints: Literal["rgb", "silhouette"] = "rgb"
    min_frames: int = 5
    whole: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.min_frames < 1:
            raise UsageError(f"pack.min_frames is {self.min_frames}, expected 1 or more")


@dataclass(frozen=True)
class WalksConfig:
    """How models of whole walks are trained; `train.model`, `train.subjects` and `train.select` hold for them too.

    Attributes:
        people, walks: P people with K walks each are a step's batch.
        frames: T, frames in a row of each walk, from a random place; shorter walks are repeated.
        iterations: steps.
        learning_rate: of Adam.
        milestones: steps after which the rate is multiplied by `decay`.
        weight_decay: Adam's, on all weights.
        every: steps between checkpoints.
        precision: of the trunk's products in training; auto is bfloat16 on a GPU, float32 elsewhere. Losses are in float32.
    """

    people: int = 8
    walks: int = 8
    frames: int = 30
    iterations: int = 80_000
    learning_rate: float = 1e-4
    milestones: tuple[int, ...] = (70_000,)
    decay: float = 0.1
    weight_decay: float = 5e-4
    every: int = 500
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.people < 2 or min(self.walks, self.frames, self.iterations, self.every) < 1:
            raise UsageError("walks.people must be 2 or more, walks.walks, frames, iterations and every 1 or more")
        if self.learning_rate <= 0 or self.decay <= 0 or self.weight_decay < 0 or min(self.milestones, default=1) < 1:
            raise UsageError("walks.learning_rate and decay must be above 0, weight_decay 0 or more, milestones 1 or more")


@dataclass(frozen=True)
class GaitGlConfig:
    """GaitGL (Lin et al., 2020) as the released code has it; the defaults are its configuration for CASIA-B.

    Attributes:
        channels: of the stem and of every stage.
        blocks: global-local convolutions of every stage; half the height and width remain after the first stage, and the last
            convolution of the last one lays the global and the local map one upon the other.
        stem: convolutions before the stages.
        partitions: horizontal strips that the local convolutions see one at a time.
        lta: whether a convolution makes one frame of three after the stem (local temporal aggregation).
        shrink: so many pixels a side of the silhouette are averaged to one; 1 is the paper's.
        embed_dim: numbers a strip of the embedding.
        triplet: all triplets that cost something, the hardest of every anchor (hard), or all with adaptive weights.
        margin: of the triplet loss.
        triplet_weight, ce_weight: of the triplet loss and of the cross-entropy over the subjects.
        smoothing: of the labels.
        neck: bn, both losses and the embedding after batch normalisation; bnneck, triplet loss and embedding before it.
    """

    channels: tuple[int, ...] = (32, 64, 128, 128)
    blocks: tuple[int, ...] = (1, 1, 1)
    stem: int = 1
    partitions: int = 8
    lta: bool = True
    shrink: int = 1
    embed_dim: int = 128
    triplet: Literal["adaptive", "all", "hard"] = "all"
    margin: float = 0.2
    triplet_weight: float = 1.0
    ce_weight: float = 1.0
    smoothing: float = 0.0
    neck: Literal["bn", "bnneck"] = "bn"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if len(self.channels) != len(self.blocks) + 1:
            raise UsageError("channels must have one number more than blocks: the first is the stem's")
        if min(*self.channels, *self.blocks, self.stem, self.partitions, self.embed_dim) < 1 or self.shrink not in (1, 2, 4):
            raise UsageError("channels, blocks, stem, partitions and embed_dim must be 1 or more, shrink 1, 2 or 4")
        if 64 // self.shrink // 2 % self.partitions or not 0 <= self.smoothing < 1:
            raise UsageError("partitions must divide the rows after pooling (32 / shrink), smoothing be in [0, 1)")
        if min(self.margin, self.triplet_weight, self.ce_weight) < 0 or not self.triplet_weight + self.ce_weight:
            raise UsageError("margin and the weights of the losses must be 0 or more, one of the weights above 0")


@dataclass(frozen=True)
class AttentionConfig:
    """Which frames of a clip count how much (GaitTAKE, eq. 7 and 8).

    Attributes:
        streams: that have attention. Silhouettes without it are pooled over time by the maximum, as in GaitGL; keypoints by
            the mean.
        input: what the first convolution sees of a frame: its map averaged over the width (pooled), or all of it (full).
        hidden, pose_hidden: channels between the two convolutions, of the silhouettes and of the keypoints.
        per_part: a weight for every row of the map, not one for the frame.
    """

    streams: Literal["both", "silhouette", "pose", "none"] = "both"
    input: Literal["pooled", "full"] = "pooled"
    hidden: int = 256
    pose_hidden: int = 32
    per_part: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.hidden, self.pose_hidden) < 1:
            raise UsageError("attention.hidden and attention.pose_hidden must be 1 or more")


@dataclass(frozen=True)
class GaitTakeConfig(GaitGlConfig):
    """GaitTAKE (Hsu et al., ICASSP 2022): GaitGL's maps, attention over time, keypoints.

    `docs/gaittake.md` says what the paper leaves open.

    Attributes:
        clip_len: L, frames of a clip of the attention.
        tail: frames after the last whole clip are dropped, or kept as a shorter one.
        pose_fusion: keypoints are added to the channels of every strip, are a strip of their own, or are left out (none).
        pose_norm: keypoints from the hips in heights of the box (box), or as they are in the picture (none).
        fc_input: every strip's layer sees its strip, or all of them.
    """

    lta: bool = False
    triplet: Literal["adaptive", "all", "hard"] = "adaptive"
    ce_weight: float = 0.0
    clip_len: int = 6
    tail: Literal["drop", "keep"] = "drop"
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    pose_fusion: Literal["channel", "extra_part", "none"] = "channel"
    pose_norm: Literal["box", "none"] = "box"
    fc_input: Literal["strip", "all"] = "strip"

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.clip_len < 1:
            raise UsageError(f"gaittake.clip_len is {self.clip_len}, expected 1 or more")


@dataclass(frozen=True)
class GeiConfig:
    """Gait energy images (Han and Bhanu, 2006), and what LDA makes of them.

    Attributes:
        frames: all of a walk, or those that make whole cycles of two steps where these are to be seen (cycles).
        rows: all of the silhouette, or its lower half, which a coat or a bag changes less.
        variance: share of it that PCA keeps before LDA.
    """

    frames: Literal["walk", "cycles"] = "walk"
    rows: Literal["all", "lower"] = "all"
    variance: float = 0.99

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.variance < 1:
            raise UsageError(f"gei.variance is {self.variance}, expected more than 0 and less than 1")


@dataclass(frozen=True)
class SkeletonConfig:
    """A small network of keypoints over time that learns from labels as GaitGL does.

    Attributes:
        channels: of every block; every other one halves the frames.
        kernel: frames that a convolution over time sees.
        embed_dim: numbers of each part of the embedding: head, arms, legs, all of the body.
        mirror: whether a walk and its mirror image are the same to it.
        triplet, margin, triplet_weight, ce_weight, smoothing: as of GaitGL.
    """

    channels: tuple[int, ...] = (32, 64, 64, 128)
    kernel: int = 5
    embed_dim: int = 128
    mirror: bool = True
    triplet: Literal["adaptive", "all", "hard"] = "all"
    margin: float = 0.2
    triplet_weight: float = 1.0
    ce_weight: float = 1.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.channels or min(*self.channels, self.embed_dim, self.kernel) < 1 or not self.kernel % 2:
            raise UsageError("skeleton.channels and embed_dim must be 1 or more, kernel odd")
        if min(self.margin, self.triplet_weight, self.ce_weight) < 0 or not self.triplet_weight + self.ce_weight:
            raise UsageError("skeleton: margin and the weights of the losses must be 0 or more, one of the weights above 0")
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"skeleton.smoothing is {self.smoothing}, expected 0 to 1")


@dataclass(frozen=True)
class EncodeConfig:
    """How windows become vectors.

    Attributes:
        form: mean over the frames of a window, or sc: frames concatenated.
        whiten: how far vectors of form mean are whitened by what the model saw in training: 0 not at all (the papers'), 1 fully.
            Those of `joints-lda` are not: they are carried to where the spread within people is the same in all directions.
        batch: windows at a time.
    """

    form: Literal["mean", "sc"] = "mean"
    whiten: float = 0.7
    batch: int = 512

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.batch < 1:
            raise UsageError(f"encode.batch is {self.batch}, expected 1 or more")
        if not 0 <= self.whiten <= 1:
            raise UsageError(f"encode.whiten is {self.whiten}, expected 0 to 1")


@dataclass(frozen=True)
class MatchConfig:
    """How probes are compared with the gallery.

    Attributes:
        metric: distance between vectors, or the mean of its parts' distances; robust and alike are Euclidean and saturate part
            by part (alike the more: for rank lists; robust where strangers are to be told, too);
            lmnn and itml are Euclidean after a linear map that is learnt from the labels of the gallery.
        exclude: gallery items that a probe is not compared with.
        unit: what is ranked: whole tracks, or single windows.
        top: ranks kept in ranking.csv and ranking.h5.
        rerank: k-reciprocal re-ranking by so many neighbours (Zhong et al. 2017: 20); 0 is without.
        block: pairs of a probe and a gallery item at a time; memory grows with it.
    """

    metric: Literal["euclidean", "cosine", "robust", "alike", "lmnn", "itml"] = "cosine"
    exclude: Exclude = "same-recording"
    unit: Literal["track", "window"] = "track"
    top: int = 10
    rerank: int = 0
    block: int = 1_000_000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.top < 1 or self.block < 1 or self.rerank < 0:
            raise UsageError("match.top and match.block must be 1 or more, match.rerank 0 or more")
        if self.rerank and self.learns:
            raise UsageError(f"--rerank compares probes with each other, and --metric {self.metric} is learnt from the gallery")

    @property
    def learns(self) -> bool:
        """Whether the metric is learnt from the labels of the gallery."""
        return self.plain != self.metric

    @property
    def plain(self) -> Literal["euclidean", "cosine", "robust", "alike"]:
        """The metric, or the one that a learnt one is after its map."""
        return "euclidean" if self.metric == "lmnn" or self.metric == "itml" else self.metric


@dataclass(frozen=True)
class RecogniseConfig:
    """How people of a closed set are told apart.

    Attributes:
        recogniser: rn (the papers' recognition network), knn, svm or adaboost.
        manner: ap averages the predictions of a window's frames, sc takes the frames concatenated.
        select: which epoch of the network counts: the last, the best on recordings held out of the training set (val), or the
            best on the test set (oracle-test: what the released code reports, too good to be honest).
        epochs, batch, learning_rate: of the network.
        adjacent: cve: how many views on each side of the tested one are trained on.
    """

    recogniser: Literal["rn", "knn", "svm", "adaboost"] = "rn"
    manner: Literal["ap", "sc"] = "ap"
    select: Literal["last", "val", "oracle-test"] = "last"
    epochs: int = 60
    batch: int = 128
    learning_rate: float = 5e-4
    adjacent: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.epochs < 1 or self.batch < 1 or self.learning_rate <= 0 or self.adjacent < 1:
            raise UsageError("recognise: epochs, batch and adjacent must be 1 or more, learning_rate above 0")
