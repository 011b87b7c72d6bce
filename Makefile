# Every target is one call of tests/run.py, which installs what is missing, runs the parts and sums them up.
# PYTHON chooses the interpreter (at least 3.11).
PYTHON ?= python3
RUN = $(PYTHON) tests/run.py

.PHONY: help test quick lint unit kernel e2e attack cgroup2 vm bench proto clean

help:
	@echo "make test      everything below, as far as this user and machine can do it"
	@echo "make quick     lint, and the quick unit tests on all processors: a minute, once everything is installed"
	@echo "make lint      ruff, mypy --strict, codespell"
	@echo "make unit      tests that need no rights, on every Python found"
	@echo "make kernel    tests on this kernel (root)"
	@echo "make e2e       daemon, command line, docker and docker-py (root)"
	@echo "make attack    what a hostile container, image, registry or client would do (root)"
	@echo "make cgroup2   what is different where cgroup v2 alone is mounted (root)"
	@echo "make vm        what needs cgroup v2's controllers or another kernel, in qemu (root, or apt packages in place)"
	@echo "make bench     measure against Docker (root); ROWS=run,exec chooses rows"
	@echo "make proto     compile BuildKit's messages, after a change of a .proto file"
	@echo "make clean     remove what the other targets made"

test:
	@$(RUN) all

quick lint kernel e2e attack cgroup2 vm:
	@$(RUN) $@

unit:
	@$(RUN) unit others

bench:
	@$(RUN) setup
	@.venv/bin/python -m bench $(if $(ROWS),--rows $(ROWS))

proto:
	@$(RUN) setup
	@.venv/bin/python src/wherry/api/buildkit/proto/compile.py

clean:
	rm -rf .venv .venv-* .cache .bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
