/** `anneal watch` over HTTP: what it serves, to whom, and what it does with those who mean no good. */
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { overlay, parseSeries, plan } from '../../../lib/monitor/watch/curves.mjs';
import type { RunState } from '../../../lib/monitor/watch/live-run.ts';
import { type RunServer, type ServeOptions, serveRuns } from '../../../lib/monitor/watch/server.ts';
import { folder, text } from './helpers.ts';

const attempt = (n: number, step = 0) => ({ attempt: n, step, type: 'attempt', time: 1 });
const step = (n: number, more: object = {}) => ({
  attempt: 1,
  step: n,
  type: 'step',
  loss: 1 / n,
  lr: 0.1,
  applied: true,
  ...more,
});

async function serve(dir: string, options: ServeOptions = {}): Promise<RunServer> {
  const server = await serveRuns(dir, { port: 0, ...options });
  onTestFinished(() => server.close());
  return server;
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  text: string;
}
/** A request as it is written, without what fetch would put right. */
function ask(
  server: RunServer,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const all = { host: `localhost:${server.port}`, ...headers };
    const sent = httpRequest({ host: '127.0.0.1', port: server.port, path, method, headers: all, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => {
        const whole = Buffer.concat(parts);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: whole, text: whole.toString() });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

interface Told {
  id?: string;
  event?: string;
  data?: unknown;
}
/** Reads server-sent events; `until` waits for one that fits. */
async function events(server: RunServer, headers: Record<string, string> = {}) {
  const told: Told[] = [];
  const closing = new AbortController();
  const response = await fetch(`http://localhost:${server.port}/events`, { headers, signal: closing.signal });
  onTestFinished(() => closing.abort());
  void (async () => {
    let rest = '';
    for await (const part of response.body as unknown as AsyncIterable<Uint8Array>) {
      rest += Buffer.from(part).toString();
      const messages = rest.split('\n\n');
      rest = messages.pop() ?? '';
      for (const message of messages) {
        const fields = Object.fromEntries(
          message.split('\n').map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 2)]),
        );
        told.push({ ...fields, ...(fields.data ? { data: JSON.parse(fields.data) } : {}) });
      }
    }
  })().catch(() => {});
  const until = async (fits: (state: RunState) => boolean): Promise<Told & { data: RunState }> => {
    for (const end = performance.now() + 15_000; performance.now() < end; await delay(10)) {
      const found = told.findLast((t) => t.event === 'run' && fits(t.data as RunState));
      if (found) return found as never;
    }
    throw new Error(`never: ${fits}; last: ${JSON.stringify(told.at(-1))}`);
  };
  return { told, until, close: () => closing.abort(), response };
}
const series = async (server: RunServer, run: string, generation: string, ...metrics: string[]) => {
  const query = new URLSearchParams({ run, generation });
  for (const m of metrics) query.append('metric', m);
  const { status, body } = await ask(server, `/api/series?${query}`);
  if (status !== 200) return status;
  return parseSeries(new Float64Array(Uint8Array.from(body).buffer)).map(({ steps, values }) => [[...steps], [...values]]);
};

describe('what grows', () => {
  test('events tell of new steps, cut lines wait for their end, NaN arrives as NaN', async () => {
    const dir = folder({ a: [attempt(1), { attempt: 1, step: 0, type: 'run', totalSteps: 9, model: 'M' }, step(1), step(2)] });
    const file = join(dir, 'a/metrics.jsonl');
    const server = await serve(dir);
    const { until, told } = await events(server);
    const first = (await until((s) => s.step === 2)).data;
    expect(first).toMatchObject({ id: 'a', life: 'over', totalSteps: 9, about: { model: 'M' }, lengths: { loss: 2, lr: 2 } });
    expect(told.find((t) => t.event === 'runs')?.data).toEqual(['a']);
    appendFileSync(file, text([step(3, { loss: Number.NaN })]) + text([step(4)]).slice(0, 20));
    await until((s) => s.step === 3);
    appendFileSync(file, text([step(4)]).slice(20) + text([{ attempt: 1, step: 4, type: 'eval', 'val/loss': 0.5 }]));
    const later = (await until((s) => s.lengths['val/loss'] === 1)).data;
    expect(later).toMatchObject({ step: 4, damaged: 0, generation: first.generation });
    expect(await series(server, 'a', later.generation, 'loss:0', 'val/loss:0', 'nothing:0')).toEqual([
      [[1, 2, 3, 4], [1, 0.5, Number.NaN, 0.25]],
      [[4], [0.5]],
      [[], []],
    ]); // biome-ignore format: a table
    expect(await series(server, 'a', later.generation, 'loss:3')).toEqual([[[4], [0.25]]]);
    expect(await series(server, 'a', 'older.1', 'loss:0')).toBe(409);
    expect(await series(server, 'b', later.generation, 'loss:0')).toBe(404);
  });

  test('a resumed run replaces its lost tail; a file that is replaced, or cut short, begins anew', async () => {
    const dir = folder({ a: [attempt(1), step(1), step(2), step(3), { attempt: 1, step: 3, type: 'notice', message: 'lost' }] });
    const file = join(dir, 'a/metrics.jsonl');
    const server = await serve(dir);
    const { until } = await events(server);
    const before = (await until((s) => s.step === 3)).data;
    appendFileSync(file, text([attempt(2, 1), step(2, { attempt: 2, loss: 7 })]));
    const after = (await until((s) => s.attempt === 2 && s.step === 2)).data;
    expect(after.generation).not.toBe(before.generation);
    expect(after.journal).toEqual([]);
    expect(await series(server, 'a', after.generation, 'loss:0')).toEqual([[[1, 2], [1, 7]]]); // biome-ignore format: a table
    // An attempt whose first line was lost supersedes by its first step, as readHistory does.
    appendFileSync(file, text([step(2, { attempt: 3, loss: 8 })]));
    const third = (await until((s) => s.attempt === 3)).data;
    expect(await series(server, 'a', third.generation, 'loss:0')).toEqual([[[1, 2], [1, 8]]]); // biome-ignore format: a table
    writeFileSync(`${file}.next`, text([attempt(1), step(1, { loss: 5 }), ...[2, 3, 4, 5, 6, 7, 8, 9].map((n) => step(n))]));
    renameSync(`${file}.next`, file);
    const replaced = (await until((s) => s.step === 9)).data;
    expect(await series(server, 'a', replaced.generation, 'loss:0')).toMatchObject([
      [{ length: 9 }, [5, ...[2, 3, 4, 5, 6, 7, 8, 9].map((n) => 1 / n)]],
    ]);
    // Written over where it stands: neither its inode nor its length tells.
    const over = openSync(file, 'r+');
    writeSync(over, text([attempt(1), step(1, { loss: 6 }), ...Array.from({ length: 20 }, (_, i) => step(i + 2))]));
    closeSync(over);
    const written = (await until((s) => s.step === 21)).data;
    expect(await series(server, 'a', written.generation, 'loss:0')).toMatchObject([[{ length: 21 }, { 0: 6, 20: 1 / 21 }]]);
    truncateSync(file, 0);
    appendFileSync(file, text([attempt(1), step(1, { loss: 4 })]));
    const short = (await until((s) => s.step === 1)).data;
    expect(await series(server, 'a', short.generation, 'loss:0')).toEqual([[[1], [4]]]);
  });

  test('findings come and go, evaluations and what was asked are listed, damage is counted', async () => {
    const finding = { attempt: 1, step: 1, type: 'finding', rule: 'overfitting', severity: 'warning', title: 'T', evidence: 'E' };
    const control = { attempt: 1, step: 1, type: 'control', what: 'lr', lr: 0.2, by: 'me' };
    const dir = folder({ a: [attempt(1), step(1), finding, control] });
    appendFileSync(join(dir, 'a/metrics.jsonl'), 'no json\n');
    const { until } = await events(await serve(dir));
    const { data } = await until((s) => s.damaged === 1);
    expect(data).toMatchObject({ findings: [{ rule: 'overfitting', title: 'T' }], journal: [{ what: 'lr', by: 'me' }] });
    appendFileSync(
      join(dir, 'a/metrics.jsonl'),
      text([{ attempt: 1, step: 2, type: 'finding', rule: 'overfitting', resolved: true }]),
    );
    await until((s) => s.findings.length === 0);
  });

  test('who was cut off is told what changed since, and nothing twice', async () => {
    const dir = folder({ a: [attempt(1), step(1)], b: [attempt(1), step(1)] });
    const server = await serve(dir);
    const first = await events(server);
    await first.until((s) => s.id === 'a' && s.step === 1);
    await first.until((s) => s.id === 'b' && s.step === 1);
    const last = first.told.findLast((t) => t.id)?.id as string;
    first.close();
    appendFileSync(join(dir, 'b/metrics.jsonl'), text([step(2)]));
    const again = await events(server, { 'Last-Event-ID': last });
    await again.until((s) => s.id === 'b' && s.step === 2);
    expect(again.told.some((t) => (t.data as { id?: string } | undefined)?.id === 'a')).toBe(false);
    const other = await events(server, { 'Last-Event-ID': 'abc-99999' }); // another server's
    await other.until((s) => s.id === 'a');
  });

  test('overlaid curves stand at the union of their steps; the most telling chart comes first', () => {
    const curve = (steps: number[], values: number[]) => ({ steps: Float64Array.from(steps), values: Float64Array.from(values) });
    const { x, columns } = overlay([curve([1, 2, 2, 5], [1, 2, 3, 4]), curve([2, 4], [8, 9]), curve([], [])]);
    expect([...x]).toEqual([1, 2, 4, 5]);
    const nan = Number.NaN;
    expect(columns.map((c) => [...c])).toEqual([
      [1, 3, nan, 4],
      [nan, 8, 9, nan],
      [nan, nan, nan, nan],
    ]);
    expect([...overlay([]).x]).toEqual([]);
    expect(plan(new Set(['zeta', 'lr', 'val/loss', 'epoch'])).map(([title]) => title)).toEqual(['Loss', 'Learning rate', 'zeta']);
  });
});

describe('to whom', () => {
  test('on this machine alone: own names only, no other origin, no other site; changes need both an origin and a header', async () => {
    const server = await serve(folder({ a: [attempt(1), step(1)] }));
    const host = `localhost:${server.port}`;
    expect((await ask(server, '/')).status).toBe(200);
    for (const name of ['127.0.0.1', '[::1]'])
      expect((await ask(server, '/', { host: `${name}:${server.port}` })).status).toBe(200);
    for (const name of ['evil.example', `evil.example:${server.port}`, 'localhost.evil.example', 'localhost@evil', 'a b'])
      expect((await ask(server, '/metrics', { host: name })).status, name).toBe(403);
    for (const origin of ['http://evil.example', 'null', `https://${host}`, 'http://localhost:1'])
      expect((await ask(server, '/metrics', { origin })).status, origin).toBe(403);
    for (const path of ['/events', '/metrics', '/api/series', '/api/samples'])
      expect((await ask(server, path, { 'sec-fetch-site': 'cross-site' })).status, path).toBe(403);
    expect((await ask(server, '/', { 'sec-fetch-site': 'cross-site' })).status).toBe(200); // a link may lead here
    const json = { 'content-type': 'application/json' };
    const own = { origin: `http://${host}`, 'x-anneal': '1' };
    const wish = '{"run":"a","lr":1}';
    const post = async (headers: Record<string, string>, body = wish) =>
      (await ask(server, '/api/control', headers, 'POST', body)).status;
    expect(await post(json)).toBe(403);
    expect(await post({ ...json, origin: own.origin })).toBe(403);
    expect(await post({ ...json, 'x-anneal': '1' })).toBe(403);
    expect(await post({ ...json, ...own, origin: 'http://evil.example' })).toBe(403);
    expect(await post(own)).toBe(415);
    expect(await post({ ...json, ...own })).toBe(409); // heard, but the run is over
    expect(await post({ ...json, ...own }, 'x'.repeat(5000))).toBe(413);
    expect(await post({ ...json, ...own }, '{"run":"a"')).toBe(400);
    expect(await post({ ...json, ...own }, '{"run":"../a","lr":1}')).toBe(404);
    expect(await post({ ...json, ...own }, 'null')).toBe(404);
    expect(await post({ ...json, ...own }, '{"run":"a","rm":true}')).toBe(409);
  });

  test('the page may load and run nothing but what it brings; its answers are no one else’s to read', async () => {
    const server = await serve(folder());
    const { headers, text: page } = await ask(server, '/');
    const policy = headers['content-security-policy'] as string;
    expect(policy).toMatch(
      /default-src 'none'.*script-src 'sha256-[^;]*; style-src 'sha256-[^;]*; connect-src 'self'; frame-ancestors 'none'/,
    );
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
    });
    expect(headers['access-control-allow-origin']).toBeUndefined();
    expect(page.replace(/<script>.*?<\/script>/gs, '')).not.toMatch(/(?:src|href)="(?!#|data:,)/);
  });

  test('with a token: nothing without it; the address brings it once, then a cookie that scripts cannot read; Prometheus sends it', async () => {
    const server = await serve(folder({ a: [attempt(1), step(1)] }), { host: '0.0.0.0' });
    const token = server.token as string;
    expect(token).toMatch(/^[\da-f]{64}$/);
    expect(server.url).toBe(`http://localhost:${server.port}/?token=${token}`);
    const other = { host: `10.1.2.3:${server.port}` };
    for (const path of ['/', '/events', '/metrics', '/api/series', '/api/samples', '/nothing'])
      expect((await ask(server, path, other)).status, path).toBe(401);
    for (const wrong of ['', 'x', token.slice(1), `${token}0`, token.toUpperCase().replace(/\d/g, '7')])
      expect((await ask(server, `/?token=${wrong}`, other)).status).toBe(401);
    expect((await ask(server, `/metrics?token=${token}`, other)).status).toBe(401); // addresses are written into logs
    const { status, headers } = await ask(server, `/?token=${token}`, other);
    expect(status).toBe(200);
    const [cookie] = headers['set-cookie'] as string[];
    expect(cookie).toBe(`anneal_watch_${server.port}=${token}; HttpOnly; SameSite=Strict; Path=/`);
    const sent = { ...other, cookie: `theme=dark; ${cookie?.split(';')[0]}; x=y` };
    expect((await ask(server, '/metrics', sent)).status).toBe(200);
    expect((await ask(server, '/metrics', { ...sent, origin: 'http://evil.example' })).status).toBe(403);
    expect((await ask(server, '/metrics', { ...sent, origin: `https://${other.host}` })).status).toBe(200); // a proxy with TLS
    expect((await ask(server, '/metrics', { ...other, authorization: `Bearer ${token}` })).status).toBe(200);
    expect((await ask(server, '/metrics', { ...other, authorization: `Basic ${token}` })).status).toBe(401);
  });

  test('no path leads out of the runs', async () => {
    const outside = folder({ secret: [attempt(1), step(1, { loss: 42 })] });
    const dir = folder({
      a: [attempt(1), step(1)],
      'deep/er/b': [attempt(1), step(1)],
      'too/deep/to/see': [attempt(1), step(1)],
    });
    symlinkSync(join(outside, 'secret'), join(dir, 'linked'));
    const outputs = { attempt: 1, step: 1, type: 'samples', epoch: 0, samples: [{ name: 'x', text: 'secret' }] };
    writeFileSync(join(outside, 'samples.jsonl'), text([outputs]));
    symlinkSync(join(outside, 'samples.jsonl'), join(dir, 'a/samples.jsonl'));
    writeFileSync(join(dir, 'deep/er/b/samples.jsonl'), text([outputs]));
    mkdirSync(join(dir, 'file-link'));
    symlinkSync(join(outside, 'secret/metrics.jsonl'), join(dir, 'file-link/metrics.jsonl'));
    mkdirSync(join(dir, 'strange/metrics.jsonl'), { recursive: true });
    const server = await serve(dir);
    const { told, until } = await events(server);
    const { data } = await until((s) => s.id === 'a');
    expect(told.find((t) => t.event === 'runs')?.data).toEqual(['a', 'deep/er/b']);
    const { generation } = data;
    const names = [
      '../secret',
      'linked',
      'file-link',
      join(outside, 'secret'),
      'a/../a',
      './a',
      'a/',
      'a\0',
      '%2e%2e',
      '..%2fsecret',
      '__proto__',
      '',
    ];
    for (const run of names) expect(await series(server, run, generation, 'loss:0'), run).toBe(404);
    const outputsOf = async (run: string, made: string) =>
      (await ask(server, `/api/samples?${new URLSearchParams({ run, made })}`)).status;
    expect(await outputsOf('deep/er/b', '1.1')).toBe(200);
    for (const [run, made] of [...names.map((n) => [n, '1.1']), ['a', '1.1'], ['deep/er/b', '../1.1'], ['deep/er/b', '']])
      expect(await outputsOf(run as string, made as string), `${run} ${made}`).toBe(404);
    const paths = [
      '/../etc/passwd',
      '/%2e%2e/%2e%2e/etc/passwd',
      '/..%2f..%2fetc/passwd',
      '/a/metrics.jsonl',
      `/${dirname(dir)}`,
      '/a%00',
      '/__proto__',
      '/constructor',
    ];
    for (const path of [...paths, '/\\..\\x', '/.%5c..']) expect([400, 404], path).toContain((await ask(server, path)).status);
    for (const path of ['//evil.example/', 'http://evil.example/', '*']) expect((await ask(server, path)).status, path).toBe(400);
    expect((await ask(server, '/', {}, 'DELETE')).status).toBe(405);
    expect((await ask(server, '/metrics', {}, 'POST')).status).toBe(403);
    for (const path of ['/events', '/metrics']) expect((await ask(server, path, {}, 'PUT')).status).toBe(405);
    for (const q of ['loss', 'loss:-1', 'loss:1e3', ':', 'loss:9999999999999'])
      expect([400, 200], q).toContain(
        (await ask(server, `/api/series?run=a&generation=${generation}&metric=${encodeURIComponent(q)}`)).status,
      );
    const many = Array.from({ length: 65 }, () => 'metric=loss:0').join('&');
    expect((await ask(server, `/api/series?run=a&generation=${generation}&${many}`)).status).toBe(400);
  });
});

describe('Prometheus', () => {
  /** The text format 0.0.4 by its grammar; throws where a line is none of it. */
  function parse(exposition: string) {
    const samples: { name: string; labels: Record<string, string>; value: number }[] = [];
    const seen = new Set<string>();
    expect(exposition.endsWith('\n')).toBe(true);
    for (const line of exposition.slice(0, -1).split('\n')) {
      if (/^# (HELP [a-z_]+ [^\\]+|TYPE [a-z_]+ gauge)$/.test(line)) continue;
      const [, name, inner, value] =
        /^([a-zA-Z_:][\w:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*",?)*)\} (NaN|[+-]Inf|[-+\d.e]+)$/.exec(line) ?? [];
      if (name === undefined || inner === undefined || value === undefined) throw new Error(`no sample: ${line}`);
      const labels = Object.fromEntries(
        [...inner.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [
          m[1],
          (m[2] as string).replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c)),
        ]),
      );
      expect(seen.has(`${name}{${inner}}`), line).toBe(false);
      seen.add(`${name}{${inner}}`);
      samples.push({ name, labels, value: value.endsWith('Inf') ? Number(`${value[0]}Infinity`) : Number(value) });
    }
    return samples;
  }

  test('every run with its last figures, by the grammar; hostile names are labels', async () => {
    const hostile = 'x"} 1\nanneal_loss{run="y\\';
    const evaluation = { attempt: 1, step: 2, type: 'eval', 'val/loss': 0.25, 'val/a"\n\\b': 3 };
    const dir = folder({
      a: [
        attempt(1),
        { attempt: 1, step: 0, type: 'run', totalSteps: 10 },
        step(1),
        step(2, { loss: Number.NaN, gradNorm: Infinity, lr: 1e-7, applied: false }),
        evaluation,
      ],
      [hostile]: [attempt(1), step(1, { loss: -Infinity })],
    });
    const server = await serve(dir);
    const { headers, text: exposition } = await ask(server, '/metrics');
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    const samples = parse(exposition);
    const of = (name: string, more: object) =>
      samples.filter((s) => s.name === name).find((s) => Object.entries(more).every(([k, v]) => s.labels[k] === v))?.value;
    expect(of('anneal_step', { run: 'a' })).toBe(2);
    expect(of('anneal_total_steps', { run: 'a' })).toBe(10);
    expect(of('anneal_loss', { run: 'a' })).toBeNaN();
    expect(of('anneal_gradient_norm', { run: 'a' })).toBe(Infinity);
    expect(of('anneal_learning_rate', { run: 'a' })).toBe(1e-7);
    expect(of('anneal_skipped_steps', { run: 'a' })).toBe(1);
    expect(of('anneal_run_up', { run: 'a' })).toBe(0);
    expect(of('anneal_evaluation', { run: 'a', metric: 'val/a"\n\\b' })).toBe(3);
    expect(of('anneal_loss', { run: hostile })).toBe(-Infinity);
    expect(samples.filter((s) => s.labels.run === 'y\\')).toEqual([]);
    appendFileSync(join(dir, 'a/metrics.jsonl'), text([step(3, { loss: 0.125 })]));
    await delay(250); // it looks at files that often at most
    expect(parse((await ask(server, '/metrics')).text).find((s) => s.name === 'anneal_loss' && s.labels.run === 'a')?.value).toBe(
      0.125,
    );
  });

  test('nothing to tell is an empty answer', async () => {
    expect(await ask(await serve(folder()), '/metrics')).toMatchObject({ status: 200, text: '' });
  });
});

describe('who means no good', () => {
  const socket = (server: RunServer): Promise<Socket> =>
    new Promise((resolve) => {
      const s = connect(server.port, '127.0.0.1', () => resolve(s));
      s.on('error', () => {});
      onTestFinished(() => void s.destroy());
    });

  test('garbage, half requests and many connections do not keep others from being served', async () => {
    const server = await serve(folder({ a: [attempt(1), step(1)] }));
    let seed = 4711;
    const random = (n: number) => {
      seed = (seed * 48271) % 2147483647;
      return seed % n;
    };
    const pieces = [
      'GET ',
      'POST ',
      '/',
      '/events',
      ' HTTP/1.1',
      '\r\n',
      '\r\n\r\n',
      'Host: localhost',
      'Host:',
      ': ',
      '\0',
      'Content-Length: 9',
      'Transfer-Encoding: chunked',
      'zz',
      '%',
      '?metric=',
      '\xff',
    ];
    for (let i = 0; i < 150; i++) {
      const s = await socket(server);
      s.write(Array.from({ length: 1 + random(9) }, () => pieces[random(pieces.length)]).join(''), 'latin1');
      if (random(2)) s.destroy();
    }
    for (let i = 0; i < 60; i++) (await socket(server)).write('GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ');
    expect((await ask(server, '/metrics')).status).toBe(200);
    expect((await ask(server, `/${'x'.repeat(20_000)}`).catch(() => ({ status: 0 }))).status).toBeOneOf([0, 400, 431]);
  });

  test('who reads slowly is told the latest, and nothing is kept for him; too many pages are turned away', async () => {
    const dir = folder({ a: [attempt(1), step(1)] });
    const server = await serve(dir);
    const slow = await socket(server);
    slow.pause();
    slow.write(`GET /events HTTP/1.1\r\nHost: localhost:${server.port}\r\n\r\n`);
    const reading = await events(server);
    await reading.until((s) => s.step === 1);
    for (let n = 2; n < 8; n++) {
      appendFileSync(join(dir, 'a/metrics.jsonl'), text([step(n)]));
      await reading.until((s) => s.step === n);
    }
    const streams: Promise<{ response: Response }>[] = [];
    for (let i = 0; i < 40; i++) streams.push(events(server));
    const statuses = (await Promise.all(streams)).map((s) => s.response.status);
    expect(statuses.filter((s) => s === 200)).toHaveLength(30);
    expect(statuses.filter((s) => s === 503)).toHaveLength(10);
    expect((await ask(server, '/metrics')).status).toBe(200);
  });

  test('what is no folder, and a port that is taken, are said in words', async () => {
    await expect(serveRuns('/nowhere')).rejects.toThrow(/\/nowhere is no folder\. Give a run's folder/);
    const { port } = await serve(folder());
    await expect(serveRuns(folder(), { port })).rejects.toThrow(/something listens there already; give another --port/);
  });
});
