# SPDX-License-Identifier: Apache-2.0
"""Text of every kind, the same for the same seed: what a tokenizer must get right, or be fast on."""

import pathlib
import random
import unicodedata

BLOCKS = [
    (0x00A1, 0x024F), (0x0250, 0x02AF), (0x0370, 0x03FF), (0x0400, 0x04FF), (0x0530, 0x058F), (0x0590, 0x05FF),
    (0x0600, 0x06FF), (0x0900, 0x097F), (0x0980, 0x09FF), (0x0B80, 0x0BFF), (0x0E00, 0x0E7F), (0x0F00, 0x0FFF),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x1780, 0x17FF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20CF), (0x2150, 0x218F), (0x2190, 0x21FF), (0x2200, 0x22FF),
    (0x2460, 0x24FF), (0x2500, 0x259F), (0x2600, 0x27BF), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3130, 0x318F),
    (0xA000, 0xA48F), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE70, 0xFEFF), (0xFF00, 0xFFEF),
    (0x10330, 0x1034F), (0x1D400, 0x1D7FF), (0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x20000, 0x20400),
]
COMMON_CHINESE = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方"
    "多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使"
)
EMOJI = ["😀", "🎉", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪🇯🇵", "❤️", "🏳️‍🌈", "1️⃣", "🤷🏿‍♀️", "☕️", "🫠", "👨🏻‍💻"]
CODE = [
    "for (int i = 0; i < n; ++i) {\n\t\tsum += a[i] * b[i];\n\t}\n",
    "def f(x, *args, **kw):\n    return {k: v**2 for k, v in kw.items() if v != 0}\n",
    "#include <vector>\n\ntemplate <class T>\nT max(T a, T b) { return a > b ? a : b; }\n",
    "SELECT name, COUNT(*) FROM t WHERE id >= 1024 GROUP BY name;\r\n",
    "<div class=\"x\">&nbsp;&lt;p&gt;</div><!-- 0xDEADBEEF -->\n",
    "if err != nil {\n        return fmt.Errorf(\"%w: %s\", err, path)\n}\n",
    "\\begin{align} \\frac{\\partial L}{\\partial w_{ij}} &= \\sum_k x_k^2 \\end{align}\n",
]
WORDS = "The quick brown fox doesn't jump; it's we've I'll they'RE can't O'Neil's 'twas HELLO camelCaseWord snake_case".split()


def readable(data):
    """Long stretches of prose and code from the reference folder; invented ones where it is not there."""
    names = ["text/tinyshakespeare.txt", "text/wikitext2-test-raw.txt", "text/books/valid.txt"]
    paths = [pathlib.Path(data) / name for name in names] if data else []
    texts = [path.read_text(encoding="utf-8") for path in paths if path.is_file()]
    return texts or [" ".join(WORDS * 50) + "\n"]


def one_piece(rng, prose, special):
    kind = rng.randrange(14)
    if kind < 4:
        text = rng.choice(prose)
        start = rng.randrange(max(1, len(text) - 2000))
        return text[start:start + rng.randrange(50, 2000)]
    if kind == 4:
        return "".join(rng.choice(COMMON_CHINESE) if rng.random() < 0.9 else rng.choice("，。！？「」；：")
                       for _ in range(rng.randrange(5, 300)))
    if kind == 5:
        return rng.choice(CODE) * rng.randrange(1, 4)
    if kind == 6:
        return "".join(rng.choice(EMOJI) + rng.choice(["", " ", "x"]) for _ in range(rng.randrange(1, 20)))
    if kind == 7:  # marks on letters, composed and not
        text = "".join(rng.choice("aeiouncAEIOUßşक") + "".join(chr(rng.randrange(0x300, 0x345))
                       for _ in range(rng.randrange(3))) for _ in range(rng.randrange(1, 40)))
        return unicodedata.normalize(rng.choice(["NFC", "NFD"]), text + "Việt Nam đồng, Ångström, 각 ẹ̀")
    if kind == 8:
        return rng.choice([" ", "\n", "\t", "\r\n", "\u00a0", "\u3000", " \n"]) * int(2 ** rng.uniform(0, 9))
    if kind == 9 and special:
        return rng.choice(["", " ", "a", "\n"]) + rng.choice(special) + rng.choice(["", " ", "b", "\n\n", special[0]])
    if kind == 10:
        return "".join(rng.choice(WORDS) + rng.choice([" ", "  ", "", "\n", ", ", "... ", "?!"])
                       for _ in range(rng.randrange(1, 60)))
    if kind == 11:
        return " ".join(str(rng.randrange(10 ** rng.randrange(1, 12))) for _ in range(rng.randrange(1, 12))) + "½²٣৪"
    if kind == 12:
        return rng.choice("abzA0._-=*~é中") * int(2 ** rng.uniform(0, 10))
    first, last = rng.choice(BLOCKS)
    characters = [chr(c) for c in range(first, last + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    return "".join(rng.choice(characters) if rng.random() < 0.85 else " " for _ in range(rng.randrange(1, 120)))


def mixed_text(size, seed=0, data=None, special=()):
    """About `size` bytes of UTF-8 as a string. `special`: strings of special tokens to strew in."""
    rng, prose, pieces, total = random.Random(seed), readable(data), ["Start "], 6
    special = sorted(special)
    while total < size:
        pieces.append(one_piece(rng, prose, special))
        total += len(pieces[-1].encode())
    return "".join(pieces)
