"""Datasets: real files when they can be had, procedural twins when they cannot."""

from course_lib.data.array_pickle import MalformedFile, UnsafePickle
from course_lib.data.citation_graph import citation_graph
from course_lib.data.fetch import ChecksumError, DataUnavailable, fetch
from course_lib.data.graph import Graph
from course_lib.data.karate import karate_club
from course_lib.data.mnist import MNIST, mnist
from course_lib.data.pen_digits import PenDigits, pen_digits
from course_lib.data.planetoid import citation_network, load_planetoid, normalize_features
from course_lib.data.text import Corpus, tiny_shakespeare

__all__ = [
    "MNIST",
    "ChecksumError",
    "Corpus",
    "DataUnavailable",
    "Graph",
    "MalformedFile",
    "PenDigits",
    "UnsafePickle",
    "citation_graph",
    "citation_network",
    "fetch",
    "karate_club",
    "load_planetoid",
    "mnist",
    "normalize_features",
    "pen_digits",
    "tiny_shakespeare",
]
