"""The memory that all connections of an event loop share: what they read into, and where large packets come together.

Not here: the pool itself (`msgtrans.pool.buffers`).
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Final

from msgtrans.pool.buffers import BufferPool

READ_SIZE: Final = 64 * 1024

_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()
_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, BufferPool] = weakref.WeakKeyDictionary()


def read_buffer(loop: asyncio.AbstractEventLoop, size: int) -> memoryview:
    """The first `size` bytes of the buffer that all connections of `loop` read into."""
    view = _read_buffers.get(loop)
    if view is None:
        view = _read_buffers[loop] = memoryview(bytearray(READ_SIZE))
    return view if size >= READ_SIZE else view[:size]


def buffer_pool(loop: asyncio.AbstractEventLoop) -> BufferPool:
    """The pool that all connections of `loop` use which have `Optimizations.buffer_pool` on; it keeps 3.1 MiB at most,
    because only large buffers are taken from it.
    """
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = BufferPool()
    return pool
