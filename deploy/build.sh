#!/usr/bin/env bash
# Build the shop as the image has it: deploy/build.sh FOLDER [REQUIREMENTS …]
# FOLDER/venv gets the packages, FOLDER/app the code and the static files. FOLDER cannot be moved
# later: the virtual environment has its path in it. PYTHON is the Python to use (3.11 or newer).
set -euo pipefail

[[ $# -ge 1 ]] || { echo "build: which folder? deploy/build.sh FOLDER [REQUIREMENTS …]" >&2; exit 2; }
[[ ! -e $1 ]] || { echo "build: $1 is there already" >&2; exit 1; }
target=$(realpath -m "$1")
requirements=("${@:2}")
[[ ${#requirements[@]} -gt 0 ]] || requirements=(requirements.txt)
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# pip stays outside: what runs installs nothing.
"$python" -m venv --without-pip "$target/venv"
"$python" -m pip --python "$target/venv/bin/python" install --quiet --disable-pip-version-check \
  --no-cache-dir --no-compile --require-hashes "${requirements[@]/#/-r}"

mkdir "$target/app"
tar --exclude=__pycache__ -cf - manage.py topology.toml apps protos severable shop | tar -xf - -C "$target/app"

# Development needs no secret: it makes its own, in a folder that goes.
(
  cd "$target/app"
  env -i PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 VAR_DIR="$scratch" STATIC_ROOT="$target/app/staticfiles" \
    "$target/venv/bin/python" manage.py collectstatic --noinput --verbosity 0
)

# Nothing is written there later, and nothing is compared with its source.
"$target/venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash \
  "$target/venv/lib" "$target/app/"{apps,protos,severable,shop}
du -sh "$target"
