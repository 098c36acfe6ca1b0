"""The command class of what a session sends: it leaves ahead of all data, and has a bound of its own.

Commands are packets that carry `Flag.HIGH_PRIORITY`, and answers to requests that carried it. Order is kept within each
class. Above `command_high_water` bytes of them, what holds for data above `high_water` holds for commands: they wait in
a line of their own, or the strategy acts; `send_nowait` raises there already.
Not here: writing (`outbound`), and what a peer makes of the flag.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from msgtrans.config import Backpressure
from msgtrans.packet import Flag
from msgtrans.queueing import Queueing, drop_oldest

if TYPE_CHECKING:
    import asyncio

    from msgtrans.queueing import Line, Waiter

COMMAND: Final = int(Flag.HIGH_PRIORITY)
FLAGS_AT: Final = 15  # where an encoded packet tells the lower half of its flags


class Commands:
    """What a session has of the command class. Made when it first needs one: most sessions never do.

    frames: those that wait to leave, in order. size: their bytes. line: who waits for room among them. easing: those
    in line are going on. kept_to: frames before this one are no one-way messages.
    """

    __slots__ = ("easing", "frames", "kept_to", "line", "size")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.size = 0
        self.line: Line = OrderedDict()
        self.easing = False
        self.kept_to = 0


class Commanding(Queueing):
    """Base of `Session`, never used alone."""

    __slots__ = ()

    def _append_command(self, frame: bytes) -> None:
        commands = self._commands
        if commands is None:
            commands = self._commands = Commands()
        commands.frames.append(frame)
        commands.size += len(frame)
        if not self._flush_scheduled:
            if self._alone:
                self._alone = self._at_once
                self._flush()
            else:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush)

    def _append_answer(self, frame: bytes, flags: int) -> None:
        """Queue a response; flags: its own and those of its request."""
        if flags and flags & COMMAND:
            self._append_command(frame)
        else:
            self._append(frame)

    def _write_commands(self, commands: Commands) -> None:
        if not self._write_paused:
            were_full = self._commands_full
            commands.size -= self._write_batches(commands.frames)
            commands.kept_to = 0
            if were_full and not self._commands_full:
                self._ease_commands(commands)

    @property
    def _commands_full(self) -> bool:
        commands = self._commands
        return commands is not None and commands.size > self._config.command_high_water

    def _ease_commands(self, commands: Commands) -> None:
        """Let those in line go on, as far as there is room."""
        if commands.easing:  # below; it goes on there
            return
        commands.easing = True
        try:
            while commands.line and not self._commands_full:
                self._next_in_line(commands.line, self._append_command)
        finally:
            commands.easing = False
        self._eased()

    # Beyond the bound

    def _may_command(self) -> bool:
        """Whether a command that does not wait may be queued now, making room if the strategy says so.

        Raises BackpressureError under BLOCK and REJECT. False: it is dropped, and counted.
        """
        if self._commands_full and not self._write_paused:
            self._flush()  # the link may take them all
        commands, limit = self._commands, self._config.command_high_water
        if commands is None or commands.size <= limit:
            return True
        strategy = self._config.outbound_strategy
        if strategy is Backpressure.BLOCK or strategy is Backpressure.REJECT:
            self._refuse_outbound(commands.size, limit, "outbound bytes of commands")
        if strategy is Backpressure.DROP_OLDEST and self._drop_commands(commands, limit):
            return True
        self._count_dropped_outbound(1)
        return False

    async def _command(self, frame: bytes) -> None:
        """Queue a one-way command: wait in line if there is no room, or do as the strategy says."""
        if not self._commands_full:
            self._append_command(frame)
        elif self._config.outbound_strategy is not Backpressure.BLOCK:
            if self._may_command():
                self._append_command(frame)
        else:
            sent: asyncio.Future[None] = self._loop.create_future()
            self._stand_behind_commands(frame, sent, sent)
            try:
                await sent
            finally:
                self._leave_line(sent)

    def _check_commanding(self) -> None:
        """Requests wait in line above the bound; under REJECT, raise BackpressureError."""
        if self._config.outbound_strategy is Backpressure.REJECT:
            self._may_command()

    def _ask_command(self, frame: bytes, waiter: Waiter) -> None:
        """Queue a request, or let it wait in line."""
        if self._commands_full:
            self._stand_behind_commands(frame, waiter, None)
        else:
            self._append_command(frame)

    def _stand_behind_commands(self, frame: bytes, waiter: Waiter, sent: asyncio.Future[None] | None) -> None:
        commands = self._commands
        assert commands is not None  # noqa: S101 - they are too many
        commands.line[waiter] = (frame, sent)
        self._line_bytes += len(frame)

    def _drop_commands(self, commands: Commands, limit: int) -> bool:
        """Drop the oldest one-way commands until no more than `limit` bytes are queued; whether that was possible.

        Those in line go on then.
        """
        commands.kept_to, size, dropped = drop_oldest(commands.frames, commands.kept_to, commands.size - limit)
        commands.size -= size
        self._count_dropped_outbound(dropped)
        if commands.size > limit:
            return False
        self._ease_commands(commands)
        return True
