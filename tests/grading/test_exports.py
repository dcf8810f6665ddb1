"""What an export may try: names that lead elsewhere, links, bombs, damage. Nothing outside is written or read."""

import os
import stat
import struct
import zipfile

import pytest

from course_lib.grading import exports
from course_lib.grading.collect import IGNORED, UNMATCHED
from course_lib.grading.exports import ExportError
from course_lib.grading.places import write_whole
from tests.grading.desk import NB, UNIT, Desk, contents, make_zip, reasons


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_links_and_pipes_of_a_folder_are_not_followed(desk, tmp_path):
    source = tmp_path / "source"
    write_whole(tmp_path / "secret.ipynb", "secret")
    source.mkdir()
    (source / "ada.ipynb").symlink_to(tmp_path / "secret.ipynb")
    (source / "bob").symlink_to(tmp_path)
    os.mkfifo(source / "jose.ipynb")
    done = desk.run(source, "folder")
    assert not done.matched and done.entries == 3
    assert reasons(done).count("it is a link or no plain file") == 3
    assert b"secret" not in contents(desk.out).values()


def test_source_and_target_must_be_apart(desk, tmp_path):
    for source in (tmp_path, desk.out / "ada"):
        source.mkdir(parents=True, exist_ok=True)
        with pytest.raises(ExportError, match="lie in each other"):
            desk.run(source, "folder")


@pytest.mark.parametrize(
    "name",
    [
        f"../../lovelaceada_111_1_{NB}",
        f"/lovelaceada_111_1_{NB}",
        f"C:/lovelaceada_111_1_{NB}",
        f"..\\..\\lovelaceada_111_1_{NB}",
        f"lovelaceada_111_1_..\\{NB}",
        f"lovelaceada_111_1_\x1b[2J{NB}",
        "lovelaceada_111_1_" + "x" * 300 + ".ipynb",
    ],
)
def test_unsafe_names_write_nothing_outside(desk, tmp_path, name):
    done = desk.run([(name, "x")])
    assert not done.matched
    outside = {p.name for p in tmp_path.iterdir()}
    assert outside == {"export.zip", "out"}
    (kept,) = (desk.out / "_unmatched").iterdir()
    assert kept.read_text() == "x" and kept.name.startswith(f"{UNIT}--")
    assert all(c.isprintable() for line in done.lines for c in line.file + line.note)


def test_harmless_oddities_are_only_text(desk):
    desk.run([("lovelaceada_111_1_..%2f..%2f=1+1 'q\" .ipynb", "x")])
    assert desk.submission("ada") == "x"


def test_a_link_in_a_zip_is_refused(desk, tmp_path):
    path = tmp_path / "links.zip"
    make_zip(path, [(f"lovelaceada_111_1_{NB}", "/etc/passwd")], mode=stat.S_IFLNK | 0o777)
    done = desk.run(path)
    assert "link" in reasons(done) and "still in the export only" in reasons(done)


def test_encrypted_and_damaged_files_are_refused_one_by_one(desk, tmp_path):
    path = make_zip(
        tmp_path / "bad.zip",
        [(f"lovelaceada_111_1_{NB}", "a" * 99), (f"obrienbob_222_2_{NB}", "b" * 99), ("x", "")],
    )
    raw = bytearray(path.read_bytes())
    second = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1)
    raw[second + 8] |= 1  # encrypted
    raw[raw.index(b"PK\x03\x04") + 30 + len(f"lovelaceada_111_1_{NB}") + 2] ^= 0xFF
    path.write_bytes(raw)
    done = desk.run(path)
    assert "damaged" in reasons(done) and "encrypted" in reasons(done) and not done.matched


def test_other_packing_methods_are_refused(desk, tmp_path):
    with zipfile.ZipFile(tmp_path / "bz.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(f"lovelaceada_111_1_{NB}", "x")
    assert "method" in reasons(desk.run(tmp_path / "bz.zip"))


def test_a_bomb_is_cut_at_the_limit(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "LARGEST", 3 << 20)
    path = make_zip(tmp_path / "bomb.zip", [(f"lovelaceada_111_1_{NB}", b"0" * (5 << 20))])
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02") + 24
    raw[place : place + 4] = struct.pack("<I", 10)  # it lies about its size
    path.write_bytes(raw)
    done = desk.run(path)
    assert not done.matched
    assert sum(map(len, contents(desk.out).values())) < 10_000
    path = make_zip(tmp_path / "big.zip", [(f"lovelaceada_111_1_{NB}", b"0" * (5 << 20))])
    assert "larger than 3 MiB" in reasons(desk.run(path))


def test_no_more_is_unpacked_than_the_limit(tmp_path):
    class Endless:
        blocks = 0

        def read(self, size):
            self.blocks += 1
            return b"0" * size if self.blocks < 99 else b""

    stream = Endless()
    entry, _ = exports._copy(stream, "x", tmp_path / "0")
    assert entry.copy is None and stream.blocks <= exports.LARGEST // exports.MEGABYTE + 1
    assert list(tmp_path.iterdir()) == []


def test_the_limits_of_the_whole(desk, monkeypatch):
    files = [(f"x{n}", b"0" * 600) for n in range(4)]
    monkeypatch.setattr(exports, "ENTRIES", 3)
    with pytest.raises(ExportError, match="4 files"):
        desk.run(files)
    monkeypatch.setattr(exports, "ENTRIES", 9)
    monkeypatch.setattr(exports, "ALTOGETHER", 2000)
    with pytest.raises(ExportError, match="unpacks to more"):
        desk.run(files)


def test_what_is_no_zip_is_said(desk, tmp_path):
    (tmp_path / "no.zip").write_text("PK\x03\x04 hello")
    with pytest.raises(ExportError, match="cannot be read as a zip"):
        desk.run(tmp_path / "no.zip")
    with pytest.raises(ExportError, match="not there"):
        desk.run(tmp_path / "nowhere.zip")


def test_clutter_is_ignored_and_folders_do_not_count(desk):
    done = desk.run(
        [
            ("ada/", ""),
            (f"ada/{NB}", "x"),
            (f"__MACOSX/ada/._{NB}", "m"),
            (f"ada/.ipynb_checkpoints/{UNIT}-checkpoint.ipynb", "old"),
            ("ada/.DS_Store", "d"),
            (f"ada/._{NB}", "r"),
        ],
        "folder",
    )
    assert done.matched == 1 and len(done.of(IGNORED)) == 4 and not done.of(UNMATCHED)
    assert desk.submission("ada") == "x"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_two_files(desk):
    name = f"lovelaceada_111_1_{NB}"
    assert desk.run([(name, "x"), (name, "x")]).matched == 1
    assert len(desk.run([(name, "x"), (name, "y")]).of(UNMATCHED)) == 2


def test_the_good_file_of_another_student_is_not_touched_by_a_bad_one(desk):
    done = desk.run([(f"lovelaceada_111_1_{NB}", "x"), (f"../obrienbob_222_1_{NB}", "y")])
    assert done.matched == 1 and desk.submission("ada") == "x"


def test_names_in_utf8_without_the_mark_are_read(desk, tmp_path):
    path = make_zip(tmp_path / "mac.zip", [("José Peña_1_assignsubmission_file_/lab.ipynb", "j")])
    raw = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        raw[raw.index(mark) + place] &= ~0x08
    path.write_bytes(raw)
    assert desk.run(path, "moodle").matched == 1
