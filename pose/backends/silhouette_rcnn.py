"""Keypoint R-CNN on silhouettes, taught by what an estimator found in the videos' pictures (GaitTAKE, section 3.2).

The network is torchvision's (He et al., Mask R-CNN, ICCV 2017) on pictures of one silhouette each, white on black. Its labels are
keypoints of the RGB stage, carried into the silhouette by the transform that cut it out. For silhouettes without a video.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaitreid.pose.arrays import ByteArray, FloatArray
from gaitreid.pose.backends.keypointrcnn import confidence, load_weights, set_epsilon
from gaitreid.pose.records import SILHOUETTE_WIDTH
from gaitreid.pose.rounds import Epoch, steps_done
from gaitreid.pose.silhouettes import SilhouetteRcnnConfig
from gaitreid.pose.skeleton import COCO17

LEAST = 0.05  # probability below which there is nobody in a silhouette, torchvision's default
PROPOSALS = 100  # places that are looked at in one silhouette
WEIGHT_DECAY, CLIP = 1e-4, 5.0
AT_ONCE = 64  # silhouettes


def build(config: SilhouetteRcnnConfig, *, begin: bool = True) -> Any:
    """The network, with random weights, or with those that are to be gone on from where there are any.

    Normalisation learns along with the rest only where nothing has been learnt yet.

    Args:
        begin: whether the weights to go on from are read; false where others are put in afterwards.

    Raises:
        UsageError, FormatError: as of `gaitreid.pose.backends.keypointrcnn.load_weights`.
    """
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.keypoint_rcnn import KeypointRCNN, KeypointRCNNHeads, KeypointRCNNPredictor
    from torchvision.ops import FrozenBatchNorm2d

    norm = FrozenBatchNorm2d if config.weights else torch.nn.BatchNorm2d
    backbone = resnet_fpn_backbone(backbone_name=config.backbone, weights=None, norm_layer=norm, trainable_layers=5)
    net = KeypointRCNN(
        backbone,
        2,
        min_size=config.side,
        max_size=2 * config.side,
        rpn_pre_nms_top_n_train=10 * PROPOSALS,
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_pre_nms_top_n_test=10 * PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_score_thresh=LEAST,
        box_detections_per_img=1,
        box_batch_size_per_image=config.places,
        keypoint_head=KeypointRCNNHeads(backbone.out_channels, (config.head,) * 8),
        keypoint_predictor=KeypointRCNNPredictor(config.head, len(COCO17.joints)),
    )
    if config.weights:
        set_epsilon(net, config.weights)
        if begin:
            load_weights(net, config.weights)
    return net


def find(net: Any, masks: ByteArray, device: torch.device) -> tuple[FloatArray, FloatArray]:
    """Keypoints of COCO's 17 joints in silhouettes.

    Args:
        masks: (T, 64, 44), 255 inside.

    Returns:
        (T, 17, 2) pixels of the silhouettes, pixel centres at whole numbers, and scores (T, 17) in [0, 1]; NaN and 0 where nobody
        was found.
    """
    joints = len(COCO17.joints)
    xy, score = np.full((len(masks), joints, 2), np.nan, np.float32), np.zeros((len(masks), joints), np.float32)
    net.to(device).eval()
    with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=device.type == "cuda"):
        for first in range(0, len(masks), AT_ONCE):
            for t, person in enumerate(net(_pictures(masks[first : first + AT_ONCE], device)), first):
                if len(person["scores"]):
                    xy[t] = person["keypoints"][0, :, :2].float().cpu().numpy() - 0.5  # torchvision counts from the edge
                    score[t] = confidence(person["keypoints_scores"][0].float().cpu().numpy())
    return xy, score


def train(
    net: Any,
    masks: ByteArray,
    keypoints: FloatArray,
    config: SilhouetteRcnnConfig,
    device: torch.device,
    seed: int,
    state: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train, `config.every` iterations after the other; stopping between and going on from a snapshot gives the same weights.

    Silhouettes are drawn at random, from the seed and the number of the round alone, and half of them are mirrored.

    Args:
        masks: (N, 64, 44), 255 inside.
        keypoints: (N, 17, 3) x, y and whether it is seen, in pixels of the silhouettes.
        state: a snapshot to go on from; rounds are counted on, and begin at its last iteration.

    Yields:
        Number of the round from 1, mean of each loss over it, and a function that gives a snapshot.

    Raises:
        UsageError: as of `steps_done`.
    """
    net.to(device).train()
    weights = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    parts: dict[str, Any] = {"net": net, "optimiser": optimiser}
    done, before = steps_done(state, config), 0
    if state:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        before = int(state["epoch"])
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, optimiser, config.learning_rate, config.iterations + 1, pct_start=0.1)
    schedule = cycle()  # puts the limits of the rate into the optimiser
    if done:  # a state of its own would bring back the length that the training had before
        schedule = cycle(last_epoch=done - 1)
    for epoch, first in enumerate(range(done, config.iterations, config.every), before + 1):
        rng = np.random.default_rng((seed, epoch))
        torch.manual_seed(seed * 1_000_003 + epoch)  # torchvision draws the places that it learns from
        steps = min(config.every, config.iterations - first)
        sums: dict[str, float] = {}
        for _ in range(steps):
            rows = rng.integers(len(masks), size=config.batch)
            shown, labels = mirrored(masks[rows], keypoints[rows], rng.random(config.batch) < 0.5)
            losses = net(_pictures(shown, device), targets(shown, labels, device))
            loss = sum(losses.values())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
            optimiser.step()
            schedule.step()
            for name, value in {"loss": loss, **losses}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())

        def snapshot(epoch: int = epoch, step: int = first + steps) -> dict[str, Any]:
            return {**{name: part.state_dict() for name, part in parts.items()}, "epoch": epoch, "step": step}

        yield epoch, {name.removeprefix("loss_"): value / steps for name, value in sums.items()}, snapshot


def mirrored(masks: ByteArray, keypoints: FloatArray, which: Any) -> tuple[ByteArray, FloatArray]:
    """Silhouettes (B, 64, 44) and keypoints (B, 17, 3), of which some (B,) are turned left to right, joints with them."""
    masks, keypoints = masks.copy(), keypoints.copy()
    masks[which] = masks[which, :, ::-1]
    keypoints[which] = keypoints[which][:, COCO17.mirror()]
    keypoints[which, :, 0] = SILHOUETTE_WIDTH - 1 - keypoints[which, :, 0]
    return masks, keypoints


def targets(masks: ByteArray, keypoints: FloatArray, device: torch.device) -> list[dict[str, Tensor]]:
    """What torchvision's network is to find in each silhouette: one person, in the box of what is inside."""
    result = []
    for mask, points in zip(masks, keypoints, strict=True):
        result.append(
            {
                "boxes": torch.as_tensor(box(mask) + 0.5, dtype=torch.float32, device=device)[None],
                "labels": torch.ones(1, dtype=torch.int64, device=device),
                "keypoints": torch.as_tensor(points + np.array([0.5, 0.5, 0]), dtype=torch.float32, device=device)[None],
            }
        )
    return result


def box(mask: ByteArray) -> FloatArray:
    """x1, y1, x2, y2 of what is inside a silhouette (64, 44), the edges of its outer pixels; pixel centres at whole numbers."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return np.array([columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5])


def _pictures(masks: ByteArray, device: torch.device) -> list[Tensor]:
    """Silhouettes (B, 64, 44) as torchvision takes pictures: (3, 64, 44) each, in 0 to 1."""
    return list((torch.as_tensor(masks, device=device) / 255)[:, None].expand(-1, 3, -1, -1))
