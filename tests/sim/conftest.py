"""MuJoCo decides how to render when it is first imported: let edge_wm.sim say so before a test imports it."""

import edge_wm.sim  # noqa: F401
