"""The least that a user could write instead of the router: pass a chat call on, and its stream.

It chooses nothing, counts nothing, limits nothing and knows no key of its own.
Run: BENCH_UPSTREAM=http://... granian --interface asgi tests.bench.bare_proxy:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pyreqwest.client import ClientBuilder


class Asked(msgspec.Struct):
    """The one field that a proxy has to read."""

    stream: bool = False


UPSTREAM = os.environ.get("BENCH_UPSTREAM", "")
asked = msgspec.json.Decoder(Asked)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ClientBuilder().http1_only().no_proxy().max_connections(256).build() as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    body = await request.body()
    call = (
        app.state.client.post(UPSTREAM)
        .body_bytes(body)
        .header("content-type", "application/json")
        .header("authorization", request.headers["authorization"])
    )
    if asked.decode(body).stream:
        return StreamingResponse(_pieces(call), media_type="text/event-stream")
    answer = await call.build().send()
    return Response(bytes(await answer.bytes()), answer.status, media_type="application/json")


async def _pieces(call) -> AsyncIterator[bytes]:
    # By default the library reads 64 KiB ahead, and a short stream would arrive as one piece.
    async with call.streamed_read_buffer_limit(0).build_streamed() as answer:
        while (piece := await answer.body_reader.read_chunk()) is not None:
            yield bytes(piece)
