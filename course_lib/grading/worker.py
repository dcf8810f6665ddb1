"""The process that runs a student's code: it holds that code, the questions put to it, and nothing else.

This file is run by its path, inside the sandbox, and imports nothing of the course. `serve` reads a program (the
student's statements), runs it, and answers requests until the other side hangs up:

    frame    = length of control, length of body (two little-endian uint32), control (JSON), body (safetensors)
    program  = {"token", "future", "chunks": [{"cell", "line", "source"}], "answer", "seed"}
    request  = {"token", "op": "call" | "attr", "on", "name", "result", "args", "kwargs", "probe", "wrt", "parameters"}
    reply    = {"token", "value": tree} or {"token", "raised": {...}}

A tree writes a nested value as JSON; tensors are numbers that point into the body. `pack`, `unpack` and the two frame
functions serve the trusted side as well, which looks at every frame before it believes it (wire.py).
"""

from __future__ import annotations
import __future__ as futures

import json
import random
import struct
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors

HEAD = struct.Struct("<II")
DTYPES = {
    **{getattr(torch, f"int{bits}"): f"I{bits}" for bits in (8, 16, 32, 64)},
    **{getattr(torch, f"float{bits}"): f"F{bits}" for bits in (16, 32, 64)},
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
}
STUDENT = "<answer: "  # how the file names of the student's code begin
_dumps, _loads = json.dumps, json.loads
_Tensor, _Generator = torch.Tensor, torch.Generator


class NotPlain(TypeError):
    """A value that does not travel: not a tensor, number, string or container of those."""


# values ------------------------------------------------------------------------------------------


def pack(value: Any, tensors: list[torch.Tensor]) -> Any:
    """`value` as a JSON tree; its tensors are appended to `tensors`. Raises NotPlain for anything else."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return {"int": int(value)} if type(value) is not int else value
    if isinstance(value, float):
        return {"float": float(value).hex()}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        value = torch.from_numpy(np.array(value))
    if isinstance(value, _Tensor):
        tensors.append(_plain(value))
        return {"tensor": len(tensors) - 1}
    if isinstance(value, _Generator):
        tensors.append(value.get_state())
        return {"generator": len(tensors) - 1}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [pack(v, tensors) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(k, tensors), pack(v, tensors)] for k, v in value.items()]}
    raise NotPlain(type(value).__name__)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A dense, contiguous, detached copy on the CPU, of class torch.Tensor itself."""
    with torch._C.DisableTorchFunctionSubclass():
        if tensor.is_meta:
            raise ValueError("the result is a meta tensor, which holds no values")
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        tensor = tensor.as_subclass(_Tensor).detach()
        return tensor.cpu().resolve_conj().resolve_neg().contiguous().clone()


def unpack(tree: Any, tensors: list[torch.Tensor], objects: Any = None) -> Any:
    """The value that `pack` wrote; `{"object": n}` becomes objects[n]. Raises ValueError for no tree."""
    if tree is None or isinstance(tree, (bool, str, int)):
        return tree
    if isinstance(tree, dict) and len(tree) == 1:
        ((kind, inside),) = tree.items()
        if kind == "int" and type(inside) is int:
            return inside
        if kind == "float" and isinstance(inside, str):
            return float.fromhex(inside)
        if kind == "tensor":
            return tensors[_index(inside, tensors)]
        if kind == "generator":
            generator = _Generator()
            generator.set_state(tensors[_index(inside, tensors)])
            return generator
        if kind in ("tuple", "list") and isinstance(inside, list):
            made = [unpack(v, tensors, objects) for v in inside]
            return tuple(made) if kind == "tuple" else made
        if kind == "dict" and isinstance(inside, list):
            return {unpack(k, tensors): unpack(v, tensors, objects) for k, v in inside}
        if kind == "object" and objects is not None:
            return objects[inside]
    raise ValueError("this is no value")


def _index(number: Any, tensors: list) -> int:
    if type(number) is not int or not 0 <= number < len(tensors):
        raise ValueError("a tensor is named that is not there")
    return number


# frames ------------------------------------------------------------------------------------------


def _save(tensors: list[torch.Tensor]) -> bytes:
    """What safetensors.torch.save writes; for small tensors that takes three times as long, and it is done often."""
    header, parts, end = {}, [], 0
    for number, tensor in enumerate(tensors):
        flat = tensor.flatten().clone(memory_format=torch.contiguous_format)
        data = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
        place = [end, end + len(data)]
        kind, shape = DTYPES[tensor.dtype], list(tensor.shape)
        header[str(number)] = {"dtype": kind, "shape": shape, "data_offsets": place}
        parts.append(data)
        end = place[1]
    text = _dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def frame(control: dict, tensors: list[torch.Tensor]) -> bytes:
    """One message: control as JSON, tensors as safetensors under the names "0", "1", ..."""
    text = _dumps(control, allow_nan=False).encode()
    body = _save(tensors) if tensors else b""
    return HEAD.pack(len(text), len(body)) + text + body


def _receive(connection: Any, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise SystemExit(0)  # the other side has what it wanted
        parts += part
    return bytes(parts)


def _next_frame(connection: Any) -> tuple[dict, list[torch.Tensor]]:
    control, body = HEAD.unpack(_receive(connection, HEAD.size))
    message = _loads(_receive(connection, control))
    found = load_tensors(_receive(connection, body)) if body else {}
    return message, [found[str(i)] for i in range(len(found))]


# running -----------------------------------------------------------------------------------------


def _where(error: BaseException) -> tuple[str, int, str]:
    """Cell, line and function of the last frame in the student's own code."""
    found, trace = ("", 0, ""), error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(STUDENT):
            found = (name[len(STUDENT) : -1], trace.tb_lineno, trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and not found[1]:
        found = ("", int(error.lineno or 0), "")
    return found


def _told(error: BaseException) -> dict:
    """What is said of an exception: type, text, where."""
    cell, line, function = _where(error)
    text = " ".join(str(error).split())[:200]
    memory = isinstance(error, MemoryError) or "can't allocate memory" in text
    kind = "MemoryError" if memory else str(type(error).__name__)[:80]
    return {"kind": kind, "text": text, "cell": cell, "line": line, "function": function[:80]}


def run_program(program: dict) -> tuple[dict, list[dict]]:
    """Run the chunks in order in one namespace. An error in one stays there: (namespace, errors)."""
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    flags = 0
    for name in program.get("future", ()):
        flags |= getattr(futures, name).compiler_flag
    errors = []
    for chunk in program["chunks"]:
        try:
            file = f"{STUDENT}{chunk['cell']}>"
            code = compile(chunk["source"], file, "exec", flags=flags, dont_inherit=True)
            exec(code, space)
        except BaseException as error:
            errors.append({**_told(error), "cell": str(chunk["cell"])[:80]})
    return space, errors


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(
        seed
    )  # torch.manual_seed also looks for accelerators: 200 us
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - students may use numpy's global generator


def _gradients(result: Any, probe: torch.Tensor, leaves: list) -> list:
    """Gradients of <probe, result> with respect to the leaves; None where none arrives.

    All parts of a tuple count, in one row.
    """
    if type(result) in (tuple, list) and result and all(isinstance(r, _Tensor) for r in result):
        result = torch.cat([part.reshape(-1) for part in result])
    if not isinstance(result, _Tensor):
        raise NotPlain(type(result).__name__)
    there = [leaf for leaf in leaves if leaf is not None]
    try:
        found = torch.autograd.grad((result * probe).sum(), there, allow_unused=True)
    except Exception as error:
        if "inplace" in str(error):  # torch says which: no graph was cut
            raise
        return [None] * len(leaves)
    gradients = iter(found)
    return [None if leaf is None else next(gradients) for leaf in leaves]


def _own_parameter(owner: Any, name: str) -> torch.Tensor | None:
    value = getattr(owner, name, None)
    return value if isinstance(value, _Tensor) and value.requires_grad else None


def perform(request: dict, tensors: list, objects: dict[int, Any], seed: int) -> Any:
    """Carry out one request; returns what the student's code gave. Object 0 is the answer itself.

    In float32 and with gradients on, as in the lab, whatever the answer's cell or an earlier call has set.
    """
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    target = objects[request["on"]]
    if request["op"] == "attr":
        return getattr(target, request["name"])
    if request["on"] == 0:
        _seed(seed)
    args = list(unpack(request["args"], tensors, objects))
    kwargs = unpack(request["kwargs"], tensors, objects)
    wrt = request.get("wrt")
    if wrt is not None:
        args[wrt] = args[wrt].requires_grad_(True)
    call = getattr(target, request["name"]) if request["name"] else target
    result = call(*args, **kwargs)
    if request.get("probe") is None:
        return result
    leaves = [_own_parameter(target, n) for n in request["parameters"]] if wrt is None else None
    probe = tensors[request["probe"]]
    return _gradients(result, probe, [args[wrt]] if leaves is None else leaves)


def _reply(token: str, request: dict, tensors: list, objects: dict, seed: int) -> bytes:
    sent: list[torch.Tensor] = []
    try:
        value = perform(request, tensors, objects, seed)
        try:
            tree = pack(value, sent)
        except NotPlain as error:
            objects[request["result"]] = value
            tree, sent = {"object": str(error)[:80]}, []
        else:
            objects[request["result"]] = value
        return frame({"token": token, "value": tree}, sent)
    except BaseException as error:
        return frame({"token": token, "raised": _told(error)}, [])


def serve(connection: Any) -> None:
    """Read a program from the socket, run it, and answer requests until the other side hangs up."""
    program, _ = _next_frame(connection)
    _seed(program["seed"])
    space, errors = run_program(program)
    ready = {"token": program["token"], "errors": errors[:20], "there": program["answer"] in space}
    connection.sendall(frame(ready, []))
    objects = {0: space.get(program["answer"])}
    while True:
        request, tensors = _next_frame(connection)
        connection.sendall(_reply(request["token"], request, tensors, objects, program["seed"]))
