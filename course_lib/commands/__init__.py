"""What the `course` command does for a student; `course_lib.cli` only reads the command line."""
