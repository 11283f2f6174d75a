"""``object-pose tokens``: who may use the HTTP API, and for what."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from object_pose.web.config import WebConfig
from object_pose.web.security.audit import AuditLog
from object_pose.web.security.scopes import Scope
from object_pose.web.security.tokens import TokenStore

EXAMPLES = """examples:
  object-pose tokens create --scope predict --name planner
  object-pose tokens list
  object-pose tokens revoke planner
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands of ``tokens``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a token and print it, once")
    create.add_argument("--name", required=True, help="who will use it")
    create.add_argument(
        "--scope",
        required=True,
        choices=[scope.value for scope in Scope],
        help="what it allows: to look, to predict as well, or to change models, jobs and the pipeline as well",
    )
    revoke = actions.add_parser("revoke", help="end a token, at once")
    revoke.add_argument("name", help="name or id of the token")
    for action in (create, revoke, actions.add_parser("list", help="list the tokens that are valid")):
        action.add_argument("--state-folder", default="", help="folder of the server's state (default: the user's own)")


def run(options: argparse.Namespace) -> int:
    """Create, list or revoke."""
    state = WebConfig(state_folder=options.state_folder).state
    store = TokenStore(state)
    if options.action == "create":
        text = store.create(options.name, Scope(options.scope))
        _note(state, "token created", options.name, options.scope)
        print(text)
    elif options.action == "revoke":
        token = store.revoke(options.name)
        _note(state, "token revoked", token.name, token.scope.value)
        print(f"revoked {token.name} ({token.id})")
    else:
        for token in store.list():
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(token.created_at))
            print(f"{token.id}  {token.scope.value:8}  {made}  {token.name}")
    return 0


def _note(state: Path, event: str, name: str, scope: str) -> None:
    audit = AuditLog(state)
    audit.write(event, name=name, scope=scope)
    audit.close()
