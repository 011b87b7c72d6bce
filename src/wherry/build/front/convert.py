"""A Dockerfile becomes a graph, for one platform.

What asks the gateway is on the event loop; all else, whose length the Dockerfile decides, is in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from wherry.build.dockerfile import instructions as ast
from wherry.build.dockerfile.expansion import Lexer
from wherry.build.dockerfile.fields import comma_separated
from wherry.build.dockerfile.mounts import Mount
from wherry.build.dockerfile.parser import parse_trigger
from wherry.build.dockerfile.suggestions import did_you_mean
from wherry.build.front import configure
from wherry.build.front.arguments import GlobalArgument, global_arguments, predefined, proxies
from wherry.build.front.bases import Base, Bases, all_of, parsed_name
from wherry.build.front.bills import extras
from wherry.build.front.budget import Budget
from wherry.build.front.context import BuildContext
from wherry.build.front.copying import copy
from wherry.build.front.drafts import Workshop
from wherry.build.front.environment import Environment
from wherry.build.front.epoch import epoch_of, with_epoch
from wherry.build.front.gateway import Gateway
from wherry.build.front.image import DEFAULT_PATH, Image
from wherry.build.front.lint import Lint
from wherry.build.front.names import numbered
from wherry.build.front.options import FrontOptions
from wherry.build.front.paths import absolute
from wherry.build.front.plan import Plan
from wherry.build.front.problems import located
from wherry.build.front.run import run
from wherry.build.front.scope import Scope, Work
from wherry.build.front.stages import Command, Stage, Stages, reachable, refuse_cycles, triggers_of
from wherry.build.model.request import PlannedStep, Ref
from wherry.errors import InvalidInput
from wherry.oci.platform import Platform

__all__ = ["Conversion"]

_STEPS: Final = (ast.Add, ast.Copy, ast.Run, ast.Workdir)
_CARRIED_OUT: Final[dict[type[ast.Instruction], Callable[[Work, Any], None]]] = {
    ast.Add: copy,
    ast.Arg: configure.arg,
    ast.Cmd: configure.cmd,
    ast.Copy: copy,
    ast.Entrypoint: configure.entrypoint,
    ast.Env: configure.env,
    ast.Expose: configure.expose,
    ast.Healthcheck: configure.healthcheck,
    ast.Label: configure.label,
    ast.Maintainer: configure.maintainer,
    ast.Onbuild: configure.onbuild,
    ast.Run: run,
    ast.Shell: configure.shell,
    ast.Stopsignal: configure.stopsignal,
    ast.User: configure.user,
    ast.Volume: configure.volume,
    ast.Workdir: configure.workdir,
}


class Conversion:
    """One conversion.

    :ivar target: the stage that is asked for, after `run`.
    :ivar arguments: those before the first FROM.

    :param budget: of all conversions of the Dockerfile.
    :param platform: to build for; None: not said, so this machine's.
    :param every_stage: also those that the target does not need: for checks.
    """

    def __init__(
        self,
        dockerfile: ast.Dockerfile,
        options: FrontOptions,
        context: BuildContext,
        bases: Bases,
        lint: Lint,
        *,
        budget: Budget,
        gateway: Gateway,
        platform: Platform | None = None,
        every_stage: bool = False,
    ) -> None:
        self._dockerfile = dockerfile
        self._options = options
        self._bases = bases
        self._gateway = gateway
        self._explicit = platform is not None
        self._every_stage = every_stage
        self._stages = Stages()
        self.arguments: dict[str, GlobalArgument] = {}
        self._plan = Plan()
        self._workshop = Workshop()
        paths: set[str] = set()
        bounds: Any = {"work": budget.patterns, "spend": budget.spend}
        self._scope = Scope(
            file=dockerfile.file,
            options=options,
            lint=lint,
            lexer=Lexer(dockerfile.escape, **bounds),
            raw_lexer=Lexer(process_quotes=False, **bounds),
            name_lexer=Lexer(dockerfile.escape, raw_quotes=True, skip_unset=True, **bounds),
            budget=budget,
            target=platform or gateway.build_platform,
            build=gateway.build_platform,
            context=context.source(lambda: paths),
            context_paths=paths,
            arguments={},
            proxies=proxies(options.build_args),
        )

    @property
    def epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH, in seconds."""
        return self._scope.epoch

    async def run(self) -> Stage:
        """Convert; returns the target.

        :raises DockerfileError: the Dockerfile is wrong.
        :raises WherryError: of the gateway.
        """
        await self._gateway.in_thread(self._read_arguments)
        scope = self._scope
        scope.epoch = await epoch_of(scope, self._bases, self._gateway)
        scope.options, scope.arguments = with_epoch(scope.options, scope.arguments, scope.epoch)
        self.target = await self._gateway.in_thread(self._prepare)
        while True:
            needed = await self._gateway.in_thread(self._unresolved)
            if needed:
                found = await all_of(self._look_up(stage) for stage in needed)
                await self._gateway.in_thread(self._take_all, needed, found)
            if not await self._gateway.in_thread(self._add_triggers):
                break
        await self._gateway.in_thread(self._carry_out)
        return self.target

    def ref(self) -> Ref:
        """The result, after `run`; to be called in a thread.

        :raises DockerfileError: checks failed that are errors.
        """
        self._scope.lint.raise_if_wanted()
        stage = self.target
        image = stage.image or Image.empty(self._scope.target)
        if self._options.labels:
            image.config.setdefault("Labels", {}).update(self._options.labels)
        image.set_platform(self._platform_of_image(image))
        stage.paths.add("/")
        return Ref(
            edge=self._workshop.edge(stage.root),
            config=image.encoded(),
            base_config=stage.base_config,
            extras=extras(stage, self._scope, self._workshop),
        )

    def steps(self) -> list[PlannedStep]:
        """The instructions that the result needs, after `ref`; to be called in a thread."""
        return self._plan.steps(self._dockerfile.args, self._options.labels, self._workshop)

    def undeclared(self) -> set[str]:
        """Build arguments that no instruction has declared, after `run`."""
        return set(self._options.build_args) - self._plan.declared - self.arguments.keys()

    def _platform_of_image(self, image: Image) -> Platform:
        """The one that was asked for, or else that of the base."""
        return self._scope.target if self._explicit else image.platform or self.target.platform or self._scope.target

    # --- stages ---------------------------------------------------------------------------------

    def _read_arguments(self) -> None:
        dockerfile, scope, given = self._dockerfile, self._scope, self._options.build_args
        name = self._options.target or dockerfile.stages[-1].from_.alias
        before = predefined(scope.build, scope.target, name, given)
        scope.lint.dockerfile(dockerfile, before, scope.lexer)
        scope.arguments, self.arguments = global_arguments(before, dockerfile.args, given, scope.lexer)

    def _prepare(self) -> Stage:
        dockerfile = self._dockerfile
        for number, one in enumerate(dockerfile.stages):
            with located(one.from_.ranges):
                self._add_stage(number, one)
        target = self._find_target()
        for stage in list(self._stages.all):
            stage.commands = [self._command(stage, command.instruction) for command in stage.commands]
        refuse_cycles(self._stages.all)
        if len(self._stages.all) == 1:
            self._stages.all[0].title = ""
        return target

    def _add_stage(self, number: int, written: ast.Stage) -> None:
        from_, scope = written.from_, self._scope
        image = scope.lexer.word(from_.image, scope.arguments)
        scope.lint.undefined_in_from(from_, image.unmatched, scope.arguments)
        if not image.text:
            raise InvalidInput(f"base name ({from_.image}) should not be blank")
        stage = Stage(
            from_=from_,
            base_name=image.text,
            ranges=from_.ranges,
            title=from_.alias or f"stage-{number}",
            commands=[Command(instruction) for instruction in written.instructions],
            ignore_cache=self._options.ignores_cache(from_.alias),
        )
        used = dict.fromkeys(image.matched)
        if from_.platform:
            stage.platform = self._platform(from_, used)
        if from_.alias:
            stage.context = self._bases.find(from_.alias, stage.platform or scope.target)
        self._stages.add(stage, independent=stage.context is not None)
        stage.outline.used.update(used)
        stage.steps = int(not stage.is_scratch and stage.base is None) + sum(
            isinstance(one, _STEPS) for one in written.instructions
        )

    def _platform(self, from_: ast.From, used: dict[str, None]) -> Platform:
        scope = self._scope
        found = scope.lexer.word(from_.platform, scope.arguments)
        scope.lint.undefined_in_from(from_, found.unmatched, scope.arguments)
        scope.lint.platform(from_, found, scope.arguments)
        used.update(dict.fromkeys(found.matched))
        known = list(scope.arguments)
        if not found.text:
            raise InvalidInput(
                _suggesting(f"empty platform value from expression {from_.platform}", found.unmatched, known)
            )
        try:
            return Platform.parse(found.text).normalised()
        except InvalidInput as exc:
            message = f"failed to parse platform {from_.platform}: {exc}"
            raise InvalidInput(_suggesting(message, found.unmatched, known)) from exc

    def _find_target(self) -> Stage:
        name = self._options.target
        if not name:
            return self._stages.all[-1]
        stage = self._stages.named(name)
        if stage is None and name.isdecimal() and len(name) < 9 and int(name) < len(self._dockerfile.stages):
            stage = self._stages.numbered(int(name))
        if stage is None:
            raise InvalidInput(did_you_mean(f'target stage "{name}" could not be found', name, self._stages.names()))
        return stage

    def _command(self, stage: Stage, instruction: ast.Instruction) -> Command:
        with located(instruction.ranges):
            if isinstance(instruction, ast.Copy) and instruction.from_:
                _refuse_variable(instruction.from_, self._scope.lexer)
            mounts = [_sketch(value) for value in instruction.mounts] if isinstance(instruction, ast.Run) else ()
            return self._stages.command(stage, instruction, mounts)

    # --- bases ----------------------------------------------------------------------------------

    def _unresolved(self) -> list[Stage]:
        """The stages whose base has to be looked up, with those that come from nothing done."""
        needed = set(self._stages.all if self._every_stage else reachable(self.target))
        found = []
        for stage in self._stages.all:
            if stage.base is not None or stage.done or stage.resolved:
                continue
            if not stage.is_scratch and stage.context is None:
                with located(stage.ranges):
                    parsed_name(stage.base_name)
            if stage not in needed:
                continue
            stage.resolved = True
            if stage.is_scratch:
                stage.image, stage.platform = Image.empty(self._scope.target), self._scope.target
                stage.done = stage.from_ is None
            else:
                found.append(stage)
        return found

    async def _look_up(self, stage: Stage) -> Base:
        with located(stage.ranges):
            platform = stage.platform or self._scope.target
            paths: Callable[[], Iterable[str]] = lambda: stage.paths  # noqa: E731
            if stage.context is not None:
                return await self._bases.context(stage.context, platform, paths)
            name = str(parsed_name(stage.base_name))
            context = self._bases.find(name, platform)
            if context is not None:
                return await self._bases.context(context, platform, paths)
            return await self._bases.image(stage.base_name, name, platform, self._stages.names)

    def _take_all(self, stages: Iterable[Stage], bases: Iterable[Base]) -> None:
        for stage, base in zip(stages, bases, strict=True):
            with located(stage.ranges):
                if stage.context is not None:
                    self._take_context(stage, base)
                else:
                    self._take_base(stage, base, stage.platform or self._scope.target)

    def _take_context(self, stage: Stage, base: Base) -> None:
        """A stage that is replaced by a named context: nothing of it is built."""
        stage.done = True
        stage.root = base.source
        stage.image = base.image
        if base.image is not None and base.image.platform is not None:
            stage.platform = base.image.platform
        if stage.image is None:
            stage.image = Image.empty(stage.platform or self._scope.target)

    def _take_base(self, stage: Stage, base: Base, platform: Platform) -> None:
        stage.origin = base
        stage.image = base.image.copied(self._scope.budget, triggers=True) if base.image else Image.empty(platform)
        stage.base_config = base.config
        if not base.named and base.image is not None:
            self._scope.lint.base_platform(stage.base_name, platform, base.image.platform, stage.from_)
        stage.platform = platform
        if stage.from_ is None:
            stage.done = True
            self._begin(stage, base)

    def _begin(self, stage: Stage, base: Base) -> None:
        """A stage's first step: its base."""
        platform = stage.platform or self._scope.target
        name = f"FROM {base.reference or stage.base_name}"
        title = numbered(stage, name, platform=platform if self._options.multi_platform else None)
        stage.root = base.draft(platform, self._options.resolve_mode, self._scope.metadata(title, stage.from_))

    def _add_triggers(self) -> bool:
        """Add what ONBUILD of the bases says; returns whether other stages are needed for it."""
        more = False
        for stage in self._stages.all if self._every_stage else reachable(self.target):
            if stage.has_triggers or stage.from_ is None or stage.context is not None:
                continue
            stage.has_triggers = True
            commands = []
            with located(stage.ranges):
                for text in triggers_of(stage):
                    command = self._command(stage, parse_trigger(text, stage.ranges))
                    command.trigger = True
                    more = more or any(command.sources)
                    commands.append(command)
            if stage.base is None and stage.image is not None:
                stage.image.set("OnBuild", None)
            stage.commands[:0] = commands
            stage.steps += sum(isinstance(one.instruction, _STEPS) for one in commands)
        return more

    # --- instructions ---------------------------------------------------------------------------

    def _carry_out(self) -> None:
        needed = set(self._stages.all if self._every_stage else reachable(self.target))
        for stage in self._stages.all:
            if stage.done or stage not in needed:
                continue
            with located(stage.ranges):
                self._inherit(stage)
            stage.done = True
            self._plan.stage(stage)
            for command in stage.commands:
                with located(command.instruction.ranges):
                    self._carry_out_one(Work(self._scope, stage, command), command.instruction)
                self._plan.instruction(stage, command)

    def _inherit(self, stage: Stage) -> None:
        """What a stage has from its base."""
        base, budget = stage.base, self._scope.budget
        if stage.origin is not None:
            self._begin(stage, stage.origin)
        if base is not None:
            assert base.image is not None
            stage.root, stage.platform, stage.base_config = base.root, base.platform, base.base_config
            stage.image = base.image.copied(budget)
            stage.paths, stage.has_working_directory = base.paths, base.has_working_directory
            budget.spend(0, len(base.arguments))
            stage.arguments = dict(base.arguments)
            stage.environment = base.environment.copied() if base.environment is not None else None
        image = stage.image = stage.image or Image.empty(self._scope.target)
        stage.platform = stage.platform or self._scope.target
        environment = stage.environment = stage.environment or Environment(budget)
        if "PATH" not in dict(image.environment):
            image.set_environment(f"PATH={DEFAULT_PATH}")
        for name, value in image.environment:
            environment.set(name, value)
        stage.hostname = self._options.hostname
        if image.working_directory:
            image.set("WorkingDir", absolute(image.working_directory))

    def _carry_out_one(self, work: Work, instruction: ast.Instruction) -> None:
        if "\0" in instruction.original:
            raise InvalidInput("a NUL character is in an instruction")
        if not isinstance(instruction, ast.Arg):  # its default means nothing where the client has given a value
            instruction = ast.expanded(instruction, work.expand, work.expand_raw)
        _CARRIED_OUT[type(instruction)](work, instruction)


def _suggesting(message: str, words: Iterable[str], known: list[str]) -> str:
    """A message with a suggestion for the first word that there is one for."""
    for word in words:
        found = did_you_mean(message, word, known)
        if found != message:
            return found
    return message


def _refuse_variable(name: str, lexer: Lexer) -> None:
    if lexer.word(name, {}).text != name:
        raise InvalidInput(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope "
            "as a workaround"
        )


def _sketch(value: str) -> Mount:
    """What of a mount is known before variables are: where it comes from."""
    from_ = ""
    for one in comma_separated(value):
        key, _, word = one.partition("=")
        if key.lower() == "from":
            from_ = word
    return Mount(from_=from_)
