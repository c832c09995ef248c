"""A handler made with componentize-py. Every guest of this folder answers with the same lines about what it saw."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import streams
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    """What the world exports."""

    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        answer = (
            "toolchain: python\n"
            f"method: {name(request.method())}\n"
            f"scheme: {name(request.scheme()).lower()}\n"
            f"authority: {request.authority()}\n"
            f"path: {request.path_with_query()}\n"
            f"body: {body_length(request)} bytes\n"
        )
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(answer.encode())
        OutgoingBody.finish(body, None)


def name(case: object) -> str:
    """The name of a case of a variant: the class `Method_Get` is `GET`."""
    return type(case).__name__.split("_")[-1].upper()


def body_length(request: IncomingRequest) -> int:
    """Reads the request body to its end."""
    length = 0
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                length += len(stream.blocking_read(64 * 1024))
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return length
                raise
