"""``object-pose serve``: the HTTP API and the page, alone or beside a running pipeline, until Ctrl-C."""

from __future__ import annotations

import argparse

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.web.config import WebConfig
from object_pose.web.server import WebServer
from object_pose.web.services import open_services

EXAMPLES = """examples:
  object-pose serve
  object-pose serve --port 8000 --no-shipped-models
  object-pose serve --live                        (with the pipeline that runs in this ROS domain)
  object-pose serve --host 0.0.0.0 --certificate server.pem --key server.key   (make a token first)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``serve``."""
    add_config_options(parser, WebConfig, "server")
    parser.add_argument("--live", action="store_true", help="show the pipeline that runs in this ROS domain")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="remaps and parameters, with --live")


def run(options: argparse.Namespace) -> int:
    """Serve; SIGINT is the normal end."""
    services = open_services(config_from_options(options, WebConfig))
    if options.live:
        # Only here: without it the server needs no ROS.
        from object_pose.cli.live import serve_live

        serve_live(services, ["--ros-args", *options.ros_args])
        return 0
    server = WebServer(services)
    print(f"object_pose answers on {server.url}", flush=True)
    server.run()
    return 0
