"""Forged frames. The answers are right; what is sent of them is not what the trusted side takes.

`forge(tree, tensors, honest)` stands in for the worker's own frame of a value; `honest()` is that frame. That the same
machinery earns the points where it sends an honest frame shows that each forgery arrives.
"""

from textwrap import dedent

from tests.grading.attacks.attack import ENDED, GRADED, RAISED, RIGHT, TIMEOUT, Attack, answer

MACHINERY = """
import json
import struct
import sys
import threading
import time

worker = sys.modules["worker"]
plain = worker.frame


def held(name):
    frame = sys._getframe()
    while frame.f_code.co_name != "serve":
        frame = frame.f_back
    return frame.f_locals[name]


def packed(control, body=b""):
    if not isinstance(control, bytes):
        control = json.dumps(control).encode()
    return struct.pack("<II", len(control), len(body)) + control + body


def header(entries, data, size=None):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(tensor, **more):
    size = tensor.numel() * tensor.element_size()
    return {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [0, size], **more}


def text(value):
    return json.dumps(value).encode()


def data(tensor):
    return tensor.detach().numpy().tobytes()


def frame(control, tensors):
    if "value" not in control or not tensors:
        return plain(control, tensors)
    return forge(control, tensors[0], lambda: plain(control, tensors))


worker.frame = frame


SAID = {"kind": "E", "text": "", "cell": "gin_aggregate", "line": 1, "function": ""}


def forge(control, value, honest):
"""
MANY_HASHES = '{"dict": [[n * (2**61 - 1), 0] for n in range(2000)]}'
ZEROS = '{n: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(%d)}'


def forged(name: str, lines: str, statuses=ENDED, right: bool = False) -> Attack:
    """An attack whose frames of values are what `lines` return."""
    body = "\n".join(f"    {line}" for line in dedent(lines).strip().splitlines())
    return Attack(name, answer(top=MACHINERY + body, gives=RIGHT), right=right, statuses=statuses)


def body(name: str, expression: str, **more) -> Attack:
    """A frame whose control is right and whose body is `expression`."""
    return forged(f"a body with {name}", f"return packed(control, {expression})", **more)


def control(name: str, expression: str, **more) -> Attack:
    """A frame whose control is `expression` and whose body is right."""
    lines = f"""
        whole = honest()
        return packed({expression}, whole[8 + struct.unpack("<I", whole[:4])[0]:])
    """
    return forged(f"a control with {name}", lines, **more)


def bare(name: str, expression: str, **more) -> Attack:
    """A frame without a body."""
    return forged(f"a control with {name}", f"return packed({expression})", **more)


def tree(name: str, expression: str, **more) -> Attack:
    """A frame without a body, whose value is `expression`."""
    return bare(name, f'{{**control, "value": {expression}}}', **more)


def raised(what: str) -> str:
    """A control that tells of an exception."""
    return f'{{"token": control["token"], "raised": {{{what}}}}}'


BODIES = [
    body(
        "its own honest header",
        'header({"0": entry(value)}, data(value))',
        statuses=GRADED,
        right=True,
    ),
    body("a header of 1 MB", f'header({ZEROS % 18_000}, b"")'),
    body("300 tensors", f'header({ZEROS % 300}, b"")'),
    body(
        "a shape of 200,000 zeros", 'header({"0": entry(value, shape=[0] * 200_000)}, data(value))'
    ),
    body(
        "a shape of 9 zeros", 'header({"0": entry(value, shape=[0] * 9, data_offsets=[0, 0])}, b"")'
    ),
    body(
        "a shape whose product overflows",
        'header({"0": entry(value, shape=[2**31 - 1] * 7 + [0], data_offsets=[0, 0])}, b"")',
    ),
    body("a shape of -1", 'header({"0": entry(value, shape=[-1])}, data(value))'),
    body("a shape of 1.0", 'header({"0": entry(value, shape=[1.0])}, data(value))'),
    body(
        "a shape that is too large",
        'header({"0": entry(value, shape=[2**30, 2**30])}, data(value))',
    ),
    body("offsets that overlap", 'header({"0": entry(value), "1": entry(value)}, data(value))'),
    body("offsets from the end", 'header({"0": entry(value, data_offsets=[-8, 0])}, data(value))'),
    body("offsets that are text", 'header({"0": entry(value, data_offsets="ab")}, data(value))'),
    body("another name", 'header({"x": entry(value)}, data(value))'),
    body(
        "a further tensor",
        'header({"0": entry(value), "1": entry(value, shape=[0], data_offsets=[4 * value.numel()] * 2)}, data(value))',
    ),
    body("metadata", 'header({"__metadata__": {}, "0": entry(value)}, data(value))'),
    body(
        "one entry twice",
        'header(b\'{"0": %s, "0": %s}\' % (text(entry(value, shape=[0])), text(entry(value))), data(value))',
    ),
    body("a dtype that is none", 'header({"0": entry(value, dtype="F33")}, data(value))'),
    body("a dtype that is a list", 'header({"0": entry(value, dtype=["F32"])}, data(value))'),
    body(
        "float64 where the bytes are float32",
        'header({"0": entry(value, dtype="F64")}, data(value))',
    ),
    body(
        "integers of the right bytes",
        'header({"0": entry(value, dtype="I32")}, data(value))',
        statuses=GRADED,
    ),
    body(
        "booleans of 7",
        'header({"0": entry(value, dtype="BOOL", data_offsets=[0, value.numel()])}, b"\\7" * value.numel())',
    ),
    body(
        "NaN everywhere",
        'header({"0": entry(value)}, struct.pack("<f", float("nan")) * value.numel())',
        statuses=GRADED,
    ),
    body("a header that is longer than all", 'header({"0": entry(value)}, data(value), 2**40)'),
    body("a header of negative length", 'header({"0": entry(value)}, data(value), 2**64 - 1)'),
    body("7 bytes", 'b"1234567"'),
    body("bytes at the end", 'header({"0": entry(value)}, data(value) + b"x")'),
    body("a header nested 30,000 deep", 'header(b"[" * 30_000 + b"]" * 30_000, b"")'),
    body("a header that is not UTF-8", 'header(b"\\xff\\xfe{}", b"")'),
    body("a pickle", '__import__("pickle").dumps(print)'),
    body("nothing", 'b""'),
]
CONTROLS = [
    control("what the worker writes", "control", statuses=GRADED, right=True),
    control("a further key", '{**control, "earned": 1}'),
    control("another token", '{**control, "token": "0" * 32}'),
    control("a list as its token", '{**control, "token": [control["token"]]}'),
    control("no token", '{"value": control["value"]}'),
    control("value and exception", '{**control, "raised": None}'),
    control("tensor number 1", '{**control, "value": {"tensor": 1}}'),
    control("tensor number -1", '{**control, "value": {"tensor": -1}}'),
    control("tensor number true", '{**control, "value": {"tensor": True}}'),
    control("a generator", '{**control, "value": {"generator": 0}}'),
    bare("half an exception", raised('"kind": "ValueError"')),
    bare("an exception whose line is true", raised('**SAID, "line": True')),
    bare("an exception on line 10**40", raised('**SAID, "line": 10**40'), statuses=RAISED),
    bare("an exception as the grader's", raised('**SAID, "kind": "SandboxError"'), statuses=RAISED),
    tree("an object of ours", '{"object": 0}'),
    tree("an object with a long name", '{"object": "x" * 10_000}', statuses=GRADED),
    tree("a number that is no text", '{"float": 1e999}'),
    tree("a number beyond all", '{"float": "0x1p999999"}'),
    tree("lists as keys", '{"dict": [[{"list": []}, 1]]}'),
    tree("many equal hashes", MANY_HASHES),
    tree("a number of 4000 digits", '{"int": 10**4000}'),
    tree("depth 17", 'json.loads("[" * 17 + "]" * 17)'),
    tree("half of a surrogate pair", '"\\ud800"', statuses=GRADED),
    tree("100 KB", '"x" * 100_000'),
    bare("an integer of 5000 digits", 'b\'{"value": 1\' + b"0" * 5000 + b"}"'),
    bare("NaN", "b'{\"token\": NaN}'"),
    bare("1e999", "b'{\"token\": 1e999}'"),
    bare("depth 30,000", 'b"[" * 30_000 + b"]" * 30_000'),
    bare("bytes that are not UTF-8", 'b"\\xff\\xfe"'),
    bare("nothing", 'b""'),
]
FRAMES = [
    forged("a length of 4 GB", 'return struct.pack("<II", 2**32 - 1, 0)'),
    forged("a body of 4 GB", 'return struct.pack("<II", 2, 2**32 - 1) + b"{}"'),
    forged(
        "58 MB of empty tensors",
        'one = b\'"0": \' + text(entry(value, shape=[0])) + b", "\nreturn packed(control, header(one * 10**6, b""))',
    ),
    forged("half a frame, then silence", "return honest()[:-1]", statuses=TIMEOUT),
    forged(
        "a frame in drops",
        'for byte in honest():\n    held("connection").sendall(bytes([byte]))\n    time.sleep(0.05)\nreturn b""',
        statuses=TIMEOUT,
    ),
    forged("a frame and a byte", 'return honest() + b"x"'),
    forged("a frame twice", "return honest() + honest()"),
    forged("200 MB after a frame", "return honest() + bytes(200_000_000)"),
    forged(
        "answers to what will be asked",
        'return honest() + packed({"token": "0" * 32, "value": True})',
    ),
    forged(
        "a thread that speaks later",
        'threading.Timer(0.01, held("connection").sendall, [b"\\xff" * 8]).start()\ntime.sleep(0.02)\nreturn honest()',
    ),
    forged(
        "the line shut down",
        'import socket\nheld("connection").shutdown(socket.SHUT_WR)\nreturn honest()',
    ),
    forged(
        "another file in the line's place",
        'import os\nos.dup2(os.open("/dev/null", os.O_RDWR), held("connection").fileno())\nreturn honest()',
    ),
    forged(
        "descriptors along with an honest frame",
        'import socket\nsocket.send_fds(held("connection"), [honest()], [0, 1, 2])\nreturn b""',
        statuses=GRADED,
        right=True,
    ),
]
EARLY = """
    import json, struct, sys

    frame = sys._getframe()
    while frame.f_code.co_name != "serve":
        frame = frame.f_back
    program = frame.f_locals["program"]
    text = json.dumps({"token": program["token"], "errors": [], "there": True}).encode()
    frame.f_locals["connection"].sendall(struct.pack("<II", len(text), 0) + text)
"""
ATTACKS = [
    *BODIES,
    *CONTROLS,
    *FRAMES,
    Attack("a reply before the question", answer(top=EARLY, gives=RIGHT), statuses=ENDED),
]
