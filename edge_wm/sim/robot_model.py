"""The simulated differential-drive robot as a MuJoCo model, and the spread of its imperfections.

The body is a cylinder that fits in a circle of radius 0.12 m.  The chassis surrounds the wheels, so whatever
the robot runs into touches the chassis first: a contact of the chassis geom *is* a collision, and the ground
never touches it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RADIUS_M = 0.12
"""Radius of the circle that the robot fits in."""
CHASSIS_RADIUS_M = 0.115
CHASSIS_BOTTOM_M = 0.018
CHASSIS_TOP_M = 0.10
WHEEL_RADIUS_M = 0.033
TRACK_M = 0.15
"""Distance between the contact points of the two wheels."""
RING_HEIGHT_M = 0.085
RING_BEAMS = 8
RING_REACH_M = 4.0
RING_CONE_DEG = 16.0
"""Full opening of one beam; a time-of-flight sensor reports the nearest thing inside its cone."""
CAMERA_WIDTH, CAMERA_HEIGHT = 64, 48
CAMERA_FOVY_DEG = 80.0
CAMERA_FORWARD_M = 0.09
CAMERA_HEIGHT_M = 0.13
CAMERA_PITCH_DOWN_DEG = 8.0

PREFIX = "robot_"
"""Put before every name of the robot when it is attached to a world, so that names cannot clash."""
CHASSIS_GEOM = PREFIX + "chassis"
CAMERA_NAME = PREFIX + "camera"
BODY_NAME = PREFIX + "base"
UNSEEN_GROUP = 5
"""Group of the geoms that cannot be touched: the range ring looks through them."""


@dataclass(frozen=True, slots=True)
class Imperfections:
    """One robot's deviations from the ideal, constant over an episode.  SI units.

    Attributes:
        wheel_lag_s: time constant of each wheel-speed loop.
        wheel_gain: real over commanded wheel speed, left and right.
        dead_zone_mps: rim speed below which a wheel does not turn.
        action_delay_s: time from a command to its first effect.
        friction: sliding friction of the tyres.
        payload_kg: mass on top of the chassis.
        encoder_gain: measured over real wheel speed, left and right.
        gyro_bias_radps: constant error of the gyro.
        gyro_noise_radps: standard deviation of the gyro's white noise.
        range_noise_m: standard deviation of a range reading at 1 m; grows in proportion to the range.
        range_dropout: probability that a beam gives no reading.
    """

    wheel_lag_s: float = 0.08
    wheel_gain: tuple[float, float] = (1.0, 1.0)
    dead_zone_mps: float = 0.01
    action_delay_s: float = 0.03
    friction: float = 0.9
    payload_kg: float = 0.2
    encoder_gain: tuple[float, float] = (1.0, 1.0)
    gyro_bias_radps: float = 0.0
    gyro_noise_radps: float = 0.005
    range_noise_m: float = 0.015
    range_dropout: float = 0.02


def draw_imperfections(rng: np.random.Generator) -> Imperfections:
    """Draw one robot from the spread that training and evaluation use."""

    def pair(spread: float) -> tuple[float, float]:
        return (1.0 + rng.normal(0.0, spread), 1.0 + rng.normal(0.0, spread))

    return Imperfections(
        wheel_lag_s=rng.uniform(0.05, 0.15),
        wheel_gain=pair(0.03),
        dead_zone_mps=rng.uniform(0.0, 0.03),
        action_delay_s=rng.uniform(0.0, 0.06),
        friction=rng.uniform(0.6, 1.1),
        payload_kg=rng.uniform(0.0, 0.6),
        encoder_gain=pair(0.01),
        gyro_bias_radps=rng.normal(0.0, math.radians(0.08)),
        gyro_noise_radps=rng.uniform(0.002, 0.01),
        range_noise_m=rng.uniform(0.005, 0.025),
        range_dropout=rng.uniform(0.0, 0.05),
    )


def robot_mjcf(imperfections: Imperfections) -> str:
    """MJCF of the robot alone: a free body to be attached to a world at its start pose."""
    half_height = (CHASSIS_TOP_M - CHASSIS_BOTTOM_M) / 2
    middle = (CHASSIS_TOP_M + CHASSIS_BOTTOM_M) / 2
    pitch = math.radians(CAMERA_PITCH_DOWN_DEG)
    # A MuJoCo camera looks along its -z with +y up: x axis to the robot's right, y axis tilted up.
    axes = f"0 -1 0 {math.sin(pitch):.6f} 0 {math.cos(pitch):.6f}"
    wheel = f'type="ellipsoid" size="{WHEEL_RADIUS_M} {WHEEL_RADIUS_M} 0.01" euler="90 0 0" mass="0.05"'
    touchable = 'contype="2147483647" conaffinity="2147483647"'  # whatever bits a world's geoms have
    grip = f'{touchable} friction="{imperfections.friction:.4f} 0.005 0.0001" condim="4" rgba="0.1 0.1 0.1 1"'
    caster = (
        f'{touchable} type="sphere" size="0.012" friction="0.01 0.001 0.0001" condim="3" mass="0.01"'
        ' rgba="0.3 0.3 0.3 1"'
    )
    motors = "".join(
        f'<general name="{side}_motor" joint="{side}_wheel" dyntype="filterexact"'
        f' dynprm="{imperfections.wheel_lag_s:.4f}" gaintype="fixed" gainprm="0.06"'
        f' biastype="affine" biasprm="0 0 -0.06" forcerange="-0.25 0.25"/>'
        for side in ("left", "right")
    )
    return f"""
<mujoco model="robot">
  <compiler angle="degree"/>
  <worldbody>
    <body name="base">
      <freejoint name="free"/>
      <geom name="chassis" {touchable} type="cylinder" size="{CHASSIS_RADIUS_M} {half_height:.4f}"
            pos="0 0 {middle:.4f}" mass="{0.8 + imperfections.payload_kg:.4f}" friction="0.3 0.005 0.0001"
            rgba="0.9 0.45 0.1 1"/>
      <geom name="nose" type="box" size="0.012 0.03 0.006" pos="0.09 0 {CHASSIS_TOP_M + 0.006:.4f}"
            mass="0.01" rgba="0.95 0.95 0.95 1" contype="0" conaffinity="0"/>
      <geom name="front_caster" {caster} pos="0.085 0 0.0135"/>
      <geom name="back_caster" {caster} pos="-0.085 0 0.0135"/>
      <camera name="camera" pos="{CAMERA_FORWARD_M} 0 {CAMERA_HEIGHT_M}" xyaxes="{axes}"
              fovy="{CAMERA_FOVY_DEG}"/>
      <body name="left_hub" pos="0 {TRACK_M / 2} {WHEEL_RADIUS_M}">
        <joint name="left_wheel" type="hinge" axis="0 1 0" damping="0.0002" armature="0.0002"/>
        <geom name="left_tyre" {wheel} {grip}/>
      </body>
      <body name="right_hub" pos="0 {-TRACK_M / 2} {WHEEL_RADIUS_M}">
        <joint name="right_wheel" type="hinge" axis="0 1 0" damping="0.0002" armature="0.0002"/>
        <geom name="right_tyre" {wheel} {grip}/>
      </body>
    </body>
  </worldbody>
  <contact>
    <exclude body1="base" body2="left_hub"/>
    <exclude body1="base" body2="right_hub"/>
  </contact>
  <actuator>{motors}</actuator>
</mujoco>"""
