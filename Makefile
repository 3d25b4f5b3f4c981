# Each target says what it does and leaves the system alone but for the Debian packages listed here.
PYTHON ?= python3
BIN := .venv/bin

# What pip cannot bring: PortAudio and a compiler for PyAudio, OpenGL and GLib for OpenCV.
RUN_PACKAGES := portaudio19-dev gcc python3-dev python3-venv libgl1 libglib2.0-0
TEST_PACKAGES := pulseaudio pulseaudio-utils libasound2-plugins espeak-ng mosquitto openssl strace

# Without it (Ubuntu's is a snap) the tests of the page are skipped: $(BIN)/python -m pytest
BROWSER := chromium

# Two processes, each with whole files: what a file's tests share is made once. One that crashes ends the run.
IN_PARALLEL := -n 2 --dist loadfile --max-worker-restart 0

.PHONY: help run test test-full check bench soak clean
help:
	@echo "make run        set up .venv with the runtime, and perceive the demo clip"
	@echo "make test       set up everything, and run the tests (under 10 minutes)"
	@echo "make test-full  those, then the slow tests (under 30 minutes)"
	@echo "make check      ruff, mypy and the architecture test"
	@echo "make bench      measure speed on this machine"
	@echo "make soak       eight hours of driving, as fast as they go (an hour and more): does memory grow?"

run: .venv/runtime
	@$(BIN)/edge-run --clip demo/driver.mp4

test: .venv/dev
	@sh scripts/require_packages.sh $(BROWSER)
	$(BIN)/python -m pytest $(IN_PARALLEL)

test-full: test
	$(BIN)/python -m pytest -m slow $(IN_PARALLEL)

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: .venv/dev
	$(BIN)/edge-bench kernels
	$(BIN)/edge-bench runtime
	$(BIN)/edge-bench peers
	$(BIN)/edge-bench cost

soak: .venv/dev
	$(BIN)/python -m benchmarks.soak --hours 8

.venv/runtime: setup.py
	@sh scripts/require_packages.sh $(RUN_PACKAGES)
	@echo "Installing the runtime into .venv (1.4 GB on disk; MediaPipe brings most of it)..." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/dev: .venv/runtime
	@sh scripts/require_packages.sh $(TEST_PACKAGES)
	@echo "Installing what training, export and tests need into .venv (2.4 GB more)..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build *.egg-info
