# One command per task; each sets up what it needs in .venv, nothing system-wide.
PYTHON ?= python3.11
BIN := .venv/bin
EXTRAS := serve stream pipelines train tracking monitor local batch dev

.PHONY: apiserver-test help install demo test check unit networks quality manifests integration bench format lock compile golden clean images images-test scan push \
	upload retrain overlays deploy smoke rollback compose-credentials
.DEFAULT_GOAL := help

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

install: .venv/installed ## Create .venv with everything, Triton included

# uv installs the lock in seconds; it comes from the same lock, by pip. Where PYTHONDONTWRITEBYTECODE keeps Python from
# remembering what it compiles, all is compiled at once: `import tensorflow` then takes 4 s of a core instead of 12.
.venv/installed: requirements.lock pyproject.toml src/pathcast/local/triton.lock src/pathcast/local/triton_stub.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the locked packages (about 4 GB in .venv; minutes the first time, seconds from the cache)"
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync --quiet $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode) --require-hashes requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@$(BIN)/python -m pathcast.local.triton
	@touch $@

demo: install ## Video in; tracks, predicted paths and their measured error out: .pathcast/demo/report.html
	@$(BIN)/pathcast demo

test: check unit manifests networks quality images-test integration ## All checks and tests

check: install ## Format, lint, types, import contracts, Dockerfiles
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@PYTHONPATH=src:. $(BIN)/lint-imports --no-cache
	@git ls-files --cached --others --exclude-standard '*Dockerfile' | xargs $(BIN)/hadolint

unit: install ## Tests that need neither a server nor TensorFlow
	@$(BIN)/pytest tests/unit --numprocesses 2 --dist loadfile --ignore src/pathcast/serving/mot/model.py --doctest-modules src/pathcast/core src/pathcast/tracking src/pathcast/messaging src/pathcast/storage src/pathcast/serving

networks: install ## Tests that build, train or export networks, and the doctests of their packages
	@$(BIN)/pytest tests/networks --numprocesses 2 --dist loadfile --doctest-modules src/pathcast/detection src/pathcast/forecasting src/pathcast/recognition

quality: install ## Metric floors on real data
	@$(BIN)/pytest tests/quality

manifests: install ## Kubernetes manifests and the chart against schemas and our own checks
	@$(BIN)/pytest tests/manifests --numprocesses 2 --dist loadfile

integration: install ## Tests against the real servers
	@$(BIN)/pytest tests/integration

format: install ## Rewrite the code in the project's format
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

lock: install ## Resolve requirements.lock anew from pyproject.toml
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip compile pyproject.toml $(addprefix --extra ,$(EXTRAS)) --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

bench: install ## Time detector, forecaster, signs, tracker and training, with the data folder, no platform: bench/NAME.json
	@mkdir -p bench
	@for name in detector forecaster signs tracker training; do $(BIN)/pathcast bench $$name --json bench/$$name.json || exit 1; done

compile: install ## Compile the Kubeflow pipelines into build/pipelines, with the pushed training image (or PATHCAST_TRAIN_IMAGE)
	@$(BIN)/python -m deployments.release compile

golden: install ## Rewrite the golden files after an intended change
	@PATHCAST_GOLDEN=write $(BIN)/pytest tests/unit/export/test_triton_config.py tests/unit/pipelines tests/manifests/test_chart.py tests/manifests/test_training_jobs.py

apiserver-test: install ## Manifests and chart against Kubernetes' own API server and rules, built from Debian's packages (once: 430 MB, minutes)
	@$(BIN)/python -c 'from tests.apiserver.programs import programs; programs()'
	@$(BIN)/pytest tests/apiserver -s

images: install ## Build the container images with docker, podman or buildah (PYTHON_BASE, TRITON_BASE: docs/operations.md)
	@$(BIN)/python -m deployments.images.build build

images-test: install ## Build images on Debian and run them without rights or network (minutes; needs root, buildah, mmdebstrap, runc)
	@$(BIN)/pytest tests/images -s -rs

scan: install ## Look for known weaknesses in the images (trivy)
	@$(BIN)/python -m deployments.images.build scan

push: install ## Push the images to REGISTRY and note their digests
	@$(BIN)/python -m deployments.images.build push

compose-credentials: install ## Generate what deployments/compose needs: passwords and image names, in its .env
	@$(BIN)/python -m deployments.compose.credentials

upload: install ## Upload the compiled pipelines to KFP_ENDPOINT
	@$(BIN)/python -m deployments.release upload

retrain: install ## Start a run of the training pipeline at KFP_ENDPOINT
	@$(BIN)/python -m deployments.release retrain

overlays: install ## Write build/deployments: the folders of deployments/ with the pushed images, for kubectl apply -k
	@$(BIN)/python -m deployments.release overlays

deploy: install ## Deploy the pushed images with helm: ENVIRONMENT=staging or production, KUBECONFIG
	@$(BIN)/python -m deployments.release deploy $(ENVIRONMENT)

smoke: install ## Run the chart's test on the cluster of ENVIRONMENT
	@$(BIN)/python -m deployments.release smoke $(ENVIRONMENT)

rollback: install ## Go back to the release before this one in ENVIRONMENT
	@$(BIN)/python -m deployments.release rollback $(ENVIRONMENT)

clean: ## Remove the local state of the platform (stop it first)
	@$(BIN)/pathcast down && rm -rf .pathcast
