"""What executes a graph."""

import os

# ONNX Runtime collects how it is used, on Linux since 1.32: at its import it opens a database in the home folder.  Nothing that a
# robot does is anybody else's business, and a home may be on a disk that is read-only.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
