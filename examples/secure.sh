#!/usr/bin/env bash
# SROS 2 for the pipeline: a keystore with one enclave a process, and the environment in which only its members talk.
#   examples/secure.sh KEYSTORE          make it; needs a ROS 2 installation with sros2
#   examples/secure.sh KEYSTORE policy   the same, restricted to what a running pipeline uses now
set -euo pipefail
keystore=${1:?usage: examples/secure.sh KEYSTORE [policy]}
readonly enclaves=(/object_pose /planner)  # all nodes of a process share one

[[ -d $keystore/enclaves ]] || ros2 security create_keystore "$keystore"
for enclave in "${enclaves[@]}"; do
  [[ -d $keystore/enclaves$enclave ]] || ros2 security create_enclave "$keystore" "$enclave"
done
if [[ ${2:-} == policy ]]; then
  # What each enclave publishes, subscribes and serves is read off the running system; all else is refused from then on.
  ros2 security generate_policy "$keystore/policy.xml"
  for enclave in "${enclaves[@]}"; do ros2 security create_permission "$keystore" "$enclave" "$keystore/policy.xml"; done
fi

cat <<END
On every machine (copy to it what its enclaves need of $keystore, never $keystore/private):
  export ROS_SECURITY_KEYSTORE=$keystore ROS_SECURITY_ENABLE=true ROS_SECURITY_STRATEGY=Enforce
  object-pose run --ros-args --enclave /object_pose
  ros2 run my_robot my_planner --ros-args --enclave /planner
Certificates expire: make the keystore anew before that, or sign with your own authority.
END
