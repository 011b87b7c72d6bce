"""Of `contextlib`, the three that are used."""

from __future__ import annotations

__all__ = ["ExitStack", "contextmanager", "suppress"]


class suppress:  # noqa: N801
    """Let some exceptions of a ``with`` pass."""

    def __init__(self, *kinds):
        self._kinds = kinds

    def __enter__(self):
        return None

    def __exit__(self, kind, error, trace):
        return kind is not None and issubclass(kind, self._kinds)


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
        self._entered = []

    def enter_context(self, manager):
        """Enter what is left at the end."""
        result = manager.__enter__()
        self._entered.append(manager)
        return result

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        suppressed = False
        while self._entered:
            manager = self._entered.pop()
            try:
                if manager.__exit__(kind, error, trace):
                    suppressed, kind, error, trace = True, None, None, None
            except BaseException as raised:
                suppressed = False
                kind, error, trace = type(raised), raised, raised.__traceback__
                if not self._entered:
                    raise
        if kind is not None and suppressed is False and error is not None and self._entered == []:
            return False
        return suppressed
