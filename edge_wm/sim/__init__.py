"""The simulated robot, its worlds and what only a simulation knows."""

import os

# MuJoCo reads this once, when it is first imported; EGL renders without a screen.
os.environ.setdefault("MUJOCO_GL", "egl")
