"""``object-pose serve``: the HTTP API and the page, without the pipeline, until Ctrl-C."""

from __future__ import annotations

import argparse

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.web.config import WebConfig
from object_pose.web.server import WebServer
from object_pose.web.services import open_services

EXAMPLES = """examples:
  object-pose serve
  object-pose serve --port 8000 --no-shipped-models
  object-pose serve --host 0.0.0.0 --certificate server.pem --key server.key   (make a token first)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``serve``."""
    add_config_options(parser, WebConfig, "server")


def run(options: argparse.Namespace) -> int:
    """Serve; SIGINT is the normal end."""
    services = open_services(config_from_options(options, WebConfig))
    server = WebServer(services)
    print(f"object_pose answers on {server.url}", flush=True)
    server.run()
    return 0
