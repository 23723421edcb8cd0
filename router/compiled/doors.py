"""Which route a door's calls take when their body has no place for one."""

from __future__ import annotations

from router import apis
from router.config import Config, ConfigError
from router.core.task import Task


def doors(config: Config) -> dict[tuple[str, Task], str]:
    """What the file says, and for each wire and task the one route that there is."""
    found: dict[tuple[str, Task], str] = {}
    for wire in apis.doors():
        for task in {path.task for path in apis.door(wire).paths}:
            routes = [name for name, spec in config.routes.items() if spec.task == task]
            if len(routes) == 1:
                found[wire, task] = routes[0]
    for wire, by_task in config.doors.items():
        tasks = {path.task for path in apis.door(wire).paths}
        for task, name in by_task.items():
            spec = config.routes.get(name)
            if task not in tasks:
                raise ConfigError(f"{wire}: has no {task}, only {', '.join(sorted(tasks))}")
            if spec is None or spec.task != task:
                raise ConfigError(f"{wire}.{task}: {name!r} is no route for {task}")
            found[wire, task] = name
    return found
