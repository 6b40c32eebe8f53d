"""What a person can use of an error of the network."""

from __future__ import annotations

import ssl

from edge_wm.errors import one_line

MAX_LENGTH = 200


def cause(error: Exception) -> Exception:
    """The error of the socket, or of TLS, that a library has wrapped in its own."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, Exception):
            inner = next((part for part in error.args if isinstance(part, Exception)), None)
        if inner is None:
            return error
        error = inner


def said(error: Exception) -> str:
    """The cause of an error, in one line."""
    error = cause(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {one_line(error.verify_message)}"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    return one_line(str(error))[:MAX_LENGTH] or type(error).__name__
