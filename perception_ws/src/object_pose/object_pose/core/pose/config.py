"""The pose solver's parameters, and the profiles that set them for a live camera and for single images."""

from __future__ import annotations

from dataclasses import dataclass

from object_pose.core.params import parameter
from object_pose.core.pose.contour_alignment import MOST_STARTS
from object_pose.core.vision.decoders import DecodeOptions


@dataclass(frozen=True)
class KeypointConfig:
    """How accurate keypoints are taken to be."""

    sigma_scale: float = parameter(
        2.0,
        "factor on the keypoint sigmas that the network reports: the keypoints of one object err together",
        minimum=0.1,
        maximum=10.0,
    )
    sigma_floor_px: float = parameter(
        0.5, "no keypoint counts as more accurate than this, in pixels", minimum=0.05, maximum=20.0
    )


@dataclass(frozen=True)
class DepthConfig:
    """The noise of the depth sensor."""

    noise_floor_m: float = parameter(
        0.0005, "standard deviation of a depth pixel at no distance, in metres", minimum=0.0, maximum=0.05
    )
    noise_at_1m: float = parameter(
        0.004,
        "standard deviation of a depth pixel at 1 m, in metres; grows as distance squared",
        minimum=0.0,
        maximum=0.1,
    )
    scale_sigma: float = parameter(
        0.005, "standard deviation of the depth sensor's scale, as a share of the distance", minimum=0.0, maximum=0.1
    )


@dataclass(frozen=True)
class SearchConfig:
    """Which poses are searched for with depth, instead of aligned from the keypoints alone."""

    below_support: float = parameter(
        0.35, "a pose with less support from depth than this (1 is perfect) is searched for", minimum=-1.0, maximum=1.0
    )
    max_searches: int = parameter(
        2, "at most this many detections of an image, the best first, are searched for", minimum=0, maximum=1000
    )


@dataclass(frozen=True)
class ContourConfig:
    """How poses without depth are aligned with the contours that colour shows."""

    max_poses: int = parameter(
        2,
        "at most this many poses without depth, the best first, are aligned with their contour; each takes a camera "
        "frame's time",
        minimum=0,
        maximum=1000,
    )
    starts: int = parameter(
        1,
        "start poses of each contour alignment: more correct larger keypoint errors, and take as much longer",
        minimum=1,
        maximum=MOST_STARTS,
    )
    max_judged: int = parameter(
        0,
        "at most this many poses with depth, the most doubtful first, are judged by their contour, too: real, textured "
        "objects are told from what lies near them; each takes half a millisecond",
        minimum=0,
        maximum=1000,
    )
    use_masks: bool = parameter(
        False,
        "use the RoI head's visible masks beside colour, which decoding.visible_masks predicts; masks learned from "
        "renders alone mislead on real pictures",
    )


@dataclass(frozen=True)
class AcceptanceConfig:
    """When a pose is trusted; what is not is reported as a rejection with its reason."""

    max_reprojection_error: float = parameter(
        0.3, "greatest rms reprojection error, as a share of the detection's longer side", minimum=0.01, maximum=1.0
    )
    min_inlier_share: float = parameter(
        0.6, "least share of keypoints that must fit a pose found without depth", minimum=0.0, maximum=1.0
    )
    min_verification: float = parameter(
        0.5, "least share of the visible surface that depth confirms, not contradicts", minimum=0.0, maximum=1.0
    )
    min_visibility: float = parameter(
        0.08, "least share of the camera-facing model surface that depth confirms", minimum=0.0, maximum=1.0
    )
    min_score: float = parameter(
        0.5, "with a depth image: least score of a pose, from all its evidence", minimum=0.0, maximum=1.0
    )
    max_translation_sigma_m: float = parameter(
        0.06,
        "with a depth image: a pose more uncertain than this along any axis is rejected, in metres",
        minimum=0.001,
        maximum=10.0,
    )
    max_translation_sigma_without_depth_m: float = parameter(
        0.06, "the same without a depth image, in metres", minimum=0.001, maximum=10.0
    )
    duplicate_distance: float = parameter(
        0.3,
        "two poses nearer than this share of the smaller diameter are one object, unless depth confirms them as two "
        "classes",
        minimum=0.0,
        maximum=2.0,
    )


@dataclass(frozen=True)
class PoseSolverConfig:
    """How poses are found from detections, and which are trusted."""

    use_depth: bool = parameter(True, "align poses with the depth image when there is one")
    second_pass: bool = parameter(
        False,
        "detect and solve once more with the confirmed objects removed from the image and its depth: finds covered "
        "objects and takes twice the time",
    )
    support_plane: bool = parameter(
        False,
        "without a depth image: objects stand on one plane, estimated from their poses, and contours are aligned once "
        "more with the distance that it gives",
    )
    keypoints: KeypointConfig = KeypointConfig()
    depth: DepthConfig = DepthConfig()
    search: SearchConfig = SearchConfig()
    contour: ContourConfig = ContourConfig()
    acceptance: AcceptanceConfig = AcceptanceConfig()


@dataclass(frozen=True)
class Profile:
    """How thoroughly an image is searched: ``decoding`` of the detector's outputs and ``solver`` of the poses."""

    decoding: DecodeOptions
    solver: PoseSolverConfig


LIVE = Profile(DecodeOptions(), PoseSolverConfig())
# A single image leaves time to search for every detection. Every pose is given with its score and covariance, which
# hold all doubts, as the BOP challenge wants them: thresholds are left to the user. Colour alone leaves the distance
# open by centimetres, which makes no pose useless that is right in the image.
SINGLE_IMAGE = Profile(
    DecodeOptions(
        score_threshold=0.1, candidate_threshold=0.01, context_crop=True, hypothesis_threshold=0.05, input_scale=1.54
    ),
    PoseSolverConfig(
        second_pass=True,
        support_plane=True,
        search=SearchConfig(max_searches=64),
        contour=ContourConfig(max_poses=64, starts=MOST_STARTS, max_judged=64),
        acceptance=AcceptanceConfig(
            min_verification=0.0, min_visibility=0.0, min_score=0.0, max_translation_sigma_without_depth_m=10.0
        ),
    ),
)
PROFILES = {"live": LIVE, "single_image": SINGLE_IMAGE}
