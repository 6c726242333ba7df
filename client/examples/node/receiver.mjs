// A receiver in Node 20.10 or later, without packages: verifies the signature, handles each event once, keeps the newest.
//
//     SECRETS="whsec_... whpk_..." FILE=grades.jsonl PORT=8099 node receiver.mjs
//
// Result and mark are one line of FILE, so neither is ever there without the other. A service with a database writes both
// in one transaction, as receiver.php does.
import { createHmac, createPublicKey, timingSafeEqual, verify as verifyKey } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync, truncateSync } from 'node:fs';
import { createServer } from 'node:http';

const { SECRETS = '', FILE = 'grades.jsonl', PORT = '8099' } = process.env;
const secrets = SECRETS.split(' ').filter(Boolean);
if (!secrets.length) throw new Error('SECRETS is not set');
const TOLERANCE = 300; // seconds

function isSigned(headers, body, now) {
  const [id, seconds, signatures] = ['id', 'timestamp', 'signature'].map((name) => headers[`webhook-${name}`] ?? '');
  if (!id || !/^\d{1,11}$/.test(seconds) || Math.abs(now - Number(seconds)) > TOLERANCE) return false;
  const content = Buffer.concat([Buffer.from(`${id}.${seconds}.`), body]);
  return signatures.split(' ').some((signature) => secrets.some((secret) => fits(secret, signature, content)));
}

function fits(secret, signature, content) {
  const [version, value = ''] = signature.split(',');
  const key = Buffer.from(secret.slice(secret.indexOf('_') + 1), 'base64');
  const given = Buffer.from(value, 'base64');
  if (secret.startsWith('whpk_')) {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') };
    return version === 'v1a' && verifyKey(null, content, createPublicKey({ key: jwk, format: 'jwk' }), given);
  }
  const expected = createHmac('sha256', key).update(content).digest();
  return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
}

const handled = new Set();
const newest = new Map();

function remember({ source, id, attempt, revision }) {
  handled.add(`${source} ${id}`);
  newest.set(`${source} ${attempt}`, revision);
}

if (existsSync(FILE)) {
  const text = readFileSync(FILE, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1); // ignores a line that was cut off by a crash
  truncateSync(FILE, Buffer.byteLength(whole));
  whole.split('\n').filter(Boolean).map((line) => remember(JSON.parse(line)));
}

function handle(event) {
  const { source, id, data } = event;
  if (event.bridgetest || !data.attempt || handled.has(`${source} ${id}`)) return;
  const { id: attempt, revision, status } = data.attempt;
  if (revision < (newest.get(`${source} ${attempt}`) ?? 0)) return;
  const row = { source, id, attempt, revision, passed: status === 'completed' ? (data.result?.passed ?? null) : null };
  appendFileSync(FILE, JSON.stringify(row) + '\n', { flush: true });
  remember(row);
}

createServer(async (request, response) => {
  try {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk); // the bytes, before anything parses them
    const body = Buffer.concat(chunks);
    if (!isSigned(request.headers, body, Date.now() / 1000)) return response.writeHead(401).end();
    handle(JSON.parse(body));
    response.writeHead(204).end();
  } catch (error) {
    console.error(error);
    response.writeHead(500).end(); // it is sent again
  }
}).listen(Number(PORT), '127.0.0.1');
