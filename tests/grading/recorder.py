"""A process that fills a gradebook until it is killed: python -m tests.grading.recorder URL JOBS.

Prints a line after each result that is kept. Run again, it goes on where it was.
"""

import sys

from course_lib.grading.gradebook import Gradebook
from tests.grading.books import PARTS, result, submit

if __name__ == "__main__":
    with Gradebook(sys.argv[1]) as book, book.grading_run(wait=20):
        print("began", flush=True)
        for number in range(int(sys.argv[2])):
            submission = submit(book, f"s{number:03d}", None, f"file{number}")
            if not book.is_done(PARTS.key(submission)):
                assert book.record(PARTS, submission, result())
                print(number, flush=True)
