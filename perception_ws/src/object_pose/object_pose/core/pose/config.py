"""What a user can set about poses: when one is trusted, how much time looking may take, how noisy sensors are."""

from __future__ import annotations

from dataclasses import dataclass

from object_pose.core.params import parameter
from object_pose.core.pose.contour_alignment import MOST_STARTS


@dataclass(frozen=True)
class PoseSolverConfig:
    """When a pose is trusted, and what is known about the sensors' noise."""

    use_depth: bool = parameter(True, "align poses with the depth image when there is one")
    keypoint_sigma_scale: float = parameter(
        2.0,
        "factor on the keypoint sigmas that the network reports: the keypoints of one object err together",
        minimum=0.1,
        maximum=10.0,
    )
    keypoint_sigma_floor_px: float = parameter(
        0.5, "no keypoint counts as more accurate than this, in pixels", minimum=0.05, maximum=20.0
    )
    max_reprojection_error: float = parameter(
        0.3, "greatest rms reprojection error, as a share of the detection's longer side", minimum=0.01, maximum=1.0
    )
    min_inlier_share: float = parameter(
        0.6, "least share of keypoints that must fit a pose found without depth", minimum=0.0, maximum=1.0
    )
    min_verification: float = parameter(
        0.5, "least share of the seen surface that depth confirms, not contradicts", minimum=0.0, maximum=1.0
    )
    min_visibility: float = parameter(
        0.08, "least share of the camera-facing model surface that depth confirms", minimum=0.0, maximum=1.0
    )
    min_score: float = parameter(
        0.5,
        "with a depth image: least score of a pose, after what depth, outline and keypoints say about it",
        minimum=0.0,
        maximum=1.0,
    )
    search_below_support: float = parameter(
        0.35, "a pose with less support from depth than this (1 is perfect) is searched for", minimum=-1.0, maximum=1.0
    )
    max_searches: int = parameter(
        2, "at most this many detections of an image, the best first, are searched for", minimum=0, maximum=1000
    )
    second_pass: bool = parameter(
        False,
        "search once more behind objects that are sure and, with the detector at hand, look once more without them; "
        "takes the same time again",
    )
    max_contours: int = parameter(
        2,
        "at most this many poses without depth, the best first, are aligned with the outline that colour shows; "
        "each takes a camera frame's time",
        minimum=0,
        maximum=1000,
    )
    contour_starts: int = parameter(
        1,
        "each outline is sought from so many places: more find what keypoints put further off, and take as much longer",
        minimum=1,
        maximum=MOST_STARTS,
    )
    support_plane: bool = parameter(
        False,
        "without a depth image: objects stand on one plane, found from their poses, and their outlines are aligned "
        "once more with what it tells of their distance",
    )
    contour_masks: bool = parameter(
        False,
        "along outlines, let the head's masks speak beside colour; masks learned from renders alone mislead on real "
        "pictures",
    )
    max_translation_sigma_m: float = parameter(
        0.06, "a pose more uncertain than this along any axis is rejected, in metres", minimum=0.001, maximum=10.0
    )
    duplicate_distance: float = parameter(
        0.3,
        "two poses nearer than this share of the smaller diameter are one object, unless depth confirms them as two "
        "classes",
        minimum=0.0,
        maximum=2.0,
    )
    depth_noise_floor_m: float = parameter(
        0.0005, "standard deviation of a depth pixel at no distance, in metres", minimum=0.0, maximum=0.05
    )
    depth_noise_at_1m: float = parameter(
        0.004,
        "standard deviation of a depth pixel at 1 m, in metres; grows as distance squared",
        minimum=0.0,
        maximum=0.1,
    )
    depth_scale_sigma: float = parameter(
        0.005, "standard deviation of the depth sensor's scale, as a share of the distance", minimum=0.0, maximum=0.1
    )


# A still picture leaves time to search for every detection, and to align the outline of each from everywhere. It gives
# every pose with its score, in which all doubts are, as the BOP challenge wants them; who looks at it draws the line.
SINGLE_IMAGE_SOLVER = PoseSolverConfig(
    max_searches=64,
    second_pass=True,
    max_contours=64,
    contour_starts=MOST_STARTS,
    support_plane=True,
    min_verification=0.0,
    min_visibility=0.0,
    min_score=0.0,
)
