"""COPY and ADD: files from the context, other stages, the Dockerfile itself, web servers and git repositories."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec.structs import replace

from wherry.build.dockerfile.instructions import Add, Copy, InlineFile
from wherry.build.front.drafts import Draft, Source
from wherry.build.front.git_reference import GitReference, git_source
from wherry.build.front.names import instruction_name
from wherry.build.front.paths import absolute, destination
from wherry.build.front.scope import Work
from wherry.build.front.sources import http_source
from wherry.build.model import graph
from wherry.build.model.graph import Chown, Edge, FileAction, FileOp, MakeFile, MergeOp, Metadata, Owner
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

__all__ = ["chown_of", "copy", "looked_up"]

_HIGHEST_MODE: Final = 0o7777
_SYMBOLIC: Final = re.compile(r"[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+(?:,[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+)*")
_NUMBER: Final = re.compile(r"[0-9]+")


@dataclass(slots=True)
class _Actions:
    """What a COPY copies, from where."""

    sources: list[Draft | Edge] = field(default_factory=list)
    copies: list[tuple[int, graph.Copy]] = field(default_factory=list)

    def add(self, source: Source, copy: graph.Copy) -> None:
        """Copy from a source."""
        if source is None:
            self.copies.append((graph.NO_INPUT, copy))
            return
        if source not in self.sources:
            self.sources.append(source)
        self.copies.append((self.sources.index(source), copy))

    def draft(self, base: Source, work: Work, metadata: Metadata) -> Draft:
        """All of it, onto a base."""
        inputs: list[Draft | Edge] = [] if base is None else [base]
        first = len(inputs)
        inputs += self.sources
        actions, onto = [], 0 if base is not None else graph.NO_INPUT
        for number, (source, one) in enumerate(self.copies):
            secondary = graph.NO_INPUT if source == graph.NO_INPUT else first + source
            last = number == len(self.copies) - 1
            action = replace(one, chown=looked_up(one.chown, onto))
            actions.append(FileAction(action, onto, secondary, output=0 if last else graph.NO_OUTPUT))
            onto = len(inputs) + number
        return Draft(FileOp(tuple(actions)), tuple(inputs), platform=work.platform, metadata=metadata)


def looked_up(chown: Chown | None, onto: int) -> Chown | None:
    """Owners whose names are looked up in an input: where the files go to."""
    if chown is None:
        return None
    user, group = (_at(owner, onto) for owner in (chown.user, chown.group))
    return Chown(user, group)


def _at(owner: Owner | None, onto: int) -> Owner | None:
    return Owner(name=owner.name, input=onto) if owner is not None and owner.name else owner


def copy(work: Work, instruction: Copy | Add) -> None:
    """Carry out a COPY or an ADD."""
    source, adds = _source(work, instruction), isinstance(instruction, Add)
    _check_checksum(instruction)
    template = _template(work, instruction)
    name = instruction_name(instruction, work.scope.lexer, work.environment)
    title = work.title(name)
    actions = _Actions()
    for path in instruction.sources:
        if isinstance(instruction, Add) and (git := GitReference.parse(path)) is not None and not git.like_a_path:
            actions.add(_git(git, instruction, title, work), _whole(template))
        elif _is_url(path):
            if not isinstance(instruction, Add):
                raise InvalidInput("source can't be a URL for COPY")
            actions.add(*_download(path, instruction, title, template, work))
        else:
            if not adds:
                _refuse_git(path)
            actions.add(source, _local(path, instruction, template, work))
    for file in instruction.files:
        actions.add(*_inline(file, template, work))
    if not actions.copies:
        raise InvalidInput(f"{'ADD' if adds else 'COPY'} has no sources")
    _place(work, instruction, actions, title, name)
    work.history(_history(instruction), layer=True)
    _use(work, instruction)


def _source(work: Work, instruction: Copy | Add) -> Source:
    """Where paths are: in the context, or in another stage."""
    if not work.command.sources:
        return work.scope.context
    (stage,) = work.command.sources
    assert stage is not None
    assert isinstance(instruction, Copy)
    if not stage.done:
        raise InvalidInput(
            f'cannot copy from stage "{instruction.from_}", it needs to be defined before current stage '
            f'"{work.stage.title}"'
        )
    return stage.root


def _use(work: Work, instruction: Copy | Add) -> None:
    """What is used of a context need not be fetched as a whole."""
    used = work.command.sources[0].paths if work.command.sources and work.command.sources[0] else None
    paths = work.scope.context_paths if used is None else used
    paths.update(absolute(path) for path in instruction.sources if not _is_remote(path, instruction))


def _is_remote(path: str, instruction: Copy | Add) -> bool:
    if not isinstance(instruction, Add):
        return False
    git = GitReference.parse(path)
    return _is_url(path) or (git is not None and not git.like_a_path)


def _template(work: Work, instruction: Copy | Add) -> graph.Copy:
    """What all copies of an instruction have in common."""
    mode, text = _mode(instruction.chmod)
    return graph.Copy(
        "/",
        destination(work.directory, instruction.destination),
        chown=chown_of(instruction.chown),
        mode=mode,
        mode_text=text,
        exclude=instruction.exclude,
        allow_wildcard=False,
    )


def chown_of(text: str) -> Chown | None:
    """``user[:group]``, each a number or a name; None: there is none."""
    if not text:
        return None
    user, colon, group = text.partition(":")
    return Chown(_owner(user), _owner(group) if colon else None)


def _owner(text: str) -> Owner | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        return Owner(name=text)
    if len(text) > 10 or int(text) >= 1 << 32:
        raise InvalidInput(f"invalid uid or gid {text}")
    return Owner(int(text))


def _mode(text: str) -> tuple[int, str]:
    """A mode as number and text: -1 and empty where there is none."""
    if not text:
        return -1, ""
    if re.fullmatch(r"[0-7]{1,16}", text) and int(text, 8) <= _HIGHEST_MODE:
        return int(text, 8), ""
    if text.isdecimal() or not text.isascii():
        raise InvalidInput(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
    if len(text) > 256 or not _SYMBOLIC.fullmatch(text):
        raise InvalidInput(f"invalid chmod parameter: '{text[:256]}'. it should be an octal string or a symbolic mode")
    return -1, text


def _check_checksum(instruction: Copy | Add) -> None:
    if not isinstance(instruction, Add) or not instruction.checksum:
        return
    if len(instruction.sources) != 1:
        raise InvalidInput("checksum can't be specified for multiple sources")
    if not _is_remote(instruction.sources[0], instruction):
        raise InvalidInput("checksum requires HTTP(S) or Git sources")


# --- one source -----------------------------------------------------------------------------------


def _is_url(path: str) -> bool:
    return path.startswith(("http://", "https://")) and GitReference.parse(path) is None


def _refuse_git(path: str) -> None:
    git = GitReference.parse(path)
    if git is not None and not git.like_a_path:
        raise InvalidInput("source can't be a git ref for COPY")


def _whole(template: graph.Copy) -> graph.Copy:
    return replace(template, source="/", contents_only=True)


def _git(reference: GitReference, instruction: Add, title: str, work: Work) -> Source:
    keep = reference.keep_git_directory
    if instruction.keep_git_dir is not None:
        if keep is not None and keep != instruction.keep_git_dir:
            raise InvalidInput("inconsistent keep-git-dir configuration")
        keep = instruction.keep_git_dir
    if instruction.checksum:
        if reference.checksum and reference.checksum != instruction.checksum:
            raise InvalidInput(f'checksum mismatch "{instruction.checksum}" != "{reference.checksum}"')
        reference = replace(reference, checksum=instruction.checksum)
    return Draft(
        git_source(reference, keep_git_directory=keep or False), metadata=work.scope.metadata(title, instruction)
    )


def _download(url: str, instruction: Add, title: str, template: graph.Copy, work: Work) -> tuple[Source, graph.Copy]:
    name = _file_name(url)
    checksum = str(Digest(instruction.checksum)) if instruction.checksum else ""
    source = Draft(http_source(url, name, checksum), metadata=work.scope.metadata(title, instruction))
    return source, replace(template, source=f"/{name}", unpack_archive=bool(instruction.unpack))


def _file_name(url: str) -> str:
    """The last part of a URL's path."""
    try:
        name = posixpath.basename(posixpath.normpath(unquote(urlsplit(url).path)))
    except ValueError:
        name = ""
    return name if name not in ("", ".", "..") and "\0" not in name else "__unnamed__"


def _local(path: str, instruction: Copy | Add, template: graph.Copy, work: Work) -> graph.Copy:
    if not work.command.sources:
        work.scope.lint.ignored_file(instruction, path)
    unpack = isinstance(instruction, Add) and instruction.unpack is not False
    parents = isinstance(instruction, Copy) and instruction.parents
    return replace(
        template,
        source=_with_pivot(path) if parents else absolute(path),
        parents=parents,
        follow_symlink=True,
        contents_only=True,
        unpack_archive=unpack,
        allow_wildcard=True,
        allow_empty_wildcard=True,
    )


def _with_pivot(path: str) -> str:
    """A path of which the part behind ``/./`` is kept; all of it where there is none."""
    before, pivot, behind = path.partition("/./")
    if not pivot:
        return absolute(path)
    return f"{absolute(before).rstrip('/')}/.{absolute(behind)}"


def _inline(file: InlineFile, template: graph.Copy, work: Work) -> tuple[Source, graph.Copy]:
    name = absolute(file.path)
    action = FileAction(MakeFile(name, 0o644, file.data.encode(errors="surrogateescape")), output=0)
    metadata = Metadata(name="[internal] preparing inline document")
    source = Draft(FileOp((action,)), platform=work.platform, metadata=metadata)
    return source, replace(template, source=name)


# --- all of them ----------------------------------------------------------------------------------


def _place(work: Work, instruction: Copy | Add, actions: _Actions, title: str, name: str) -> None:
    """Onto the stage's files: as one more step, or as a layer that does not depend on what is below."""
    metadata = work.scope.metadata(title, instruction, ignore_cache=work.stage.ignore_cache)
    chown = chown_of(instruction.chown)
    named = chown is not None and any(owner is not None and owner.name for owner in (chown.user, chown.group))
    if not instruction.link or instruction.chmod or named:  # names are those of the files below; chmod: as BuildKit
        work.stage.root = actions.draft(work.stage.root, work, metadata)
        return
    alone = actions.draft(None, work, replace(metadata, group=(title, title, True)))
    if work.stage.root is None:
        work.stage.root = alone
        return
    merged = replace(metadata, name=work.title(f"LINK {name}", again=True), group=(title, title, False))
    work.stage.root = Draft(MergeOp((0, 1)), (work.stage.root, alone), platform=work.platform, metadata=merged)


def _history(instruction: Copy | Add) -> str:
    words = ["ADD" if isinstance(instruction, Add) else "COPY"]
    if isinstance(instruction, Copy) and instruction.parents:
        words.append("--parents")
    if instruction.chown:
        words.append(f"--chown={instruction.chown}")
    if instruction.chmod:
        words.append(f"--chmod={instruction.chmod}")
    words += instruction.sources
    words += (f"<<{file.path}" for file in instruction.files)
    return " ".join([*words, instruction.destination, "# buildkit"])
