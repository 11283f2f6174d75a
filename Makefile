# Each line sets up what it needs (scripts/setup, quick when nothing changed) and calls one command.
SHELL := /bin/bash
DEMO_SECONDS ?= 20
OBJECT_POSE := .venv/bin/object-pose
BENCHMARK := .venv/bin/python -m benchmarks
SOURCES := perception_ws/src tests launch benchmarks
# A sourced ROS distribution must not lend its libraries to the wheels in .venv.
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Make .venv: ROS 2, inference, simulation, messages
	@scripts/setup

setup-planning: ## The same, with messages of MoveIt and of BOP's industrial challenge for machines that lack them
	@scripts/setup planning

setup-train: ## The same, with what trains and exports
	@scripts/setup train weights

setup-ops: ## The same, with the store of runs and models
	@scripts/setup train weights ops

setup-bench: ## What runs, with the Open3D that we compare with
	@scripts/setup bench

setup-all: ## The same, with what trains, tests and lints
	@scripts/setup train weights dev

demo: setup ## Run the pipeline on the simulated camera for DEMO_SECONDS, write out/demo
	@$(OBJECT_POSE) demo --seconds $(DEMO_SECONDS)

live: setup ## Run the pipeline on the simulated camera with the page, until Ctrl-C
	@$(OBJECT_POSE) run --processes --fixed-frame world --web

test: setup-all ## Run all tests, in two processes
	@.venv/bin/python scripts/run_tests

lint: setup-all ## Check style, types and who imports whom
	@.venv/bin/ruff check $(SOURCES) && .venv/bin/ruff format --check $(SOURCES) && .venv/bin/mypy && .venv/bin/lint-imports

format: setup-all ## Format the sources
	@.venv/bin/ruff check --fix $(SOURCES) && .venv/bin/ruff format $(SOURCES)

wheel: setup ## Build the package's wheel, and one of each message package for this Python, into dist
	@.venv/bin/python scripts/build_wheels dist

deploy-check: ## Check what goes to a cloud without one: Bicep, Azure ML, workflows, scripts, systemd units
	@test -x .cache/deploy/bin/python || python3 -m venv .cache/deploy
	@.cache/deploy/bin/pip install --quiet --disable-pip-version-check --requirement requirements/deploy.txt
	@.cache/deploy/bin/python deploy/check

docs: setup-all ## Build the documentation site, with the reference made from the code, into out/site
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict

newcomer-check: ## The first pages' own commands in a fresh clone: install, demo, own part, bag, server, write out/newcomer
	@python3 benchmarks/newcomer_check.py

real-check: setup ## Run the LM-O model on real frames, through ROS and without, write out/real
	@$(BENCHMARK).real_check

rbt-check: setup ## Two real objects tracked from their first poses, with depth and by colour alone, write out/rbt
	@$(BENCHMARK).rbt_check

own-parts-check: setup ## Parts that nothing was trained on, from their CAD files: simulated and real frames, write out/own_parts
	@$(BENCHMARK).own_parts_check

onboard-check: setup-train ## Two real parts learned in an hour from their meshes, found in renders and real frames, write out/own_parts
	@$(BENCHMARK).onboard_check

pose-check: setup ## Accuracy, uncertainty and tracking of poses beside their acceptance criteria, write out/pose
	@$(BENCHMARK).pose_check

bench-speed: setup ## What tracking, registering and detecting cost, and how that grows, write out/speed
	@$(BENCHMARK).bench_speed

bench-pose: setup-bench ## The pose head beside PnP alone and Open3D, on the same frames, write out/pose/bench.json
	@$(BENCHMARK).bench_pose

bench-peers: setup-bench ## Parts from CAD files registered and tracked beside OpenCV's surface_matching and Open3D, write out/peers
	@$(BENCHMARK).bench_peers

models-check: setup-train ## Every shipped model on its test split beside its acceptance criteria, write out/models/summary.json
	@$(BENCHMARK).models_check

cases-check: setup ## Small inputs that failed once: their expected values or refusals, write out/cases
	@$(BENCHMARK).cases_check

bag-check: setup ## A recorded live run evaluated offline: the same to the bit, as good as live, and how fast, write out/bag
	@$(BENCHMARK).bag_check

load-check: setup ## 50 stream and 8 prediction clients beside the running pipeline, write out/load
	@$(BENCHMARK).load_check

calibration-check: setup ## Calibration on real and simulated boards beside its acceptance criteria, write out/calibration
	@$(BENCHMARK).calibration_check

ops-check: setup-ops ## A model's way: gate, rollback, switched in a running pipeline and back, drift, retraining; write out/ops
	@$(BENCHMARK).ops_check

ray-check: setup-all ## One evaluation here, over processes and over a Ray cluster, a worker killed: equal files, write out/ray
	@$(BENCHMARK).ray_check

fuzz: setup-train ## 100,000 spoilt inputs of every kind: read or refused within bounds, write out/fuzz (minutes)
	@$(BENCHMARK).fuzz

real-folds: setup-train ## Cross-validation on real photographs (long: it trains), write out/models/real.json
	@$(BENCHMARK).real_folds

api-test: setup-all ## The HTTP contracts of two source systems against a live server, and what HTTP costs, write out/api
	@$(BENCHMARK).api_test

api-fuzz: setup-all ## Schemathesis over the whole OpenAPI: no 5xx, no undocumented answer, write out/api-fuzz (minutes)
	@$(BENCHMARK).api_fuzz

train-smoke: setup-train ## Train each task for a minute and export it, into out/smoke
	@$(BENCHMARK).train_smoke

bench-train: setup-train ## What a training step costs beside the machine's matrix product, write out/bench
	@$(BENCHMARK).bench_train

train-parts: setup-train ## Train the six parts' model anew on rendered images, write runs/parts/parts.onnx
	@$(OBJECT_POSE) train --recipe models/recipes/parts.yaml --output runs/parts

notebook: setup-all ## Explore, train and evaluate the workplace task from top to bottom, write out/notebooks
	@.venv/bin/python scripts/run_notebook notebooks/workplace.ipynb out/notebooks

footprints-client: setup-all ## The client notebook of building footprints against OBJECT_POSE_URL, write out/notebooks
	@.venv/bin/python scripts/run_notebook notebooks/footprints_client.ipynb out/notebooks

clean: ## Remove what was built, except .venv
	@rm -rf build dist perception_ws/src/object_pose/build install log out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
