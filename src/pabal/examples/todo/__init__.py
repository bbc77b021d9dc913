"""The reference app: a to-do list whose page never touches the database when it writes.

page ──> events.todo.newitem ──> save-handler ──> database ──> events.todo.itemsaved ──> page

`pabal demo` starts it. To read it, begin with `events`, then `handlers`, then `app`.
"""

from pabal.examples.todo.server import serve

__all__ = ["serve"]
