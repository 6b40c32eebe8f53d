"""Actuator links for small robots; usable without the rest of the project."""

from firmware_bridge.bridge import NEUTRAL, Bridge, BridgeError, Command, Telemetry

__all__ = ["NEUTRAL", "Bridge", "BridgeError", "Command", "Telemetry"]
