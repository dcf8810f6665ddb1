"""Text as numbers: tiny Shakespeare, and a generated play in the same characters as its twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

from course_lib.data.array_pickle import MalformedFile
from course_lib.data.fetch import DataUnavailable, fetch

# The 65 characters of tiny Shakespeare, in the order of their code points.
CHARACTERS = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TWIN_LENGTH = 400_000

# The grammar of the twin: a sentence is a template, a word in capitals any word of its kind.
SENTENCES = tuple(
    """
    ART ADJ NOUN VERBS ART NOUN
    my NOUN VERBS thy ADJ NOUN
    ART NOUN PREP ART NOUN VERBS me
    I VERB thee, ADJ NOUN
    I VERB not ART NOUN PREP thy NOUN
    thou art ADJ, and ART NOUN is ADJ
    if thou VERB me, I VERB thy NOUN
    let ART NOUN VERB ART ADJ NOUN
    what NOUN is this, that VERBS my NOUN
    and yet ART ADJ NOUN VERBS PREP ART NOUN
    PREP ART ADJ NOUN I VERB ART NOUN
    we VERB no NOUN; we VERB ART NOUN
    come, NAME, VERB ART NOUN
    O ADJ NAME, 'tis ART ADJ NOUN
    """.strip().splitlines()
)
LISTS = {
    "ART": "the a this that his her our your no every",
    "ADJ": (
        "gentle cruel noble false bloody quiet golden weary gracious bitter proud sweet hollow "
        "jealous zealous ancient mortal foolish wretched exiled quick vexed"
    ),
    "NOUN": (
        "king queen crown sword heart night morrow father brother daughter grave kingdom soldier "
        "tongue villain shadow fortune garden question oath castle widow jewel zeal ox prince "
        "mother battle sorrow thunder winter truth knave physic judge exile throne"
    ),
    "VERB": (
        "love fear follow bury crown forgive banish know kiss question summon vex praise forget "
        "betray serve behold quench adjure seize"
    ),
    "PREP": "upon beneath beyond within against before without for",
    "NAME": (
        "Alonzo Beatrix Crispin Dorcas Edgar Felix Gloria Hugo Isolde Julian Katrina Lavinia Magnus "
        "Nerissa Octavia Pericles Quintus Rosamund Silvius Tamora Ursula Viola Walter Xanthe Yorick "
        "Zenobia"
    ),
}
WORDS = {kind: tuple(words.split()) for kind, words in LISTS.items()}
ASIDES = ("Exeunt all, &c.", "Here are $ coins.", "Enter 3 soldiers.")  # the rare characters
ENDINGS = "....,;:!?"


@dataclass(frozen=True)
class Corpus:
    """A text as whole numbers, its first part to train on and its last to validate.

    Args:
        train, validation: int64 [N], places in `characters`.
        characters: the alphabet, in the order of code points; its length is the number of classes.
        name, source: what it is, and "real" or "twin".
    """

    train: Tensor
    validation: Tensor
    characters: str
    name: str
    source: str

    def encode(self, text: str) -> Tensor:
        """int64 [len(text)]. Raises ValueError, see `encode`."""
        return encode(text, self.characters)

    def decode(self, tokens: Tensor | Sequence[int]) -> str:
        """The text of whole numbers [N]. Raises ValueError, see `decode`."""
        return decode(tokens, self.characters)


def tiny_shakespeare(*, validation: float = 0.1, seed: int = 0) -> Corpus:
    """Forty thousand lines of Shakespeare, or a generated play where the file cannot be had.

    Prints one line that begins with "real:" or "twin:". The last share `validation` of the text is
    for validation. The twin (`generated_play`) has the same 65 characters, speeches of the same
    form, and less to say; `seed` selects it, and has no effect on the real text.

    Raises ValueError for a share that is not between 0 and 1 or a wrong $COURSE_DATA, and
    ChecksumError or MalformedFile for a file that is there but damaged.

    Source: Karpathy, char-rnn, 2015.
    """
    if not 0 < validation < 1:
        raise ValueError(f"validation must lie between 0 and 1, got {validation}")
    try:
        text = fetch("text/tinyshakespeare.txt").read_bytes()
    except DataUnavailable:
        text, source = generated_play(seed=seed).encode("ascii"), "twin"
        remark = "a generated play; for Shakespeare's own set COURSE_DATA or connect"
    else:
        source, remark = "real", "tiny Shakespeare"
    tokens = _tokens(text, CHARACTERS)
    cut = len(tokens) - round(validation * len(tokens))
    print(
        f"{source}: {remark} ({cut:,} characters to train, {len(tokens) - cut:,} to validate, "
        f"{len(CHARACTERS)} different)"
    )
    return Corpus(tokens[:cut], tokens[cut:], CHARACTERS, "tiny Shakespeare", source)


def encode(text: str, characters: str = CHARACTERS) -> Tensor:
    """The places of the characters of `text` in `characters`: int64 [len(text)].

    Raises ValueError for a character that is not among them.
    """
    place = {character: i for i, character in enumerate(characters)}
    unknown = sorted(set(text) - set(place))
    if unknown:
        raise ValueError(
            f"the text holds {unknown[0]!r}, which is not among the {len(characters)} characters: "
            "replace it or encode with another alphabet"
        )
    return torch.tensor([place[character] for character in text], dtype=torch.int64)


def decode(tokens: Tensor | Sequence[int], characters: str = CHARACTERS) -> str:
    """The text of `tokens` [N]: the inverse of `encode`.

    Raises ValueError for tokens that are not whole numbers [N] in 0..len(characters) - 1.
    """
    values = torch.as_tensor(tokens)
    if values.numel() == 0:
        return ""
    if values.dim() != 1 or values.is_floating_point():
        raise ValueError(
            f"tokens must be whole numbers [N], got {values.dtype} {list(values.shape)}: "
            "decode one text at a time"
        )
    if not 0 <= int(values.min()) <= int(values.max()) < len(characters):
        raise ValueError(
            f"tokens must lie in 0..{len(characters) - 1}, got {values.min()}..{values.max()}"
        )
    return "".join(characters[i] for i in values.tolist())


def generated_play(length: int = TWIN_LENGTH, *, seed: int = 0) -> str:
    """A play of `length` characters from a small grammar: names, then what they say.

    Every word belongs to a kind and every sentence to one of a few templates, so a model finds
    spelling, then words, then word order to learn. All 65 characters occur (from about 50,000 on).

    Raises ValueError for a length below 1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    random, parts, written = Random(seed), [], 0
    while written < length:
        speech = _speech(random)
        parts.append(speech)
        written += len(speech)
    return "".join(parts)[:length]


def _speech(random: Random) -> str:
    """A name, a colon, and one to four lines."""
    name = random.choice(WORDS["NAME"])
    lines = [_sentence(random) for _ in range(random.randint(1, 4))]
    if random.random() < 0.02:
        lines.append(random.choice(ASIDES))
    shown = name.upper() if random.random() < 0.5 else name
    return f"{shown}:\n" + "\n".join(lines) + "\n\n"


def _sentence(random: Random) -> str:
    """A template with its kinds replaced by words; now and then two words joined by a hyphen."""
    found = []
    for part in random.choice(SENTENCES).split():
        kind, mark = part.rstrip(",;"), part[len(part.rstrip(",;")) :]
        verbs = kind == "VERBS"
        word = random.choice(WORDS["VERB" if verbs else kind]) if verbs or kind in WORDS else kind
        if verbs:
            word += "es" if word.endswith(("s", "x", "sh", "ch")) else "s"
        if kind == "ADJ" and random.random() < 0.05:
            word = f"{word}-{random.choice(WORDS['ADJ'])}"
        found.append(word + mark)
    line = " ".join(found)
    return line[0].upper() + line[1:] + random.choice(ENDINGS)


def _tokens(text: bytes, characters: str) -> Tensor:
    """`encode` for a long ASCII text, without a loop over it."""
    table = np.full(256, -1, dtype=np.int64)
    table[np.frombuffer(characters.encode("ascii"), dtype=np.uint8)] = np.arange(len(characters))
    tokens = table[np.frombuffer(text, dtype=np.uint8)]
    if (tokens < 0).any():
        raise MalformedFile("the text holds a character that is not among its 65")
    return torch.from_numpy(tokens)
