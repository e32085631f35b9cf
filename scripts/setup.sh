#!/bin/sh
# Installs what LitePress needs, once: Debian packages that are missing, and .venv.
#
#   scripts/setup.sh          for `make demo` and `make test`
#   scripts/setup.sh build    for `make bitstream`, on top of it
#   scripts/setup.sh bench    for `make ratios` and litepress.bench.sites, on top of it
#
# PYTHON names another Python than python3. A second run finds everything there and ends at once.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=.venv
FILES="requirements.txt requirements-nodeps.txt pyproject.toml"

fail() {
	echo "setup: $*" >&2
	exit 1
}

# Debian packages ----------------------------------------------------------------------------------

missing=""
need() {        # need PACKAGE COMMAND...: the package, unless the command succeeds.
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}
need gcc-riscv64-unknown-elf command -v riscv64-unknown-elf-gcc
need g++ command -v g++
need make command -v make
need perl command -v perl
need dataset-fashion-mnist test -e /usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz
# A .venv that works needs neither of these again.
if ! $VENV/bin/python -c "import pip" 2>/dev/null; then
	need python3 command -v "$PYTHON"
	need python3-venv "$PYTHON" -c "import ensurepip, venv"
fi

if [ -n "$missing" ]; then
	command -v apt-get >/dev/null || fail "missing:$missing (names of Debian packages): there is no apt-get here, install them"
	if [ "$(id -u)" = 0 ]; then
		sudo=""
	elif command -v sudo >/dev/null; then
		sudo="sudo"
	else
		fail "missing:$missing: become root, or install sudo, then try again"
	fi
	echo "setup: installing$missing"
	$sudo apt-get update -q || echo "setup: apt-get update failed, trying with the lists as they are" >&2
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing \
		|| fail "apt-get could not install$missing"
fi

# Python packages ----------------------------------------------------------------------------------

stamped() {     # stamped FILE KEY: what FILE stands for was installed with KEY.
	[ "$(cat "$VENV/$1" 2>/dev/null)" = "$2" ]
}

if ! $VENV/bin/python -c "import pip" 2>/dev/null; then
	"$PYTHON" -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| fail "$("$PYTHON" --version 2>&1): needed is Python 3.11 or later (PYTHON=... names another)"
	echo "setup: creating $VENV"
	rm -rf $VENV
	"$PYTHON" -m venv $VENV || fail "$PYTHON -m venv $VENV failed"
fi
pip="$VENV/bin/python -m pip --disable-pip-version-check"

# shellcheck disable=SC2086
key=$(cat $FILES scripts/setup.sh | sha256sum | cut -c1-64)
if ! stamped litepress-stamp "$key"; then
	echo "setup: installing Python packages into $VENV"
	$pip install -q -r requirements.txt || fail "pip could not install requirements.txt"
	# Their declared dependencies are not needed for what is used of them.
	$pip install -q --no-deps -r requirements-nodeps.txt \
		|| fail "pip could not install requirements-nodeps.txt"
	$pip install -q --no-deps --no-build-isolation -e . || fail "pip could not install litepress"
	echo "$key" > $VENV/litepress-stamp
fi

if [ "${1:-}" = build ]; then
	key=$(sha256sum requirements-build.txt | cut -c1-64)
	if ! stamped litepress-build-stamp "$key"; then
		echo "setup: installing the FPGA tools into $VENV"
		$pip install -q -r requirements-build.txt || fail "pip could not install requirements-build.txt"
		echo "$key" > $VENV/litepress-build-stamp
	fi
fi

if [ "${1:-}" = bench ]; then
	key=$(sha256sum requirements-bench.txt | cut -c1-64)
	if ! stamped litepress-bench-stamp "$key"; then
		echo "setup: installing networks, photos and scipy for measurements into $VENV"
		# Only files of theirs are read; of two the modules, which need torch and numpy alone.
		$pip install -q --no-deps -r requirements-bench.txt \
			|| fail "pip could not install requirements-bench.txt"
		echo "$key" > $VENV/litepress-bench-stamp
	fi
fi
