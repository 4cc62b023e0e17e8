"""Compresses request bodies, with ISA-L where the package ``isal`` is installed: it takes an eighth of zlib's time."""

from __future__ import annotations

import gzip
from functools import partial

try:
    from isal import igzip

    _compress = partial(igzip.compress, compresslevel=1, mtime=0)
except ImportError:
    _compress = partial(gzip.compress, compresslevel=1, mtime=0)


def compressed(body: bytes) -> bytes:
    """The body in gzip's format; the same body gives the same bytes."""
    return bytes(_compress(body))
