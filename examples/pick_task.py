"""MoveIt Task Constructor: plan and carry out the pick of a part that ``planning_scene_node`` put into the scene.

    ros2 run object_pose planning_scene_node                    (and move_group of your robot)
    python3 examples/pick_task.py gear_7 --grasp 0 --arm panda_arm --hand hand --tool panda_hand_tcp

The part's grasps are frames of it, ``gear_7/grasp_0``: the tool goes there along its z axis. A sketch for the Python
bindings of moveit_task_constructor (ROS 2), to be started with the parameters of your MoveIt configuration.
"""

from __future__ import annotations

import argparse

import rclcpp
from geometry_msgs.msg import PoseStamped, TwistStamped
from moveit.task_constructor import core, stages
from std_msgs.msg import Header


def in_frame(frame_id: str) -> PoseStamped:
    """Return the origin of a frame."""
    pose = PoseStamped(header=Header(frame_id=frame_id))
    pose.pose.orientation.w = 1.0
    return pose


def along_z(name: str, planner: core.PlannerInterface, arm: str, frame_id: str, metres: float) -> stages.MoveRelative:
    """Return a straight motion of the arm along the z axis of a frame."""
    direction = TwistStamped(header=Header(frame_id=frame_id))
    direction.twist.linear.z = 1.0 if metres > 0.0 else -1.0
    stage = stages.MoveRelative(name, planner)
    stage.group = arm
    stage.min_distance, stage.max_distance = 0.5 * abs(metres), abs(metres)
    stage.setDirection(direction)
    return stage


def hand_to(name: str, planner: core.PlannerInterface, hand: str, posture: str) -> stages.MoveTo:
    """Return a motion of the gripper to a posture that the robot's SRDF names."""
    stage = stages.MoveTo(name, planner)
    stage.group = hand
    stage.setGoal(posture)
    return stage


def pick_task(node: rclcpp.Node, robot: argparse.Namespace) -> core.Task:
    """Return the task: open, go before the part, approach, close, hold it, and lift."""
    part, arm, hand, tool = robot.part, robot.arm, robot.hand, robot.tool
    task = core.Task()
    task.name = f"pick {part}"
    task.loadRobotModel(node)
    free, straight = core.PipelinePlanner(node, "ompl"), core.CartesianPath()
    postures = core.JointInterpolationPlanner()

    task.add(stages.CurrentState("current"))
    task.add(hand_to("open", postures, hand, "open"))
    task.add(stages.Connect("go there", [(arm, free)]))
    task.add(along_z("approach", straight, arm, tool, 0.1))

    target = stages.GeneratePose("grasp frame")
    target.pose = in_frame(f"{part}/grasp_{robot.grasp}")
    target.setMonitoredStage(task["open"])
    reach = stages.ComputeIK("reach", target)
    reach.group = arm
    reach.ik_frame = in_frame(tool)
    reach.max_ik_solutions = 8
    reach.properties.configureInitFrom(core.Stage.PropertyInitializerSource.INTERFACE, ["target_pose"])
    task.add(reach)

    touch = stages.ModifyPlanningScene("fingers may touch")
    touch.allowCollisions(part, robot.fingers, True)
    task.add(touch)
    task.add(hand_to("close", postures, hand, "close"))
    hold = stages.ModifyPlanningScene("hold")
    hold.attachObject(part, tool)  # from now on planning_scene_node leaves the part alone
    task.add(hold)
    task.add(along_z("lift", straight, arm, robot.base, 0.15))
    return task


def main() -> int:
    """Plan, show the solution in RViz, and carry it out with --execute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", help="collision object, such as gear_7")
    parser.add_argument("--grasp", type=int, default=0, help="which of the part's grasps")
    parser.add_argument("--arm", default="panda_arm", help="planning group of the arm")
    parser.add_argument(
        "--hand", default="hand", help="planning group of the gripper, with postures 'open' and 'close'"
    )
    parser.add_argument("--tool", default="panda_hand_tcp", help="frame between the fingers, z forward")
    parser.add_argument(
        "--fingers", nargs="+", default=["panda_leftfinger", "panda_rightfinger"], help="links that touch the part"
    )
    parser.add_argument("--base", default="base_link", help="frame whose z points up")
    parser.add_argument("--execute", action="store_true", help="move the robot")
    options = parser.parse_args()
    rclcpp.init()
    node = rclcpp.Node("pick_task")
    task = pick_task(node, options)
    if not task.plan():
        return 1
    task.publish(task.solutions[0])
    if options.execute:
        task.execute(task.solutions[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
