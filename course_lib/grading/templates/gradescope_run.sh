#!/bin/sh
# Gradescope runs this, as root, for each submission. Without a results.json it says that the autograder failed.
set -eu
AUTOGRADER_ROOT="${AUTOGRADER_ROOT:-/autograder}"
export AUTOGRADER_ROOT
mkdir -p "$AUTOGRADER_ROOT/results"
chmod 0700 "$AUTOGRADER_ROOT/source" "$AUTOGRADER_ROOT/results"
rm -f "$AUTOGRADER_ROOT/results/results.json"
cd "$AUTOGRADER_ROOT/source/course"
exec "$AUTOGRADER_ROOT/venv/bin/python" -B -m course_lib.grading.gradescope @ARGUMENTS@
