"""The frontend ``dockerfile.v0``: options and a Dockerfile become graphs and images' configurations.

It runs nothing: it asks a `Gateway` for what it has to know.
"""

from __future__ import annotations

from collections.abc import Mapping

from wherry.build.dockerfile.instructions import Dockerfile
from wherry.build.dockerfile.parser import parse
from wherry.build.front import requests
from wherry.build.front.arguments import is_known
from wherry.build.front.bases import Bases, each_to_its_end
from wherry.build.front.budget import Budget
from wherry.build.front.context import BuildContext, DockerfileText
from wherry.build.front.convert import Conversion
from wherry.build.front.gateway import Gateway
from wherry.build.front.lint import Lint
from wherry.build.front.named_contexts import NamedContexts
from wherry.build.front.options import FrontOptions
from wherry.build.front.problems import about, located
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import Edge
from wherry.build.model.request import FrontResult, PlannedStep, Ref
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, Unsupported
from wherry.oci.platform import Platform

__all__ = ["solve"]

_BUILT_IN = ("docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0")
_EPOCH = "source.date.epoch"


async def solve(options: Mapping[str, str], inputs: Mapping[str, Edge], gateway: Gateway) -> FrontResult:
    """Make the graph of a build, or answer a subrequest.

    :param options: BuildKit's attributes of the frontend: ``filename``, ``target``, ``build-arg:NAME``.
    :param inputs: results of other builds, by their names in the options.
    :raises DockerfileError: the Dockerfile is wrong.
    :raises WherryError: an option, a context or a base image is; or of the gateway.
    """
    front = await gateway.in_thread(FrontOptions.parse, options)
    context = await BuildContext.load(front, inputs, gateway)
    if front.request == requests.DESCRIBE:
        return FrontResult(refs={}, metadata=requests.describe())
    text = await context.dockerfile()
    with about(text.name, text.text):
        build = _Build(front, inputs, gateway, context, text)
        if front.request:
            return FrontResult(refs={}, metadata=await build.answer(), sources=build.sources)
        return await build.result()


class _Build:
    """One question to the frontend."""

    def __init__(
        self,
        options: FrontOptions,
        inputs: Mapping[str, Edge],
        gateway: Gateway,
        context: BuildContext,
        text: DockerfileText,
    ) -> None:
        self._options = options
        self._gateway = gateway
        self._context = context
        self._text = text
        self._named = NamedContexts(options, inputs, gateway)
        self._budget = Budget()
        self.sources = {text.name: text.text}

    async def _parse(self) -> Dockerfile:
        dockerfile = await self._gateway.in_thread(parse, self._text.text, self._text.name)
        _check_frontend(self._options, dockerfile)
        return dockerfile

    def _conversion(
        self, dockerfile: Dockerfile, lint: Lint, platform: Platform | None, *, every_stage: bool = False
    ) -> Conversion:
        return Conversion(
            dockerfile,
            self._options,
            self._context,
            Bases(self._options, self._named, self._gateway),
            lint,
            budget=self._budget,
            gateway=self._gateway,
            platform=platform,
            every_stage=every_stage,
        )

    async def _lint(self, dockerfile: Dockerfile) -> Lint:
        return await self._gateway.in_thread(Lint.of, dockerfile, self._options.check, self._context.excludes)

    # --- builds ---------------------------------------------------------------------------------

    async def result(self) -> FrontResult:
        """The graphs."""
        dockerfile = await self._parse()
        await self._context.read_excludes()
        platforms: tuple[Platform | None, ...] = self._options.platforms or (None,)
        lint = await self._lint(dockerfile)
        converted = [
            self._conversion(dockerfile, lint if number == 0 else lint.silent(), platform)
            for number, platform in enumerate(platforms)
        ]
        try:
            await each_to_its_end(one.run() for one in converted)  # the first finds the warnings
        finally:
            self._warn(lint)
        refs: dict[str, Ref] = {}
        steps: list[PlannedStep] = []
        metadata: dict[str, bytes] = {}
        for one, platform in zip(converted, platforms, strict=True):
            named = str(platform or self._gateway.build_platform) if self._options.multi_platform else ""
            refs[named] = await self._gateway.in_thread(one.ref)
            steps += await self._gateway.in_thread(one.steps)
            if one.epoch is not None:
                metadata[f"{_EPOCH}/{named}" if named else _EPOCH] = str(one.epoch).encode()
        return FrontResult(
            refs=refs,
            metadata=metadata,
            sources=self.sources,
            steps=tuple(steps),
            unused_arguments=tuple(sorted(name for name in converted[0].undeclared() if not is_known(name))),
        )

    def _warn(self, lint: Lint) -> None:
        for warning in lint.warnings(self._text.vertex.digest, self._text.name, self._text.text):
            self._gateway.warn(warning)

    # --- subrequests ----------------------------------------------------------------------------

    async def answer(self) -> dict[str, bytes]:
        """What a subrequest asks for."""
        match self._options.request:
            case requests.TARGETS:
                return await self._gateway.in_thread(requests.targets, await self._parse())
            case requests.OUTLINE:
                return await self._outline()
            case requests.LINT:
                return await self._answer_lint()
        raise Unsupported(f"unsupported request {self._options.request}")

    async def _outline(self) -> dict[str, bytes]:
        dockerfile = await self._parse()
        conversion = self._conversion(dockerfile, await self._lint(dockerfile), self._first_platform)
        target = await conversion.run()
        return await self._gateway.in_thread(requests.outline, dockerfile, target, conversion.arguments)

    @property
    def _first_platform(self) -> Platform | None:
        return self._options.platforms[0] if self._options.platforms else None

    async def _answer_lint(self) -> dict[str, bytes]:
        """All stages are looked at where no target is named."""
        error, lint = None, None
        try:
            dockerfile = await self._parse()
            await self._context.read_excludes()
            lint = await self._lint(dockerfile)
            every_stage = not self._options.target
            await self._conversion(dockerfile, lint, self._first_platform, every_stage=every_stage).run()
        except DockerfileError as exc:
            error = exc
        violations = lint.violations if lint is not None else ()
        return await self._gateway.in_thread(requests.lint, self._text.name, self._text.text, violations, error)


def _check_frontend(options: FrontOptions, dockerfile: Dockerfile) -> None:
    """Refuse a frontend that is not this one: ``# syntax=``, ``BUILDKIT_SYNTAX``.

    :raises DockerfileError: another one is asked for.
    """
    _refuse_other(options.raw.get("source", ""))
    if "cmdline" in options.raw:
        return
    if options.syntax:
        _refuse_other(options.syntax)
    elif (directive := dockerfile.directive("syntax")) is not None:
        with located((directive.range,)):
            _refuse_other(directive.value)


def _refuse_other(command: str) -> None:
    words = command.split()
    if not words:
        return
    try:
        name = Reference.parse(words[0]).familiar_name
    except InvalidInput as exc:
        raise InvalidInput(f"invalid frontend {words[0]}: {exc}") from exc
    if not any(f"/{name}".endswith(f"/{one}") for one in _BUILT_IN):  # also out of somebody's mirror
        raise InvalidInput(
            f"the frontend {words[0]} cannot be used", hint="docker/dockerfile is built in, and the only one there is"
        )
