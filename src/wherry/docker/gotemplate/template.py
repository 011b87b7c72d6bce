"""The execution of a template."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from wherry.docker.gotemplate import nodes
from wherry.docker.gotemplate.errors import TemplateError
from wherry.docker.gotemplate.functions import FUNCTIONS, is_true
from wherry.docker.gotemplate.go_types import Map, NilPointer, Struct, zero_value
from wherry.docker.gotemplate.parser import parse
from wherry.docker.gotemplate.printing import go_string, go_type, length_of

__all__ = ["Template"]

MAX_CALLS = 100
_NOTHING = object()


class _Jump(Exception):
    """``break`` or ``continue``, raised to the enclosing range."""


class Template:
    """A parsed template.

    :param text: Go's template syntax.
    :param functions: besides Go's and Docker's.
    :param escape: applied to each value that is inserted.
    :raises TemplateError: it is not well-formed.
    """

    def __init__(
        self, text: str, functions: dict[str, Any] | None = None, *, escape: Callable[[str], str] = str
    ) -> None:
        self._escape = escape
        self._functions = {**FUNCTIONS, **(functions or {})}
        self._nodes, self._defines = parse(text)
        _check_names(self._nodes, {*self._functions, "and", "or"})
        for body in self._defines.values():
            _check_names(body, {*self._functions, "and", "or"})

    @property
    def repeats(self) -> bool:
        """Whether it has loops or templates of its own: then how long it takes is not clear from its length."""
        return bool(self._defines) or _has_loops(self._nodes)

    def render(self, data: Any, most: float = inf) -> str:
        """Execute the template.

        :param data: the value of ``.``.
        :param most: characters that all functions together may be given, and the template may say: a variable that is
            printed twice into itself, forty times, would fill the memory.
        :raises TemplateError: the data lacks a member, or that is exceeded.
        """
        run = _Run(self._functions, self._defines, data, self._escape, most)
        try:
            run.walk(self._nodes, data)
        except RecursionError:
            raise TemplateError("template: exceeded maximum template depth") from None
        return "".join(run.out)


def _has_loops(tree: Any) -> bool:
    if isinstance(tree, list):
        return any(map(_has_loops, tree))
    if isinstance(tree, nodes.Range | nodes.Block):
        return True
    return isinstance(tree, nodes.Node) and any(map(_has_loops, vars(tree).values()))


def _check_names(tree: Any, known: set[str]) -> None:
    """Reject unknown functions before any output, as Go does."""
    if isinstance(tree, list):
        for one in tree:
            _check_names(one, known)
    elif isinstance(tree, nodes.Name):
        if tree.source not in known:
            raise TemplateError(f'template: :{tree.line}: function "{tree.source}" not defined')
    elif isinstance(tree, nodes.Node):
        for part in vars(tree).values():
            _check_names(part, known)


class _Run:
    """One execution: the output so far, and the variables in scope."""

    def __init__(
        self,
        functions: dict[str, Any],
        defines: dict[str, list[nodes.Node]],
        data: Any,
        escape: Callable[[str], str],
        most: float,
    ) -> None:
        self._escape = escape
        self._left = most
        self.out: list[str] = []
        self._functions = functions
        self._defines = defines
        self._variables: list[tuple[str, Any]] = [("$", data)]
        self._calls = 0

    def error(self, node: nodes.Node, message: str) -> TemplateError:
        return TemplateError(f'template: :{node.line}:{node.column}: executing "" at <{node.source}>: {message}')

    # --- nodes

    def walk(self, body: list[nodes.Node], dot: Any) -> None:
        for node in body:
            if isinstance(node, nodes.Text):
                self.out.append(node.source)
            elif isinstance(node, nodes.Action):
                value = self.pipeline(node.pipeline, dot)
                if not node.pipeline.variables:
                    self._spend(node, value)
                    self.out.append("<no value>" if value is None else self._escape(go_string(value)))
            elif isinstance(node, nodes.Range):
                self._range(node, dot)
            elif isinstance(node, nodes.If):
                self._if(node, dot)
            elif isinstance(node, nodes.Jump):
                raise _Jump(node.source)
            elif isinstance(node, nodes.Block):
                self._block(node, dot)

    def _if(self, node: nodes.If, dot: Any) -> None:
        mark = len(self._variables)
        value = self.pipeline(node.pipeline, dot)
        if is_true(value):
            self.walk(node.body, value if isinstance(node, nodes.With) else dot)
        else:
            self.walk(node.else_body, dot)
        del self._variables[mark:]

    def _range(self, node: nodes.Range, dot: Any) -> None:
        mark = len(self._variables)
        value = self.pipeline(node.pipeline, dot, declare=False)
        items = self._items(node, value)
        for key, item in items:
            self._declare(node.pipeline, [key, item] if len(node.pipeline.variables) == 2 else [item])
            try:
                self.walk(node.body, item)
            except _Jump as jump:
                if jump.args[0] == "break":
                    break
            finally:
                del self._variables[mark:]
        if not items:
            self.walk(node.else_body, dot)
        del self._variables[mark:]

    def _items(self, node: nodes.Node, value: Any) -> list[tuple[Any, Any]]:
        if value is None or isinstance(value, NilPointer):
            return []
        if isinstance(value, dict):
            return sorted((key, item) for key, item in value.items()) if _plain_keys(value) else list(value.items())
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool) and value <= 1_000_000:
            return [(number, number) for number in range(value)]
        raise self.error(node, f"range can't iterate over {go_string(value)}")

    def _block(self, node: nodes.Block, dot: Any) -> None:
        if node.name not in self._defines:
            raise self.error(node, f'template "{node.name}" not defined')
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise self.error(node, "exceeded maximum template depth")
        value = self.pipeline(node.pipeline, dot) if node.pipeline else None
        saved, self._variables = self._variables, [("$", value)]
        self.walk(self._defines[node.name], value)
        self._variables = saved
        self._calls -= 1

    # --- values

    def pipeline(self, node: nodes.Pipeline, dot: Any, *, declare: bool = True) -> Any:
        value: Any = _NOTHING
        for call in node.calls:
            value = self._command(call, dot, value)
        if declare:
            self._declare(node, [value])
        return value

    def _declare(self, node: nodes.Pipeline, values: list[Any]) -> None:
        for name, value in zip(node.variables, values, strict=False):
            if node.declares:
                self._variables.append((name, value))
            else:
                self._assign(node, name, value)

    def _assign(self, node: nodes.Node, name: str, value: Any) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return
        raise self.error(node, f'undefined variable "{name}"')

    def _lookup(self, node: nodes.Node, name: str) -> Any:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise TemplateError(f'template: :{node.line}: undefined variable "{name}"')

    def _command(self, call: nodes.Call, dot: Any, last: Any) -> Any:
        first, rest = call.operands[0], call.operands[1:]
        if isinstance(first, nodes.Name):
            return self._function(first, rest, dot, last)
        if isinstance(first, nodes.Literal | nodes.Pipeline) or (isinstance(first, nodes.Field) and not first.names):
            if rest or last is not _NOTHING:
                raise self.error(call, f"can't give argument to non-function {first.source}")
            return self.value(first, dot)
        target = self.value(first, dot, method=True)
        if callable(target):
            return self._invoke(first, target, self._arguments(rest, dot, last))
        if rest or last is not _NOTHING:
            raise self.error(call, f"{first.source.lstrip('.$')} is not a method but has arguments")
        return target

    def _function(self, name: nodes.Name, rest: list[nodes.Node], dot: Any, last: Any) -> Any:
        if name.source in ("and", "or"):
            return self._short_circuit(name, rest, dot, last)
        return self._invoke(name, self._functions[name.source], self._arguments(rest, dot, last))

    def _arguments(self, operands: list[nodes.Node], dot: Any, last: Any) -> list[Any]:
        values = [self.value(operand, dot) for operand in operands]
        return values if last is _NOTHING else [*values, last]

    def _short_circuit(self, name: nodes.Name, rest: list[nodes.Node], dot: Any, last: Any) -> Any:
        value: Any = _NOTHING
        for operand in rest:
            value = self.value(operand, dot)
            if is_true(value) == (name.source == "or"):
                return value
        if last is not _NOTHING:
            return last
        if value is _NOTHING:
            raise self.error(name, f"wrong number of args for {name.source}: want at least 1 got 0")
        return value

    def _invoke(self, node: nodes.Node, function: Any, values: list[Any]) -> Any:
        self._spend(node, values)
        try:
            return function(*values)
        except TemplateError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise self.error(node, f"error calling {node.source.lstrip('.')}: {error}") from None

    def _spend(self, node: nodes.Node, value: Any) -> None:
        if self._left < inf:
            self._left -= length_of(value)
        if self._left < 0:
            raise self.error(node, "the template makes too much of its values")

    def value(self, node: nodes.Node, dot: Any, *, method: bool = False) -> Any:
        """The value of an operand. :param method: leave a method uncalled, its arguments follow."""
        if isinstance(node, nodes.Literal):
            return node.value
        if isinstance(node, nodes.Name):
            return self._function(node, [], dot, _NOTHING)
        if isinstance(node, nodes.Field):
            found = self._walk_names(node, dot, node.names)
        elif isinstance(node, nodes.Variable):
            found = self._walk_names(node, self._lookup(node, node.name), node.names)
        elif isinstance(node, nodes.Chain):
            found = self._walk_names(node, self.pipeline(node.base, dot), node.names)
        else:
            raise self.error(node, "can't evaluate this here")
        if callable(found) and not method:
            return self._invoke(node, found, [])
        return found

    def _walk_names(self, node: nodes.Node, value: Any, names: list[str]) -> Any:
        nowhere = False  # what is below a key that a map has not is no value either
        for name in names:
            if callable(value):
                value = self._invoke(node, value, [])
            nowhere = nowhere or (isinstance(value, Map) and name not in value)
            value = None if nowhere else self._field(node, value, name)
        return value

    def _field(self, node: nodes.Node, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if isinstance(value, Map):
                return None
            if isinstance(value, Struct) and name in value.empty:
                return zero_value(name)
            return self._like(node, value, name)
        if value is None or isinstance(value, NilPointer):
            raise self.error(node, f"nil pointer evaluating interface {{}}.{name}")
        raise self.error(node, f"can't evaluate field {name} in type {go_type(value)}")

    def _like(self, node: nodes.Node, value: dict[str, Any], name: str) -> Any:
        """Find ``.ID`` where the API has ``Id``: Docker's templates use Go's names, the data here has the API's."""
        for key, found in value.items():
            if isinstance(key, str) and key.lower() == name.lower():
                return found
        raise self.error(node, f'map has no entry for key "{name}"')


def _plain_keys(value: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in value) and not any(callable(item) for item in value.values())
