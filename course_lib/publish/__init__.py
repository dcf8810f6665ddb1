"""What the `course` command does for an instructor. The students' distribution is without it."""
