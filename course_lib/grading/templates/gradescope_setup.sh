#!/bin/bash
# Gradescope runs this once, as root, when it builds the autograder's image.
set -euo pipefail
root="${AUTOGRADER_ROOT:-/autograder}"
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends python3 python3-venv bubblewrap util-linux
python=python3
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  apt-get install -y --no-install-recommends python3.11 python3.11-venv || {
    echo "The course needs Python 3.11 or newer: choose an image of Ubuntu 22.04 or newer."; exit 1; }
  python=python3.11
fi
"$python" -m venv "$root/venv"
# There is no GPU: the builds of PyTorch for the CPU, which are much smaller.
PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu "$root/venv/bin/python" -m pip install \
  --quiet --no-cache-dir -c "$root/source/course/constraints.txt" -e "$root/source/course[grade]"
# Answers, hidden checks and the secret are root's alone; the interpreter may be run by anybody.
chown -R root:root "$root/source"
chmod -R go-rwx "$root/source"
chmod 0700 "$root/source"
chmod -R go+rX "$root/venv"
