"""A client of HTTP/3 that is not ours (aioquic), good or bad as its plan says.

The first line of its input is the plan, as JSON; the last line that it prints is what it has seen. In between, `say` prints a line and
`hear` waits for one, so that a test can do something meanwhile. Nothing lasts longer than PATIENCE.
"""

import asyncio
import json
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.tls import CipherSuite

PATIENCE = 30

# The server's first three unidirectional streams; the first is its control stream.
CONTROL = 3


class Stream:
    """What has come on one stream."""

    def __init__(self):
        self.seen = {"status": None, "headers": {}, "body": "", "trailers": {}, "reset": None, "stopped": None}
        self.seen.update(ended=False, raw="")
        self.over = asyncio.Event()


class Client(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.streams = {}
        self.control = b""
        self.alpn = None
        self.terminated = None
        self.over = asyncio.Event()

    def begin(self):
        """Speaks HTTP/3 from here on."""
        self.http = H3Connection(self._quic)

    def open(self, unidirectional=False):
        """A new stream."""
        stream = self._quic.get_next_available_stream_id(is_unidirectional=unidirectional)
        self.streams[stream] = Stream()
        return stream

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.alpn = event.alpn_protocol
        elif isinstance(event, ConnectionTerminated):
            self.terminated = {"code": event.error_code, "reason": event.reason_phrase}
            self.over.set()
            for stream in self.streams.values():
                stream.over.set()
        elif isinstance(event, StreamReset):
            self.ends(event.stream_id, "reset", event.error_code)
        elif isinstance(event, StopSendingReceived) and event.stream_id in self.streams:
            self.streams[event.stream_id].seen["stopped"] = event.error_code
        elif isinstance(event, StreamDataReceived) and event.stream_id == CONTROL:
            self.control += event.data
        elif isinstance(event, StreamDataReceived) and self.http is None and event.stream_id in self.streams:
            self.streams[event.stream_id].seen["raw"] += event.data.hex()
            if event.end_stream:
                self.ends(event.stream_id, "ended", True)
        if self.http is not None:
            for seen in self.http.handle_event(event):
                self.hears(seen)

    def ends(self, stream, how, value):
        if stream in self.streams:
            self.streams[stream].seen[how] = value
            self.streams[stream].over.set()

    def hears(self, event):
        if not isinstance(event, (HeadersReceived, DataReceived)) or event.stream_id not in self.streams:
            return
        seen = self.streams[event.stream_id].seen
        if isinstance(event, DataReceived):
            seen["body"] += event.data.decode(errors="replace")
        else:
            fields = {name.decode(): value.decode(errors="replace") for name, value in event.headers}
            status = fields.pop(":status", None)
            if status is None:
                seen["trailers"] = fields
            else:
                seen["status"], seen["headers"] = int(status), fields
        if event.stream_ended:
            self.ends(event.stream_id, "ended", True)


async def within(future):
    return await asyncio.wait_for(future, PATIENCE)


async def line():
    return await within(asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))


class Plan:
    """The steps of a plan, one after the other."""

    def __init__(self, client, plan):
        self.client = client
        self.named = {}
        self.plan = plan

    async def follow(self):
        for name, *arguments in self.plan["steps"]:
            if self.client.terminated is not None and name not in ("say", "hear"):
                continue
            await getattr(self, name)(*arguments)
            self.client.transmit()

    async def ask(self, name, headers, body=None, trailers=None, end=True):
        """A request, as it should be."""
        stream = self.named[name] = self.client.open()
        fields = [(key.encode(), value.encode()) for key, value in headers]
        self.client.http.send_headers(stream, fields, end_stream=end and body is None and trailers is None)
        if body is not None:
            self.client.http.send_data(stream, body.encode(), end_stream=end and trailers is None)
        if trailers is not None:
            fields = [(key.encode(), value.encode()) for key, value in trailers]
            self.client.http.send_headers(stream, fields, end_stream=end)

    async def body(self, name, text, end=True):
        """More of its content."""
        self.client.http.send_data(self.named[name], text.encode(), end_stream=end)

    async def raw(self, name, hexadecimal, end=False, unidirectional=False):
        """Any bytes on a stream of their own."""
        if name not in self.named:
            self.named[name] = self.client.open(unidirectional)
        self.client._quic.send_stream_data(self.named[name], bytes.fromhex(hexadecimal), end_stream=end)

    async def flow(self, name, kibibytes):
        """Zeros on a stream, for as long as anybody takes them."""
        for _ in range(kibibytes // 16):
            if self.client.terminated is not None or self.client.streams[self.named[name]].seen["stopped"] is not None:
                return
            self.client._quic.send_stream_data(self.named[name], bytes(16 * 1024))
            self.client.transmit()
            await asyncio.sleep(0.002)

    async def repeat(self, name, hexadecimal, times):
        """The same bytes again and again, a few at a time."""
        for _ in range(times):
            if self.client.terminated is not None:
                return
            self.client._quic.send_stream_data(self.named[name], bytes.fromhex(hexadecimal))
            self.client.transmit()
            await asyncio.sleep(0)

    async def flood(self, headers, times, after=0.0):
        """Requests that are taken back at once, or after a while."""
        fields = [(key.encode(), value.encode()) for key, value in headers]
        for _ in range(times):
            if self.client.terminated is not None:
                return
            stream = self.client.open()
            self.client.http.send_headers(stream, fields, end_stream=False)
            if after > 0:
                self.client.transmit()
                await asyncio.sleep(after)
            self.client._quic.reset_stream(stream, 0x10C)
            self.client._quic.stop_stream(stream, 0x10C)
            self.client.transmit()
            await asyncio.sleep(0.001)

    async def reset(self, name):
        """Takes a request back, in both directions."""
        self.client._quic.reset_stream(self.named[name], 0x10C)
        self.client._quic.stop_stream(self.named[name], 0x10C)

    async def wait(self, *names):
        for name in names:
            await within(self.client.streams[self.named[name]].over.wait())

    async def head(self, name):
        """Waits for the head of a response."""
        stream = self.client.streams[self.named[name]]
        while stream.seen["status"] is None and not stream.over.is_set():
            await asyncio.sleep(0.005)

    async def heard(self, name):
        """Waits until anything has come."""
        stream = self.client.streams[self.named[name]]
        while not stream.seen["raw"] and not stream.over.is_set():
            await asyncio.sleep(0.005)

    async def closed(self):
        await within(self.client.over.wait())

    async def goaway(self):
        """Waits until the control stream has a GOAWAY frame, which this library passes over."""
        while b"\x07\x01" not in self.client.control and self.client.terminated is None:
            await asyncio.sleep(0.005)

    async def say(self, text):
        print(text, flush=True)

    async def hear(self):
        await line()


def configured(plan):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=plan.get("alpn", ["h3"]), server_name=plan["name"])
    configuration.load_verify_locations(plan["ca"])
    if "certificate" in plan:
        configuration.load_cert_chain(plan["certificate"], plan["key"])
    if "cipher" in plan:
        configuration.cipher_suites = [CipherSuite[plan["cipher"]]]
    if "idle" in plan:
        configuration.idle_timeout = plan["idle"]
    if "window" in plan:
        configuration.max_stream_data = plan["window"]
    return configuration


async def run(plan):
    seen = {"error": None, "alpn": None, "closed": None, "control": "", "streams": {}}
    host, port = plan["address"].rsplit(":", 1)
    try:
        async with connect(host, int(port), configuration=configured(plan), create_protocol=Client) as client:
            if "window" in plan:
                # It never opens the window again.
                client._quic._write_stream_limits = lambda *args, **kwargs: None
            if plan.get("http", True):
                client.begin()
            steps = Plan(client, plan)
            await within(steps.follow())
            seen["alpn"], seen["closed"], seen["control"] = client.alpn, client.terminated, client.control.hex()
            seen["streams"] = {name: client.streams[stream].seen for name, stream in steps.named.items()}
    except (ConnectionError, QuicConnectionError) as error:
        seen["error"] = repr(error)
    except TimeoutError:
        seen["error"] = "it took too long"
    print(json.dumps(seen), flush=True)


asyncio.run(run(json.loads(sys.stdin.readline())))
