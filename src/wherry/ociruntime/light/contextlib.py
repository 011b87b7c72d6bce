"""Of `contextlib`, what is used."""

from __future__ import annotations

__all__ = ["ExitStack", "closing", "contextmanager", "nullcontext", "suppress"]


class suppress:
    """Let some exceptions of a ``with`` pass."""

    def __init__(self, *kinds):
        self._kinds = kinds

    def __enter__(self):
        return None

    def __exit__(self, kind, error, trace):
        return kind is not None and issubclass(kind, self._kinds)


class nullcontext:
    """Do nothing at the end of a ``with``."""

    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


class closing:
    """Close something at the end of a ``with``."""

    def __init__(self, thing):
        self._thing = thing

    def __enter__(self):
        return self._thing

    def __exit__(self, *_):
        self._thing.close()


def contextmanager(function):
    """Make a context manager of a generator."""
    return lambda *arguments, **named: _Generated(function(*arguments, **named))


class _Generated:
    def __init__(self, generator):
        self._generator = generator

    def __enter__(self):
        return next(self._generator)

    def __exit__(self, kind, error, trace):
        if kind is None:
            try:
                next(self._generator)
            except StopIteration:
                return False
            raise RuntimeError("the generator did not stop")
        try:
            self._generator.throw(error)
        except StopIteration as stop:
            return stop is not error
        except BaseException as raised:
            if raised is error:
                raised.__traceback__ = trace
                return False
            raise
        raise RuntimeError("the generator did not stop after an exception")


class ExitStack:
    """What was entered is left in the reverse order."""

    def __init__(self):
        self._exits = []

    def enter_context(self, manager):
        """Enter what is left at the end."""
        result = manager.__enter__()
        self._exits.append(manager.__exit__)
        return result

    def push(self, leave):
        """Call something at the end, as ``__exit__`` is called."""
        self._exits.append(getattr(leave, "__exit__", leave))
        return leave

    def callback(self, function, *arguments, **named):
        """Call something at the end."""
        self._exits.append(lambda *_: bool(function(*arguments, **named)) and False)
        return function

    def pop_all(self):
        """Hand all over to another."""
        other = ExitStack()
        other._exits, self._exits = self._exits, []
        return other

    def close(self):
        """Leave everything."""
        self.__exit__(None, None, None)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        pending = error
        while self._exits:
            leave = self._exits.pop()
            try:
                if leave(type(pending) if pending else None, pending, pending.__traceback__ if pending else None):
                    pending = None
            except BaseException as raised:
                pending = raised
        if pending is not None and pending is not error:
            raise pending
        return error is not None and pending is None
