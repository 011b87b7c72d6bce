"""The parser: from tokens to nodes."""

from __future__ import annotations

from wherry.docker.gotemplate import nodes
from wherry.docker.gotemplate.errors import TemplateError
from wherry.docker.gotemplate.lexer import Token, tokens
from wherry.docker.gotemplate.literals import constant

__all__ = ["parse"]

_KEYWORDS = ("if", "with", "range", "else", "end", "define", "block", "template", "break", "continue")
_BRANCHES = {"if": nodes.If, "with": nodes.With, "range": nodes.Range}
_CONSTANTS = {"true": True, "false": False, "nil": None}
_LITERALS = ("string", "raw", "char", "number")
MAX_DEPTH = 100


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(tokens(text))
        self._at = 0
        self._depth = 0
        self._loops = 0
        self.defines: dict[str, list[nodes.Node]] = {}

    # --- tokens

    def _peek(self, ahead: int = 0) -> Token:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else Token("end", "EOF", self._last_line(), 0)

    def _last_line(self) -> int:
        return self._tokens[-1].line if self._tokens else 1

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _skip_space(self) -> bool:
        if self._peek().kind == "space":
            self._at += 1
            return True
        return False

    def error(self, message: str, token: Token) -> TemplateError:
        return TemplateError(f"template: :{token.line}: {message}")

    def _expect(self, kind: str, context: str) -> Token:
        self._skip_space()
        token = self._next()
        if token.kind != kind:
            raise self.error(f"unexpected {_shown(token)} in {context}", token)
        return token

    # --- lists of nodes

    def body(self, *ends: str) -> tuple[list[nodes.Node], str]:
        """Parse nodes up to one of the given keywords; the rest of its action is left to the caller."""
        result: list[nodes.Node] = []
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error("too many nested actions", self._peek())
        while self._peek().kind != "end":
            token = self._next()
            if token.kind == "text":
                result.append(nodes.Text(token.line, token.column, token.text))
                continue
            self._skip_space()
            word = self._peek()
            if word.kind == "name" and word.text in ends:
                self._at += 1
                self._depth -= 1
                return result, word.text
            node = self._action(word)
            if node is not None:
                result.append(node)
        if ends:
            raise self.error("unexpected EOF", self._peek())
        self._depth -= 1
        return result, ""

    def _action(self, word: Token) -> nodes.Node | None:
        if word.kind != "name" or word.text not in _KEYWORDS:
            pipeline = self._pipeline("command")
            self._expect("close", "command")
            return nodes.Action(word.line, word.column, pipeline.source, pipeline)
        self._at += 1
        if word.text in _BRANCHES:
            return self._branch(word)
        if word.text in ("break", "continue"):
            if not self._loops:
                raise self.error(f"{{{{{word.text}}}}} outside {{{{range}}}}", word)
            self._expect("close", word.text)
            return nodes.Jump(word.line, word.column, word.text)
        if word.text in ("define", "block", "template"):
            return self._named(word)
        raise self.error(f"unexpected {{{{{word.text}}}}}", word)

    def _branch(self, word: Token) -> nodes.Node:
        pipeline = self._pipeline(word.text, variables=2 if word.text == "range" else 1)
        self._expect("close", word.text)
        self._loops += word.text == "range"
        body, end = self.body("else", "end")
        self._loops -= word.text == "range"
        else_body: list[nodes.Node] = []
        if end == "else":
            else_body = self._else_body(word)
        else:
            self._expect("close", "end")
        return _BRANCHES[word.text](word.line, word.column, pipeline.source, pipeline, body, else_body)

    def _else_body(self, word: Token) -> list[nodes.Node]:
        self._skip_space()
        again = self._peek()
        if again.kind == "name" and again.text in ("if", "with") and word.text in ("if", "with"):
            self._at += 1
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise self.error("too many nested actions", again)
            inner = self._branch(again)
            self._depth -= 1
            return [inner]
        self._expect("close", "else")
        body, _ = self.body("end")
        self._expect("close", "end")
        return body

    def _named(self, word: Token) -> nodes.Node | None:
        name = str(constant(self._expect("string", f"{word.text} clause")))
        pipeline = None
        self._skip_space()
        if word.text != "define" and self._peek().kind != "close":
            pipeline = self._pipeline(f"{word.text} clause")
        self._expect("close", f"{word.text} clause")
        if word.text != "template":
            self.defines[name], _ = self.body("end")
            self._expect("close", "end")
        if word.text == "define":
            return None
        return nodes.Block(word.line, word.column, name, name, pipeline)

    # --- pipelines

    def _pipeline(self, context: str, variables: int = 1) -> nodes.Pipeline:
        self._skip_space()
        start = self._at
        names, declares = self._declaration(variables, context)
        calls = [self._call(context)]
        while True:
            self._skip_space()
            if self._peek().kind != "pipe":
                break
            self._at += 1
            self._skip_space()
            calls.append(self._call(context))
        for call in calls[1:]:
            if isinstance(call.operands[0], nodes.Literal):
                raise self.error(f"non executable command in pipeline stage 2: {call.source}", self._peek())
        first = self._tokens[start] if start < len(self._tokens) else self._peek()
        return nodes.Pipeline(first.line, first.column, self._since(start), calls, names, declares)

    def _since(self, start: int) -> str:
        return "".join(token.text for token in self._tokens[start : self._at]).strip()

    def _declaration(self, variables: int, context: str) -> tuple[list[str], bool]:
        start, names = self._at, []
        while self._peek().kind == "variable":
            names.append(self._next().text)
            self._skip_space()
            token = self._peek()
            if token.kind in ("declare", "assign"):
                if len(names) > variables:
                    raise self.error(f"too many declarations in {context}", token)
                self._at += 1
                self._skip_space()
                return names, token.kind == "declare"
            if token.kind != "comma":
                break
            self._at += 1
            self._skip_space()
        self._at = start
        return [], True

    def _call(self, context: str) -> nodes.Call:
        start = self._at
        operands = [self._operand(context)]
        while self._skip_space():
            if self._peek().kind in ("close", "pipe", "right", "end"):
                break
            operands.append(self._operand(context))
        following = self._peek()
        if following.kind not in ("close", "pipe", "right", "space"):
            raise self.error(f"unexpected {_shown(following)} in operand", following)
        first = self._tokens[start]
        return nodes.Call(first.line, first.column, self._since(start), operands)

    def _operand(self, context: str) -> nodes.Node:
        token = self._next()
        place = (token.line, token.column)
        if token.kind in _LITERALS:
            return nodes.Literal(*place, token.text, constant(token))
        if token.kind == "name":
            if token.text in _CONSTANTS:
                return nodes.Literal(*place, token.text, _CONSTANTS[token.text])
            return nodes.Name(*place, token.text)
        if token.kind == "dot":
            return nodes.Field(*place, ".", [])
        if token.kind == "field":
            names = [token.text[1:], *self._fields()]
            return nodes.Field(*place, "." + ".".join(names), names)
        if token.kind == "variable":
            names = self._fields()
            return nodes.Variable(*place, ".".join([token.text, *names]), token.text, names)
        if token.kind == "left":
            return self._parenthesis(token)
        if token.kind == "end":
            raise self.error("unclosed action", token)
        raise self.error(f"missing value for {context}" if token.kind == "close" else _unexpected(token), token)

    def _parenthesis(self, token: Token) -> nodes.Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error("too many nested parentheses", token)
        inner = self._pipeline("parenthesized pipeline")
        self._expect("right", "parenthesized pipeline")
        self._depth -= 1
        names = self._fields()
        source = f"({inner.source})" + "".join(f".{name}" for name in names)
        return nodes.Chain(token.line, token.column, source, inner, names)

    def _fields(self) -> list[str]:
        names = []
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        return names


def _shown(token: Token) -> str:
    return "EOF" if token.kind == "end" else f'"{token.text}"'


def _unexpected(token: Token) -> str:
    return f"unexpected {_shown(token)} in operand"


def parse(text: str) -> tuple[list[nodes.Node], dict[str, list[nodes.Node]]]:
    """Parse a template.

    :returns: its nodes, and those of the templates that it defines.
    :raises TemplateError: it is not well-formed.
    """
    parser = _Parser(text)
    body, _ = parser.body()
    return body, parser.defines
