"""Progress streams: lines of JSON, of which the last one is the error when something fails on the way."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from wherry.api.http import errors
from wherry.api.http.answers import encode, open_stream
from wherry.docker.progress import ProgressMessage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest

log = logging.getLogger(__name__)


async def stream(request: ApiRequest, messages: AsyncGenerator[ProgressMessage, None]) -> StreamResponse:
    """Send messages as lines of JSON; what fails before the first of them is an answer with a status of its own."""
    async with aclosing(messages):
        return await _send(request, await anext(messages, None), messages)


async def stream_with_errors(request: ApiRequest, messages: AsyncGenerator[ProgressMessage, None]) -> StreamResponse:
    """Send messages as lines of JSON, the head with the first of them; whatever fails is one of the lines."""
    async with aclosing(messages):
        try:
            first = await anext(messages, None)
        except ConnectionError:
            raise  # the client has left
        except Exception as error:
            first = _failed(request, error)
        return await _send(request, first, messages)


async def _send(
    request: ApiRequest, first: ProgressMessage | None, others: AsyncGenerator[ProgressMessage, None]
) -> StreamResponse:
    response = await open_stream(request.http, "application/json")
    try:
        if first is not None:
            await response.write(encode(first))
        async for message in others:
            await response.write(encode(message))
    except ConnectionError:
        raise  # the client has left
    except Exception as error:  # the head is sent; from here an error is a line of the stream
        await response.write(encode(_failed(request, error)))
    return response


def _failed(request: ApiRequest, error: Exception) -> ProgressMessage:
    """What went wrong, as a line of the stream that dockerd's clients know."""
    sentence = errors.sentence_of(error)
    log.warning("request failed", extra={"request": f"POST {request.http.path}", "error": sentence})
    return {"errorDetail": {"message": sentence}, "error": sentence}
