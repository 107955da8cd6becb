# make help lists what can be made.

GO      ?= go
PYTHON  ?= python3
# Go packages tested at a time. Many start processes of their own.
JOBS    ?= 2
TIMEOUT ?= 20m

RUFF_VERSION = 0.17.6
RUFF_HOME    = .cache/ruff-$(RUFF_VERSION)
RUFF         = $(RUFF_HOME)/bin/ruff

.DEFAULT_GOAL = help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the program, as one static file: bin/lapis
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/lapis ./cmd/lapis

.PHONY: tour
tour: build ## build, then the article from start to end on a fresh platform (TOUR= takes its options)
	bin/lapis tour $(TOUR)

.PHONY: test
test: test-go test-python lint-python ## everything that must pass

.PHONY: test-go
test-go:
	$(GO) test -timeout $(TIMEOUT) -p $(JOBS) ./...

.PHONY: test-python
test-python:
	cd test/article && $(PYTHON) -m unittest

.PHONY: bench
bench: ## the figures with their targets and floors (BENCH= takes its options)
	$(GO) run ./bench $(BENCH)

.PHONY: bench-scoring
bench-scoring: ## a prediction's cost, beside Azure's own inference server, and what deployments go through (BENCH= takes options of ./bench)
	$(GO) run ./bench -only 'changes|fleet' $(BENCH)
	$(GO) run ./bench/scoring

.PHONY: lint
lint: lint-go lint-python ## formatting, vet, staticcheck; ruff for the Python parts

.PHONY: lint-go
lint-go:
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l) && \
	if [ -n "$$files" ]; then echo "not formatted; make fmt mends it:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# A machine without a package index has no ruff, and says so instead of failing.
.PHONY: lint-python
lint-python:
	@$(MAKE) --no-print-directory -s $(RUFF) || { echo "ruff: not run, it cannot be installed here (see above)"; exit 0; }; \
	$(RUFF) check --quiet . && $(RUFF) format --check --quiet . && echo "ruff: ok"

.PHONY: fmt
fmt: $(RUFF) ## format Go and Python
	git ls-files -co --exclude-standard '*.go' | xargs gofmt -w
	$(RUFF) check --quiet --fix .
	$(RUFF) format --quiet .

$(RUFF):
	@rm -rf $(RUFF_HOME)
	@$(PYTHON) -m venv $(RUFF_HOME) && \
	$(RUFF_HOME)/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 ruff==$(RUFF_VERSION) || \
	{ rm -rf $(RUFF_HOME); exit 1; }

.PHONY: clean
clean: ## remove what was made
	rm -rf bin .cache
