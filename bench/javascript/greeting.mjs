// What `jwt` does in every subject that is written in JavaScript, but for the signature, for which each has a library of its own.
// `bench/guests/greeting` does the same in Rust, to the byte.

export const MEDIA_TYPE = "application/json";
export const REFUSAL = JSON.stringify({ error: "the token is not good" });

// What `bench/workloads.py` signs with: a key for this benchmark, and no secret.
export const KEY = "this key signs the tokens of a benchmark, nothing else";

// The languages that there is a greeting in; the first where none of them is asked for.
const DEFAULT = "en";
const GREETINGS = {
  __proto__: null,
  en: "Welcome",
  ar: "أهلا وسهلا",
  de: "Willkommen",
  es: "Bienvenido",
  fr: "Bienvenue",
  hi: "स्वागत है",
  ja: "ようこそ",
  pt: "Bem-vindo",
};

// As jsonwebtoken has it: clocks differ.
const LEEWAY_S = 60;

/** Header, claims and signature of a bearer token as they came, or nothing. */
export function split(authorization) {
  const parts = authorization?.startsWith("Bearer ") ? authorization.slice(7).split(".") : [];
  return parts.length === 3 ? parts : null;
}

/** Whether what a token says is good; its signature is another matter. */
export function isGood(header, claims) {
  const ends = claims.exp + LEEWAY_S;
  return header.alg === "HS256" && typeof claims.sub === "string" && Date.now() <= ends * 1000;
}

/** The answer for a token that is good. */
export function greet(claims, acceptLanguage) {
  const language = negotiate(acceptLanguage ?? "");
  return JSON.stringify({ user: claims.sub, language, greeting: GREETINGS[language] });
}

/** Our language that weighs most in a list such as `de-CH, fr;q=0.7`, by its first subtag; the earlier one of two that weigh the same. */
function negotiate(acceptLanguage) {
  let chosen = DEFAULT;
  let most = 0;
  for (const range of acceptLanguage.split(",")) {
    const [tag, given] = range.split(";q=");
    const weight = given === undefined ? 1 : Number(given) || 0;
    const language = tag.split("-", 1)[0].trim().toLowerCase();
    if (weight > most && language in GREETINGS) {
      chosen = language;
      most = weight;
    }
  }
  return chosen;
}
