// A handler made with Hono and jco's standard library. Every guest of this folder answers with the same lines about what it saw.
import { Hono } from "hono";
import { fire } from "@bytecodealliance/jco-std/wasi/0.2.12/http/adapters/hono/server";

const app = new Hono();

app.all("*", async (context) => {
  const { method, url } = context.req;
  const { protocol, host, pathname, search } = new URL(url);
  const body = await context.req.arrayBuffer();
  return context.text(
    [
      "toolchain: javascript",
      `method: ${method}`,
      `scheme: ${protocol.slice(0, -1)}`,
      `authority: ${host}`,
      `path: ${pathname}${search}`,
      `body: ${body.byteLength} bytes`,
      "",
    ].join("\n"),
  );
});

fire(app);

export { incomingHandler } from "@bytecodealliance/jco-std/wasi/0.2.12/http/adapters/hono/server";
