/** The page docs/api.md: what is written by hand, and the reference from the OpenAPI document. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './setup/paths.js';

const INTRODUCTION = `# Server API

<!-- Written by \`npm run api:docs\` from src/api/openapi.json; do not edit by hand. -->

For backends and operators: read devices, send commands, see who is slow, cut somebody off, trace. It is there where \`API_TOKEN\` (or \`API_TOKEN_FILE\`) is set: tokens of at least 32 characters,
several separated by white space, so that one can be replaced while both are good. It answers under \`/api/v1\` on \`MANAGEMENT_PORT\` alone, which in production must not be the public port. Whichever
instance is asked, the answer is that of all; one that did not answer in time is named in \`silent\`.

Errors are problem details (RFC 9457) with a \`code\`. Lists have \`limit\` and \`cursor\`; what is there all the time is listed exactly once. Times are Unix ms. Every change is a line of the audit log.
While Redis is away a change holds on the instance that was asked and is passed on when Redis is back: the answer is 202.
Beside the statuses below any path may answer 405 \`method_not_allowed\` (\`Allow\` names what it takes; \`HEAD\` is not among it), 408 \`request_timeout\` (the body took more than 10 s) and 500 \`internal\`. A parameter or member
that is not in the document is refused, since a word that is written wrong would else do something wider than was meant.

To try it beside the simulated fleet, \`export API_TOKEN=$(openssl rand -hex 32)\` in two terminals with the same value, \`MANAGEMENT_PORT=9090 npm start\` in one, and in the other:

\`\`\`sh
A="Authorization: Bearer $API_TOKEN" J='Content-Type: application/json' U=http://127.0.0.1:9090/api/v1

# the newest of all devices of a hall
curl -s -H "$A" "$U/devices?pattern=hall-1.*&limit=100"
# the last ten publications of a device; after that, those since the position that the answer gives
curl -s -H "$A" "$U/devices/hall-1.pump/history?limit=10"
# a command, once, and its answer; the id is for devices without MQTT 5
curl -s -H "$A" -H "$J" -d '{"command":{"id":17,"action":"stop"},"key":"order-17","waitMs":5000}' $U/devices/hall-1.pump/commands
# who is slow: queued bytes, skipped messages, round trip
curl -s -H "$A" "$U/connections?limit=1000"
# who sends most, who is refused and why
curl -s -H "$A" "$U/top/devices?by=bytes"; curl -s -H "$A" "$U/top/refused?kind=tokens"
# a token that was stolen: closed within a second on every instance, and let in nowhere
curl -s -H "$A" -H "$J" -d '{"jti":"b0d1c2"}' $U/revocations
# five minutes of what becomes of a device's messages, in the log of the instances
curl -s -H "$A" -H "$J" -X PUT -d '{"deviceIds":["hall-1.pump"],"seconds":300}' $U/traces
\`\`\`

The same from a shell: \`node dist/cli.js --help\` (in the image, too): \`connections\`, \`top\`, \`kick\`, \`revoke\`, \`device\`, \`trace\`, \`instances\`, as tables or with \`--json\`. It takes the token from
\`API_TOKEN\` or \`API_TOKEN_FILE\`, and asks port 9090 of this machine unless \`SLUICE_URL\` names another.
A client in your language comes from \`/api/v1/openapi.json\`, by any generator that reads OpenAPI 3.1; a test of Sluice does it with \`npx @hey-api/openapi-ts -i openapi.json -o client\` and uses what comes out.
`;

export function apiPage() {
  const document = JSON.parse(readFileSync(join(root, 'src', 'api', 'openapi.json'), 'utf8'));
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  return [INTRODUCTION, '## Reference\n', common(document), ...operations.map(section)].join('\n');
}

/** Answers of all paths, or of all that take a body: they are said once. */
const COMMON = ['BadRequest', 'Unauthorized', 'NotFound', 'TooLarge', 'UnsupportedMediaType', 'Unavailable'];

function common({ paths, components }) {
  const refs = Object.values(paths).flatMap((methods) =>
    Object.values(methods).flatMap(({ responses }) => Object.entries(responses)),
  );
  const lines = COMMON.map((name) => {
    const [status] = refs.find(([, { $ref }]) => nameOf($ref) === name);
    return `| ${status} | ${cell(components.responses[name].description)} |`;
  });
  return [
    'What any path may answer, 413 and 415 where it takes a body:\n',
    '| status | |',
    '| --- | --- |',
    ...lines,
    '',
  ].join('\n');
}

function nameOf(ref = '') {
  return ref.split('/').at(-1);
}

function section({ path, method, operation }) {
  const { summary, description, parameters = [], requestBody, responses } = operation;
  const lines = [`### ${method.toUpperCase()} ${path}`, '', `${summary}. ${description ?? ''}`.trim(), ''];
  if (parameters.length > 0) {
    lines.push('| parameter | in | meaning |', '| --- | --- | --- |');
    for (const { name, in: place, required, description: meaning = '', schema } of parameters) {
      const rules = [required === true ? 'needed' : '', limits(schema)]
        .filter((text) => text !== '')
        .join(', ');
      lines.push(`| \`${name}\` | ${place} | ${cell(meaning)}${rules === '' ? '' : ` (${rules})`} |`);
    }
    lines.push('');
  }
  const body = requestBody?.content?.['application/json']?.example;
  if (body !== undefined) {
    lines.push(`Body, for example: \`${JSON.stringify(body)}\``, '');
  }
  lines.push('| status | |', '| --- | --- |');
  const own = Object.entries(responses).filter(([, { $ref }]) => !COMMON.includes(nameOf($ref)));
  for (const [status, response] of own) {
    const { description: meaning, content } = resolved(response);
    const example = content?.['application/json']?.example;
    lines.push(
      `| ${status} | ${cell(meaning)}${example === undefined ? '' : `: \`${cell(JSON.stringify(example))}\``} |`,
    );
  }
  lines.push('');
  return lines.join('\n');
}

/** A shared answer, which all operations give. */
function resolved(response) {
  if (response.$ref === undefined) {
    return response;
  }
  const document = JSON.parse(readFileSync(join(root, 'src', 'api', 'openapi.json'), 'utf8'));
  return { description: document.components.responses[nameOf(response.$ref)].description };
}

function limits({ minimum, maximum, default: fallback } = {}) {
  return [
    minimum !== undefined && maximum !== undefined ? `${minimum} to ${maximum}` : '',
    fallback === undefined ? '' : `default ${fallback}`,
  ]
    .filter((text) => text !== '')
    .join(', ');
}

function cell(text = '') {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
