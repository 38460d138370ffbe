#!/bin/sh
# Pins everything that pyproject.toml asks for, with hashes, for Python 3.11 and newer on every platform.
# dev.txt is solved first and constrains the other two, so that one environment can grow from one set to the next.
# The files carry no address of any index: pip takes packages from wherever its user gets packages.
set -eu
cd "$(dirname "$0")/.."
: "${UV:=uv}"

compile() { # compile NAME OPTIONS...: solve into a new file, then put it in place with a first line of our own
  name=$1; shift
  out=requirements/$name.txt
  new=$(mktemp)
  if [ -f "$out" ]; then cp "$out" "$new"; fi # what is pinned stays pinned, unless --upgrade is given
  "$UV" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --output-file "$new" "$@" > /dev/null
  { echo "# Made by 'make requirements' from pyproject.toml; not to be edited."; grep -v '^#' "$new"; } > "$out"
  rm -f "$new"
  echo "$out: $(grep -c '==' "$out") packages"
}

compile dev --all-extras --group dev "$@"
compile base --group build --constraints requirements/dev.txt "$@"
compile examples --group build --extra examples --constraints requirements/dev.txt "$@"
