"""fetch: mirror, cache, download, in this order; nothing unchecked. The network is a loopback one."""

import hashlib
import http.server
import importlib
import threading
from pathlib import Path

import pytest

from course_lib.data import ChecksumError, DataUnavailable, fetch
from course_lib.data.fetch import PublicFile, cache_folder, data_folder, registry
from tests.requirements import require

NAME = "poems/one.txt"
CONTENT = b"so much depends\n"


def entry(url: str, content: bytes | None = CONTENT) -> PublicFile:
    return PublicFile(
        name=NAME,
        url=url,
        license="",
        citation="",
        note="",
        sha256=None if content is None else hashlib.sha256(content).hexdigest(),
        size=None if content is None else len(content),
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    """No mirror, an empty cache, and a registry of one file that nobody serves."""
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    register(monkeypatch, entry("http://127.0.0.1:9/one.txt"))
    return tmp_path


def register(monkeypatch, file: PublicFile) -> None:
    module = importlib.import_module("course_lib.data.fetch")  # its name is the function's, too
    monkeypatch.setattr(module, "registry", lambda: {file.name: file})


@pytest.fixture
def server(tmp_path):
    """A loopback server; `served` is its folder and `requests` what was asked of it."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "served"))

        def log_message(self, *arguments):
            requests.append(self.path)

    requests: list[str] = []
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "one.txt").write_bytes(CONTENT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        httpd.requests = requests
        yield httpd
        httpd.shutdown()


def address(server, file: str = "one.txt") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{file}"


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_mirror_comes_first(place, monkeypatch):
    mirrored = put(place / "mirror" / NAME, CONTENT)
    put(place / "cache" / NAME, CONTENT)
    monkeypatch.setenv("COURSE_DATA", str(place / "mirror"))
    assert fetch(NAME) == mirrored


def test_then_the_cache_even_where_the_mirror_lacks_the_file(place, monkeypatch):
    cached = put(place / "cache" / NAME, CONTENT)
    (place / "mirror").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(place / "mirror"))
    assert fetch(NAME) == cached


def test_a_download_is_kept_and_not_repeated(place, monkeypatch, server):
    register(monkeypatch, entry(address(server)))
    path = fetch(NAME)
    assert path == place / "cache" / NAME
    assert path.read_bytes() == CONTENT
    assert fetch(NAME) == path
    assert len(server.requests) == 1


def test_a_damaged_download_is_an_error_with_both_sums_and_is_not_kept(place, monkeypatch, server):
    put(place / "served" / "one.txt", CONTENT[:-3])
    file = entry(address(server))
    register(monkeypatch, file)
    with pytest.raises(ChecksumError) as caught:
        fetch(NAME)
    message = str(caught.value)
    assert file.sha256 in message
    assert hashlib.sha256(CONTENT[:-3]).hexdigest() in message
    assert file.url in message
    assert not list((place / "cache").rglob("*.*"))


@pytest.mark.parametrize("folder", ["mirror", "cache"])
def test_a_damaged_file_is_an_error_with_both_sums_and_is_left_alone(place, monkeypatch, folder):
    damaged = put(place / folder / NAME, CONTENT + b"!")
    if folder == "mirror":
        monkeypatch.setenv("COURSE_DATA", str(place / folder))
    with pytest.raises(ChecksumError) as caught:
        fetch(NAME)
    message = str(caught.value)
    assert str(damaged) in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert hashlib.sha256(CONTENT + b"!").hexdigest() in message
    assert "replace or remove it" in message
    assert damaged.read_bytes() == CONTENT + b"!"


def test_without_a_network_the_error_says_what_to_do(place):
    with pytest.raises(DataUnavailable) as caught:
        fetch(NAME)
    message = str(caught.value)
    assert NAME in message
    assert "ConnectionError" in message
    assert "Set COURSE_DATA to the absolute path" in message


def test_a_file_that_the_server_lacks_is_unavailable(place, monkeypatch, server):
    register(monkeypatch, entry(address(server, "gone.txt")))
    with pytest.raises(DataUnavailable, match="HTTP 404"):
        fetch(NAME)


def test_a_file_without_checksum_is_never_downloaded(place, monkeypatch, server):
    register(monkeypatch, entry(address(server), content=None))
    put(place / "cache" / NAME, CONTENT)  # nor trusted because it lies in the cache
    with pytest.raises(DataUnavailable, match="its checksum is not known"):
        fetch(NAME)
    assert not server.requests


def test_a_file_without_checksum_is_read_from_a_mirror_with_a_warning(place, monkeypatch):
    mirrored = put(place / "mirror" / NAME, CONTENT)
    register(monkeypatch, entry("http://127.0.0.1:9/one.txt", content=None))
    monkeypatch.setenv("COURSE_DATA", str(place / "mirror"))
    with pytest.warns(UserWarning, match="no known checksum"):
        assert fetch(NAME) == mirrored


def test_an_unknown_name_suggests_one(place):
    with pytest.raises(ValueError, match=r"no public file is named 'poem/one.txt'.*poems/one.txt"):
        fetch("poem/one.txt")


@pytest.mark.parametrize("value", ["data", "./data", "~/data"])
def test_a_relative_mirror_is_an_error(place, monkeypatch, value):
    put(place / "cache" / NAME, CONTENT)  # no fallback, although the file is there
    monkeypatch.chdir(place)
    (place / "data").mkdir()
    monkeypatch.setenv("COURSE_DATA", value)
    with pytest.raises(ValueError, match="COURSE_DATA must be an absolute path"):
        fetch(NAME)


def test_a_mirror_that_is_no_folder_is_an_error(place, monkeypatch):
    put(place / "cache" / NAME, CONTENT)
    monkeypatch.setenv("COURSE_DATA", str(place / "nowhere"))
    with pytest.raises(ValueError, match="COURSE_DATA is not a folder"):
        fetch(NAME)
    monkeypatch.setenv("COURSE_DATA", str(put(place / "file", b"")))
    with pytest.raises(ValueError, match="COURSE_DATA is not a folder"):
        fetch(NAME)


def test_folders_by_default(monkeypatch):
    monkeypatch.setenv("COURSE_DATA", "")
    monkeypatch.delenv("COURSE_CACHE", raising=False)
    assert data_folder() is None
    assert cache_folder().name == "relational-course"


def test_a_cache_that_cannot_be_is_said(place, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(put(place / "file", b"")))
    with pytest.raises(ValueError, match="COURSE_CACHE is not a folder"):
        fetch(NAME)


def test_the_registry_is_whole():
    files = registry()
    folders = {name.split("/")[0] for name in files}
    assert folders == {"planetoid", "zinc", "text", "pendigits", "mnist"}
    for name, file in files.items():
        assert file.name == name
        assert file.url.startswith("https://")
        assert file.url.endswith(name.split("/")[1]) or name == "text/tinyshakespeare.txt"
        assert file.license
        assert file.citation
        assert (file.sha256 is None) == (file.size is None)
        assert file.sha256 is None or len(file.sha256) == 64
    unpinned = {name for name, file in files.items() if file.sha256 is None}
    assert unpinned == {name for name in files if "pubmed" in name} | {"zinc/train.txt"}


def test_the_mirror_holds_every_file_with_a_checksum(monkeypatch):
    """But for MNIST's, which need not be there: nothing but a benchmark reads them."""
    mirror = require("data")
    for name, file in registry().items():
        if file.sha256 is not None and ((mirror / name).is_file() or not name.startswith("mnist/")):
            assert fetch(name) == mirror / name
            assert (mirror / name).stat().st_size == file.size
