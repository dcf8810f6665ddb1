"""nbgrader on this repository: `nbgrader generate_assignment 05_graph_networks` writes labs/ from solutions/.

`course release` does the same without nbgrader's database; grading itself is not nbgrader's task here.
"""

c = get_config()  # noqa: F821  (nbgrader provides it)

c.CourseDirectory.course_id = "relational-course"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "labs"
# What lies beside a master stays with the instructor, above all hidden_checks.py.
c.CourseDirectory.ignore = ["*.py", "*.pyc", "__pycache__", ".ipynb_checkpoints"]
