# Everything runs in .venv, which the targets below make and keep in step with requirements/*.txt.
#   make demo         install the simulator and drive the simulated robot to five goals (no PyTorch)
#   make check        formatting, lint and types
#   make test         the tests that need no PyTorch
#   make test-export  the tests of export/ (installs PyTorch)
#   make test-arm64   the runtime and the shipped bundles on emulated aarch64 (QUICK=1: the short form)
#   make model        train, distil, quantise and export the shipped model from nothing (QUICK=1: the short form)
#   make bench        what the driving process costs, how a plan grows, and how fast it is against named peers
#                     (installs PyTorch and the peers; QUICK=1: the short form, recorded nowhere)
#   make closed-loop  what a robot achieves: every policy on test worlds, paired (hours; QUICK=1: a few episodes)
#   make sweep        how much computation the trained model needs: success against the size of a plan, on validation worlds
#                     (after make model; hours; QUICK=1: a few episodes of two sizes, recorded nowhere)
#   make firmware     the microcontrollers' programs, into build/firmware, checked against MISRA C
#                     (needs gcc-avr avr-libc gcc-arm-none-eabi libnewlib-arm-none-eabi cppcheck)
#   make hil          that program in the loop, in a simulated processor: rooms driven through it, and everything done to it that can go
#                     wrong between computer and motors, and to a real process that drives it (needs libsimavr-dev libelf-dev too;
#                     QUICK=1: the short form, recorded nowhere)
#   make guard        the watchdog of the PCA9685 bridge: hosts killed and stopped at random moments (QUICK=1: recorded nowhere)
#   make fuzz         noise and mutated frames for both ends of the serial line (needs clang libclang-rt-14-dev or newer; QUICK=1)
#   make mutants      mistakes in the firmware's safety decisions: do its tests notice? (QUICK=1: every tenth, recorded nowhere)
#   make power-cuts   updates cut off: a disk as a power cut would leave it, and every call that changes a file failing (needs root, gcc;
#                     QUICK=1: the short form, recorded nowhere)
#   make attacks      whoever has the web server, the keys or the rollout server: does a robot take what it must not? (QUICK=1)
#   make model-files  bundles that somebody who can sign has made, or a bug: does one end the process that drives? (an hour; QUICK=1)
#   make fleet        a thousand robots, a bad model and a killed server (needs mosquitto; QUICK=1: a few robots)
#   make soak         the driving service: killed and started again; driven for hours (QUICK=1: minutes, recorded nowhere)
#   make offline-bundle BOARD=rpi5  all that install.sh needs on a board without a network
#   make emulated-board  an arm64 board in QEMU that install.sh has installed: killed, hung, without a disk (needs qemu-system-arm; QUICK=1)
#   make emulated-linux  drivers of chips on a real kernel's I2C buses, in an emulated machine (needs qemu-system-x86)
#   make lock         pin the newest versions that pyproject.toml allows
#   make clean        remove .venv and caches
# ARGS='…' passes options on: make demo ARGS='--seed 3', make test ARGS='-k planner'.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test test-export test-arm64 check model bench closed-loop sweep firmware hil guard fuzz mutants power-cuts attacks model-files fleet soak offline-bundle emulated-board emulated-linux lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=
QUICK ?=
BOARD ?= generic-aarch64

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(VENV)/.test $(VENV)/.gl $(VENV)/.uv
	$(BIN)/pytest --ignore=tests/export $(ARGS)

test-export: $(VENV)/.export $(VENV)/.gl
	$(BIN)/pytest tests/export $(ARGS)

test-arm64: $(VENV)/.uv
	$(BIN)/python -m tests.arm64 $(if $(QUICK),--quick) $(ARGS)

demo: $(VENV)/.demo $(VENV)/.gl
	$(BIN)/edge-wm demo $(ARGS)

model: $(VENV)/.export $(VENV)/.gl
	$(BIN)/python -m export all $(if $(QUICK),--config export/configs/quick.toml --work checkpoints/quick --bundle checkpoints/quick/bundle) $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.runtime $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.scaling $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.peers $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.td_mpc2 $(if $(QUICK),--quick)

closed-loop: $(VENV)/.demo $(VENV)/.gl
	$(BIN)/python benchmarks/closed_loop.py $(if $(QUICK),--quick) $(ARGS)

sweep: $(VENV)/.export $(VENV)/.gl
	$(BIN)/python -m benchmarks.sweep $(if $(QUICK),--quick) $(ARGS)

firmware:
	$(MAKE) --no-print-directory -C firmware_bridge/firmware all lint

hil: $(VENV)/.test $(VENV)/.gl
	$(MAKE) --no-print-directory -C firmware_bridge/firmware bench
	$(BIN)/python -m benchmarks.hil $(if $(QUICK),--quick) $(ARGS)

guard: $(VENV)/.test
	$(BIN)/python -m benchmarks.guard $(if $(QUICK),--quick) $(ARGS)

fuzz: $(VENV)/.test
	$(BIN)/python -m benchmarks.fuzz $(if $(QUICK),--quick) $(ARGS)

power-cuts: $(VENV)/.test
	$(BIN)/python -m benchmarks.power_cuts $(if $(QUICK),--quick) $(ARGS)
	$(BIN)/python -m benchmarks.file_faults $(if $(QUICK),--quick)

attacks: $(VENV)/.test
	$(BIN)/python -m benchmarks.attacks $(if $(QUICK),--quick) $(ARGS)

model-files: $(VENV)/.test
	$(BIN)/python -m benchmarks.model_files $(if $(QUICK),--quick) $(ARGS)

fleet: $(VENV)/.test
	$(BIN)/python -m benchmarks.fleet $(if $(QUICK),--quick) $(ARGS)

soak: $(VENV)/.test $(VENV)/.gl
	$(BIN)/python -m benchmarks.service_restart $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.soak $(if $(QUICK),--quick) $(ARGS)

offline-bundle: $(VENV)/.uv $(VENV)/.demo
	$(BIN)/python -m export.offline_bundle --board $(BOARD) $(ARGS)

emulated-board: $(VENV)/.test $(VENV)/.gl $(VENV)/.uv
	$(BIN)/python -m tests.emulated_board $(if $(QUICK),--quick) $(ARGS)

emulated-linux: $(VENV)/.test
	$(BIN)/python -m tests.emulated_linux -- $(ARGS)

mutants: $(VENV)/.mutants
	$(BIN)/python -m benchmarks.mutants $(if $(QUICK),--quick) $(ARGS)

# --- the environment -------------------------------------------------------------------------------------------------
# Four sets, each containing the one before it: demo, test, export, bench.  A stamp is older than its lock when the lock has
# changed, and only then is anything installed again.

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	  || { echo "error: Python 3.10 to 3.13 is needed and $(PYTHON) is not one: name one, e.g.  make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "error: $(PYTHON) cannot make virtual environments: run  sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: requirements/demo.txt pyproject.toml $(VENV)/.python
	$(PIP) -r requirements/demo.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.demo
	$(PIP) -r requirements/test.txt
	@touch $@

$(VENV)/.export: requirements/export.txt $(VENV)/.test
	$(PIP) -r requirements/export.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.export
	$(PIP) -r requirements/bench.txt
	@touch $@

# Its rules are all that is used: what it asks for besides stays away.
$(VENV)/.mutants: | $(VENV)/.test
	$(PIP) --no-deps universalmutator==1.14.1
	@touch $@

# MuJoCo draws the robot's camera through EGL when there is no display.
$(VENV)/.gl: | $(VENV)/.demo
	@MUJOCO_GL=egl $(BIN)/python -c 'import mujoco; mujoco.GLContext(8, 8).make_current()' 2>/dev/null \
	  || { echo "error: no OpenGL for headless drawing: run  sudo apt install libegl1 libgl1" >&2; exit 1; }
	@touch $@

# Resolves the locks, and brings the wheels of another machine.
$(VENV)/.uv: | $(VENV)/.python
	$(PIP) uv
	@touch $@

# On Linux PyPI's torch asks for gigabytes of CUDA libraries.  Exporting needs none of them, so the lock leaves them out;
# pip still fetches them for a torch build that wants them.  The bound on Python that uv repeats in each line is dropped.
UV = UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate
CUDA := ^(cuda|nvidia|triton)\b
TIDY := sed -E "s/python_full_version < '3.14' and //; s/( and| ;) python_full_version < '3.14'//"
lock: $(VENV)/.uv
	$(UV) pyproject.toml --upgrade --extra sim --extra litert --extra serial --extra i2c --extra mavlink --extra update --extra fleet --extra dev --extra export | grep -vE '$(CUDA)' | $(TIDY) > requirements/export.txt
	$(UV) pyproject.toml --extra sim --extra litert --extra serial --extra i2c --extra mavlink --extra update --extra fleet --extra dev -c requirements/export.txt | $(TIDY) > requirements/test.txt
	$(UV) pyproject.toml --extra sim -c requirements/export.txt | $(TIDY) > requirements/demo.txt
	$(UV) pyproject.toml --extra sim --extra serial --extra i2c --extra mavlink --extra update --extra fleet --extra dev --extra bench -c requirements/export.txt | grep -vE '$(CUDA)' | $(TIDY) > requirements/bench.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
