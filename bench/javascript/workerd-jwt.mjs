// `jwt` for workerd, which has the Web's cryptography.
import { KEY, MEDIA_TYPE, REFUSAL, greet, isGood, split } from "./greeting.mjs";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
// Made by the first request and kept: outside of requests, workerd lets nothing be awaited.
let key = null;

export default {
  async fetch(request) {
    const claims = await verify(request.headers.get("authorization"));
    if (claims) return answer(200, greet(claims, request.headers.get("accept-language")));
    return answer(401, REFUSAL);
  },
};

function answer(status, body) {
  return new Response(body, { status, headers: { "content-type": MEDIA_TYPE } });
}

/** The claims of a bearer token that is good, or nothing. */
async function verify(authorization) {
  const parts = split(authorization);
  if (!parts) return null;
  const [header, claims, signature] = parts;
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  key ??= await crypto.subtle.importKey("raw", encoder.encode(KEY), algorithm, false, ["verify"]);
  const signed = encoder.encode(`${header}.${claims}`);
  if (!(await crypto.subtle.verify(algorithm, key, bytes(signature), signed))) return null;
  const said = json(claims);
  return isGood(json(header), said) ? said : null;
}

function json(base64url) {
  return JSON.parse(decoder.decode(bytes(base64url)));
}

function bytes(base64url) {
  const binary = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
