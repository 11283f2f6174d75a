#!/usr/bin/env bash
# Run a command in the built workspace.
set -e
source /ws/perception_ws/install/setup.bash
exec "$@"
