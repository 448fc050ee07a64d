"""Progress bars for people who watch a run."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class Shown:
    """Draw one line a stage on stderr; on anything but a terminal, print one line when a stage ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("[bold]{task.fields[stage]:<22}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, stage: str, sentence: str) -> None:
        self._tasks[stage] = self._bars.add_task(sentence, total=None, stage=stage)

    def advance(self, stage: str, rows: int, total: int | None = None) -> None:
        task = self._tasks.get(stage)
        if task is not None:
            self._bars.update(task, advance=rows, total=total)

    def end(self, stage: str, sentence: str) -> None:
        task = self._tasks.get(stage)
        if task is None:
            return
        done = max(self._bars.tasks[self._bars.task_ids.index(task)].completed, 1)
        self._bars.update(task, description=sentence, total=done, completed=done)
        if not self._console.is_terminal:
            self._console.print(f"{stage:<22} {sentence}", markup=False, highlight=False)
