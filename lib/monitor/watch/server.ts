/** The live page over HTTP. It serves what it reads itself from runs' histories, by their ids; no path of a request is ever one of the disk. */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { AnnealError, ConfigError } from '../../native/errors.ts';
import { askRun, whoAmI } from '../control/ask.ts';
import { type ControlRequest, checkRequest } from '../control/protocol.ts';
import { Access, isLoopback } from './access.ts';
import { EventStreams } from './event-streams.ts';
import type { LiveRun } from './live-run.ts';
import { watchPage } from './page.ts';
import { prometheus, prometheusType } from './prometheus.ts';
import { Runs } from './runs.ts';

export interface ServeOptions {
  /** Default 6007; 0: any that is free. */
  port?: number;
  /** Address to listen on. Default '127.0.0.1'. Any but this machine's own needs a token, and gets one. */
  host?: string;
  /** What who asks must know. Default: none on this machine alone, else a new one. */
  token?: string;
}

export interface RunServer {
  /** What to open, with the token where there is one. */
  readonly url: string;
  readonly port: number;
  readonly token: string | undefined;
  close(): Promise<void>;
}

const maxBody = 4096;
/** Curves asked for in one request, and points of each: a page asks again for the rest, and others are served in between. */
const maxCurves = 64;
const maxPoints = 50_000;
/** How long a page waits for a run to obey. */
const obeyWithin = 120_000;

/** Said to the client in words. */
class HttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const headers = {
  'Cache-Control': 'no-store',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
};
/** What is no page may run nothing, whatever it holds. */
const inert = { 'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'; sandbox" };

function send(response: ServerResponse, status: number, type: string, body: string | Uint8Array, more: object = inert): void {
  response.writeHead(status, { ...headers, 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...more });
  response.end(body);
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) throw new HttpError(415, 'the body must be JSON');
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > maxBody) throw new HttpError(413, `the body may have ${maxBody} bytes`);
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  } catch {
    throw new HttpError(400, 'the body is not JSON');
  }
}

class RunPages {
  readonly #runs: Runs;
  readonly #access: Access;
  readonly #streams: EventStreams;
  readonly #closing = new AbortController();

  constructor(runs: Runs, access: Access) {
    this.#runs = runs;
    this.#access = access;
    this.#streams = new EventStreams(runs);
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = this.#urlOf(request);
      const opening = request.method === 'GET' && url.pathname === '/';
      const refusal = this.#access.refusal(request, url, opening);
      if (refusal) throw new HttpError(refusal.status, refusal.why);
      await this.#route(request, response, url);
    } catch (error) {
      if (response.headersSent) return void response.destroy();
      const status = error instanceof HttpError ? error.status : 500;
      const why = error instanceof HttpError ? error.message : 'the server failed';
      // What was not read of the body is not read.
      send(response, status, 'text/plain; charset=utf-8', `${why}\n`, { ...inert, Connection: 'close' });
    }
  }

  #urlOf(request: IncomingMessage): URL {
    const target = request.url ?? '';
    if (!target.startsWith('/') || target.startsWith('//')) throw new HttpError(400, 'the address is none of this server');
    try {
      return new URL(target, 'http://watch');
    } catch {
      throw new HttpError(400, 'the address cannot be read');
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const routes: Record<string, readonly [method: string, serve: () => unknown]> = {
      '/': ['GET', () => this.#page(response)],
      '/events': ['GET', () => this.#events(request, response)],
      '/api/series': ['GET', () => this.#series(response, url)],
      '/api/samples': ['GET', () => this.#samples(response, url)],
      '/api/control': ['POST', () => this.#control(request, response)],
      '/metrics': ['GET', () => this.#metrics(response)],
    };
    const route = Object.hasOwn(routes, url.pathname) ? routes[url.pathname] : undefined;
    if (!route) throw new HttpError(404, 'there is nothing here');
    const [method, serve] = route;
    if (request.method !== method) throw new HttpError(405, `only ${method} is answered here`);
    await serve();
  }

  #page(response: ServerResponse): void {
    const { text, policy } = watchPage();
    const { cookie } = this.#access;
    send(response, 200, 'text/html; charset=utf-8', text, {
      'Content-Security-Policy': policy,
      ...(cookie === undefined ? {} : { 'Set-Cookie': cookie }),
    });
  }

  #events(request: IncomingMessage, response: ServerResponse): void {
    if (!this.#streams.free) throw new HttpError(503, 'too many pages are open');
    response.writeHead(200, {
      ...headers,
      ...inert,
      'Content-Type': 'text/event-stream; charset=utf-8',
      'X-Accel-Buffering': 'no',
    });
    this.#streams.add(response, request.headers['last-event-id']);
  }

  /** By its id, never by a path; a new one may not have been seen yet. */
  async #run(id: unknown): Promise<LiveRun> {
    if (typeof id === 'string' && !this.#runs.get(id)) await this.#runs.refresh();
    const run = typeof id === 'string' ? this.#runs.get(id) : undefined;
    if (!run) throw new HttpError(404, 'there is no such run');
    return run;
  }

  /** `run`, `generation`, and for each curve `metric` as NAME:FROM. Float64 numbers: of each curve its length, steps, values. */
  async #series(response: ServerResponse, url: URL): Promise<void> {
    const run = await this.#run(url.searchParams.get('run'));
    if (url.searchParams.get('generation') !== run.generation) throw new HttpError(409, 'the curves are others now');
    const asked = url.searchParams.getAll('metric');
    if (asked.length === 0 || asked.length > maxCurves) throw new HttpError(400, `ask for 1 to ${maxCurves} metrics`);
    const parts = asked.map((text) => {
      const [, name, from] = /^(.*):(\d{1,12})$/s.exec(text) ?? [];
      if (name === undefined) throw new HttpError(400, 'a metric is asked for as NAME:FROM');
      return Buffer.from(run.values(name, Number(from), maxPoints).buffer);
    });
    send(response, 200, 'application/octet-stream', Buffer.concat(parts));
  }

  /** `run`, and which of its sample outputs as ATTEMPT.STEP. */
  async #samples(response: ServerResponse, url: URL): Promise<void> {
    const run = await this.#run(url.searchParams.get('run'));
    const made = run.samples.get(url.searchParams.get('made'));
    if (!made) throw new HttpError(404, 'these outputs are kept no more');
    send(response, 200, 'application/json', JSON.stringify(made));
  }

  async #control(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { run: id, ...asked } = Object(await bodyOf(request)) as Record<string, unknown>;
    const run = await this.#run(id);
    try {
      const { request: wish } = checkRequest(asked);
      const by = `${whoAmI()}, live page`;
      const answer = await askRun(run.dir, wish as ControlRequest, { by, timeout: obeyWithin, signal: this.#closing.signal });
      send(response, 200, 'application/json', JSON.stringify(answer));
    } catch (error) {
      if (!(error instanceof AnnealError)) throw error;
      throw new HttpError(409, error.message);
    }
  }

  async #metrics(response: ServerResponse): Promise<void> {
    await this.#runs.refresh();
    send(response, 200, prometheusType, prometheus(this.#runs.all));
  }

  close(): void {
    this.#closing.abort();
    this.#streams.close();
  }
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'something listens there already; give another --port' : error.message;
      reject(new ConfigError(`watch: cannot listen on ${host}:${port}: ${why}`));
    });
    server.listen(port, host, resolve);
  });
}

/** Serves the live page of the runs below `folder` until it is closed. */
export async function serveRuns(folder: string, options: ServeOptions = {}): Promise<RunServer> {
  const { port = 6007, host = '127.0.0.1' } = options;
  const runs = await Runs.open(folder);
  const token = options.token ?? (isLoopback(host) ? undefined : randomBytes(32).toString('hex'));
  let pages: RunPages | undefined;
  const server = createServer(
    { headersTimeout: 10_000, requestTimeout: 15_000, keepAliveTimeout: 5_000 },
    (request, response) => {
      response.on('error', () => {}); // who asked has gone
      void pages?.answer(request, response);
    },
  );
  server.maxConnections = 256;
  server.setTimeout(60_000); // who does not read what he asked for; event streams have a beat
  server.on('clientError', (_, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    else socket.destroy();
  });
  await listen(server, port, host);
  const at = server.address() as AddressInfo;
  const shown = host === '0.0.0.0' || host === '::' ? 'localhost' : isIP(host) === 6 ? `[${host}]` : host;
  pages = new RunPages(runs, new Access(token, at.port));
  return {
    url: `http://${shown}:${at.port}/${token === undefined ? '' : `?token=${token}`}`,
    port: at.port,
    token,
    close: () =>
      new Promise((resolve) => {
        pages?.close();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
