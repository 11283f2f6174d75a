#!/bin/sh
# Serves the HTTP API in a container. TOKENS_FILE is a mounted secret with tokens.json, which the state folder gets a copy of.
set -eu
state=${OBJECT_POSE_STATE:-$HOME/state}
mkdir -p "$state"
if [ -n "${TOKENS_FILE:-}" ]; then
  cp "$TOKENS_FILE" "$state/tokens.json"
fi
exec object-pose serve --host 0.0.0.0 --port "${PORT:-8080}" --state-folder "$state" "$@"
