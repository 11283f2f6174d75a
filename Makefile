# Each line sets up what it needs (scripts/setup, quick when nothing changed) and calls one command.
SHELL := /bin/bash
DEMO_SECONDS ?= 20
OBJECT_POSE := .venv/bin/object-pose
SOURCES := perception_ws/src tests launch
# A sourced ROS distribution must not lend its libraries to the wheels in .venv.
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH

.DEFAULT_GOAL := help
.PHONY: help setup setup-train setup-bench setup-all demo test lint format real-check pose-check train-parts models-check real-folds train-smoke bench-train notebook clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Make .venv: ROS 2, inference, simulation, messages
	@scripts/setup

setup-train: ## The same, with what trains and exports
	@scripts/setup train weights

setup-bench: ## What runs, with the Open3D that we compare with
	@scripts/setup bench

setup-all: ## The same, with what trains, tests and lints
	@scripts/setup train weights dev

demo: setup ## Run the pipeline on the simulated camera for DEMO_SECONDS, write out/demo
	@$(OBJECT_POSE) demo --seconds $(DEMO_SECONDS)

test: setup-all ## Run all tests
	@.venv/bin/python -m pytest

lint: setup-all ## Check style, types and who imports whom
	@.venv/bin/ruff check $(SOURCES) && .venv/bin/ruff format --check $(SOURCES) && .venv/bin/mypy && .venv/bin/lint-imports

format: setup-all ## Format the sources
	@.venv/bin/ruff check --fix $(SOURCES) && .venv/bin/ruff format $(SOURCES)

real-check: setup ## Run the LM-O model on real frames, through ROS and without, write out/real
	@$(OBJECT_POSE) real-check

pose-check: setup ## Hold accuracy, uncertainty and tracking of poses against their bars, write out/pose
	@$(OBJECT_POSE) pose-check

bench-pose: setup-bench ## Our pose head beside PnP alone and Open3D, on the same frames, write out/pose/bench.json
	@$(OBJECT_POSE) bench-pose

models-check: setup-train ## Every shipped model on its test split beside its bars, write out/models/summary.json
	@$(OBJECT_POSE) models-check

real-folds: setup-train ## Cross-validation on real photographs (long: it trains), write out/models/real.json
	@$(OBJECT_POSE) real-folds

train-smoke: setup-train ## Train each task for a minute and export it, into out/smoke
	@$(OBJECT_POSE) train-smoke

bench-train: setup-train ## What the nano detector's training costs, beside the machine's matrix product
	@$(OBJECT_POSE) bench-train

train-parts: setup-train ## Train the six parts' model anew on rendered images, write runs/parts/parts.onnx
	@$(OBJECT_POSE) train pose --output runs/parts && $(OBJECT_POSE) export --run runs/parts --output runs/parts/parts.onnx

notebook: setup-all ## Explore, train and judge the workplace task from top to bottom, write out/notebooks
	@.venv/bin/python scripts/run_notebook notebooks/workplace.ipynb out/notebooks

clean: ## Remove what was built, except .venv
	@rm -rf build install log out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
