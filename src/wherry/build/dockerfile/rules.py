"""The checks' rules: names, descriptions and pages as BuildKit's, so that what clients know of them fits."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

__all__ = ["RULES", "Rule"]

_PAGES: Final = "https://docs.docker.com/go/dockerfile/rule/"
_BORDER: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Rule(Struct, frozen=True):
    """A rule.

    :param experimental: whether it has to be asked for.
    :param url: of the page about it; empty: there is none.
    """

    name: str
    description: str
    url: str
    experimental: bool = False


def _rule(name: str, description: str, *, page: str | None = None, experimental: bool = False) -> Rule:
    page = _BORDER.sub("-", name).lower() if page is None else page
    return Rule(name, description, f"{_PAGES}{page}/" if page else "", experimental)


STAGE_NAME_CASING: Final = _rule("StageNameCasing", "Stage names should be lowercase")
FROM_AS_CASING: Final = _rule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword")
NO_EMPTY_CONTINUATION: Final = _rule(
    "NoEmptyContinuation", "Empty continuation lines will become errors in a future release"
)
CONSISTENT_INSTRUCTION_CASING: Final = _rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
)
DUPLICATE_STAGE_NAME: Final = _rule("DuplicateStageName", "Stage names should be unique")
RESERVED_STAGE_NAME: Final = _rule("ReservedStageName", "Reserved words should not be used as stage names")
JSON_ARGS_RECOMMENDED: Final = _rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    page="json-args-recommended",
)
MAINTAINER_DEPRECATED: Final = _rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
)
UNDEFINED_ARG_IN_FROM: Final = _rule("UndefinedArgInFrom", "FROM command must use declared ARGs")
WORKDIR_RELATIVE_PATH: Final = _rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base"
    " image changes",
)
UNDEFINED_VAR: Final = _rule("UndefinedVar", "Variables should be defined before their use")
MULTIPLE_INSTRUCTIONS_DISALLOWED: Final = _rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
)
LEGACY_KEY_VALUE_FORMAT: Final = _rule(
    "LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used"
)
INVALID_BASE_IMAGE_PLATFORM: Final = _rule(
    "InvalidBaseImagePlatform", "Base image platform does not match expected target platform", page=""
)
REDUNDANT_TARGET_PLATFORM: Final = _rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
)
SECRETS_USED_IN_ARG_OR_ENV: Final = _rule(
    "SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands"
)
INVALID_DEFAULT_ARG_IN_FROM: Final = _rule(
    "InvalidDefaultArgInFrom", "Default value for global ARG results in an empty or invalid base image name"
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED: Final = _rule(
    "FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value"
)
COPY_IGNORED_FILE: Final = _rule("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore")
INVALID_DEFINITION_DESCRIPTION: Final = _rule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not"
    " intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    experimental=True,
)
EXPOSE_PROTO_CASING: Final = _rule("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase")
EXPOSE_INVALID_FORMAT: Final = _rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future"
    " release",
)

RULES: Final = tuple(value for value in tuple(globals().values()) if isinstance(value, Rule))
"""All of them."""
