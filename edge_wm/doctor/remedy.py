"""Commands that mend what more than one check finds."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shlex
import sys


def join_group(group: str) -> str:
    """The command that puts this user into a group."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container it may be a number alone
        user = str(os.geteuid())
    return f"sudo usermod -aG {group} {user}, then log in again"


def remedy_for(why: str, otherwise: str) -> str:
    """What mends what a driver complains of.

    Args:
        why: its words.
        otherwise: what to do where they are neither of a library that an extra of ours has, nor of another program in the way.
    """
    if extra := re.search(r"edge-wm\[[a-z0-9]+\]", why):
        return pip_install(extra[0])
    if "another program" in why:
        return "sudo systemctl stop edge-wm, if that is the other program"
    return otherwise


def pip_install(*what: str) -> str:
    """The command that installs into the environment that runs this; not every one has a pip of its own.

    Args:
        what: packages, and options that pip and uv both have.
    """
    pip = [sys.executable, "-m", "pip", "install"]
    if importlib.util.find_spec("pip") is None:
        pip = ["uv", "pip", "install", "--python", sys.executable]
    sudo = [] if os.access(sys.prefix, os.W_OK) else ["sudo"]
    return shlex.join([*sudo, *pip, *what])
