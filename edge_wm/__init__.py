"""A learned latent world model on a small mobile robot: observe, imagine, plan, move.

Start reading at :mod:`edge_wm.control.loop`, which holds one whole tick.
"""

__version__ = "0.1.0"
