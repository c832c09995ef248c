// Node's own http server. Usage: node node.mjs hello|jwt HOST:PORT
import { createHmac, createSecretKey, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { KEY, MEDIA_TYPE, REFUSAL, greet, isGood, split } from "./greeting.mjs";

const key = createSecretKey(KEY, "utf8");

const handlers = {
  hello(_request, response) {
    answer(response, 200, "text/plain", "hello\n");
  },

  jwt(request, response) {
    const { authorization, "accept-language": acceptLanguage } = request.headers;
    const claims = verify(authorization);
    if (claims) answer(response, 200, MEDIA_TYPE, greet(claims, acceptLanguage));
    else answer(response, 401, MEDIA_TYPE, REFUSAL);
  },
};

function answer(response, status, mediaType, body) {
  response.writeHead(status, { "content-type": mediaType, "content-length": Buffer.byteLength(body) });
  response.end(body);
}

/** The claims of a bearer token that is good, or nothing. */
function verify(authorization) {
  const parts = split(authorization);
  if (!parts) return null;
  const [header, claims, signature] = parts;
  const right = createHmac("sha256", key).update(`${header}.${claims}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== right.length || !timingSafeEqual(given, right)) return null;
  const said = json(claims);
  return isGood(json(header), said) ? said : null;
}

function json(base64url) {
  return JSON.parse(Buffer.from(base64url, "base64url").toString());
}

const [workload, address] = process.argv.slice(2);
const [host, port] = address.split(":");
createServer(handlers[workload]).listen(Number(port), host);
