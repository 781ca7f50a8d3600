/** The rendezvous store's client. Every wait has a deadline; a lost connection is a CollectiveError of all that waits. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { AnnealError, CollectiveError, ConfigError, describe } from '../native/errors.ts';
import {
  FrameReader,
  frame,
  type Hello,
  isProof,
  limits,
  magic,
  nonceBytes,
  Op,
  proof,
  proofBytes,
  request,
  Status,
  toAll,
  Verdict,
  valueBytes,
} from './frames.ts';

/** Bytes by key that the processes of one attempt of a run share. */
export interface Store {
  set(key: string, value: Uint8Array | string): Promise<void>;
  /** Waits for the key. Default: the store's timeout. Rejects with CollectiveError after it. */
  get(key: string, timeoutMs?: number): Promise<Buffer>;
  /** Adds to a whole number, 0 where there is none, and gives the sum. */
  add(key: string, delta: number): Promise<number>;
  close(): Promise<void>;
}

export interface StoreClientOptions {
  host: string;
  port: number;
  secret: string;
  /** '' of a launcher: whichever run is served. */
  run: string;
  /** -1: a launcher's. */
  attempt: number;
  /** Who is asking, for the server's messages. */
  who: string;
  /** Of each call, and of connecting. Default 30,000. */
  timeoutMs?: number;
}

interface Pending {
  what: string;
  resolve: (body: Buffer) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

/** How much later than the server's the client's own deadline is. */
const graceMs = 2000;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A verdict that another try may change. */
class TryAgain extends Error {}

export class StoreClient implements Store {
  readonly run: string;
  private readonly socket: Socket;
  readonly #place: string;
  readonly #timeoutMs: number;
  readonly #pending = new Map<number, Pending>();
  #next = 0;
  #lost: CollectiveError | undefined;

  private constructor(socket: Socket, run: string, { host, port, timeoutMs = 30_000 }: StoreClientOptions) {
    this.run = run;
    this.socket = socket;
    this.#place = `${host}:${port}`;
    this.#timeoutMs = timeoutMs;
    socket.on('close', () => this.#lose(`the store at ${this.#place} has closed the connection`));
    socket.unref();
  }

  /** Connects, trying again while nobody listens there yet, or another attempt is still served, until `timeoutMs`. */
  static async connect(options: StoreClientOptions): Promise<StoreClient> {
    const { host, port, timeoutMs = 30_000 } = options;
    const deadline = Date.now() + timeoutMs;
    for (let pause = 20; ; pause = Math.min(500, pause * 1.5)) {
      try {
        return await StoreClient.#tryOnce(options, Math.max(1, deadline - Date.now()));
      } catch (error) {
        if (error instanceof AnnealError) throw error;
        if (Date.now() + pause >= deadline)
          throw new CollectiveError(
            `no rendezvous store at ${host}:${port} after ${timeoutMs / 1000} s: ${(error as Error).message}. Does the process that hosts it run, and is the port open between the machines?`,
            { cause: error },
          );
      }
      await sleep(pause);
    }
  }

  static #tryOnce(options: StoreClientOptions, timeoutMs: number): Promise<StoreClient> {
    const { host, port, secret, run, attempt, who } = options;
    const hello = Buffer.from(JSON.stringify({ run, attempt, who } satisfies Hello));
    const client = randomBytes(nonceBytes);
    const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000 });
    return new Promise<StoreClient>((resolve, reject) => {
      let server: Buffer | undefined;
      let store: StoreClient | undefined;
      const fail = (error: Error) => {
        clearTimeout(timer);
        socket.destroy();
        reject(error);
      };
      const timer = setTimeout(() => fail(new TryAgain('what listens there does not answer')), timeoutMs);
      socket.on('error', fail);
      socket.on('close', () => fail(new TryAgain('the connection was closed during the handshake')));
      const reader = new FrameReader(socket, limits.helloBytes, 5000, (bytes) => {
        if (store) {
          store.#take(bytes);
        } else if (!server) {
          if (!bytes.subarray(0, magic.length).equals(magic)) return fail(new TryAgain('what listens there is no store of ours'));
          server = Buffer.from(bytes.subarray(magic.length));
          socket.write(frame(client, proof(secret, 'client', server, client, hello), hello));
        } else {
          const verdict = bytes.readUInt8();
          const genuine = isProof(bytes.subarray(1, 1 + proofBytes), proof(secret, 'server', server, client, hello));
          const served = bytes.subarray(1 + proofBytes).toString();
          const wrong = refusal(genuine ? verdict : Verdict.wrongSecret, options, served);
          if (wrong) return fail(wrong);
          clearTimeout(timer);
          reader.maxBytes = limits.frameBytes;
          socket.removeAllListeners('close').removeListener('error', fail);
          socket.on('error', () => {}); // 'close' follows
          store = new StoreClient(socket, served, options);
          resolve(store);
        }
      });
    });
  }

  async set(key: string, value: Uint8Array | string): Promise<void> {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    if (!(bytes instanceof Uint8Array)) throw new ConfigError(`store.set: value must be text or bytes, got ${describe(value)}`);
    if (bytes.length > valueBytes)
      throw new ConfigError(`store.set: ${key} has ${bytes.length} bytes; the store takes up to ${valueBytes}`);
    await this.#ask('set', Op.set, key, bytes, this.#timeoutMs);
  }

  async get(key: string, timeoutMs: number = this.#timeoutMs): Promise<Buffer> {
    if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0 && timeoutMs < 2 ** 31))
      throw new ConfigError(`store.get: timeoutMs must be from 0 to 2^31 - 1, got ${describe(timeoutMs)}`);
    const body = Buffer.alloc(4);
    body.writeUInt32BE(Math.ceil(timeoutMs));
    return this.#ask('get', Op.get, key, body, timeoutMs);
  }

  async add(key: string, delta: number): Promise<number> {
    if (!Number.isSafeInteger(delta)) throw new ConfigError(`store.add: delta must be a whole number, got ${describe(delta)}`);
    const body = Buffer.alloc(8);
    body.writeDoubleBE(delta);
    return Number((await this.#ask('add', Op.add, key, body, this.#timeoutMs)).toString());
  }

  /** Calls that wait are rejected. */
  async close(): Promise<void> {
    if (this.socket.closed) return;
    const closed = new Promise((resolve) => this.socket.once('close', resolve));
    const timer = setTimeout(() => this.socket.destroy(), graceMs);
    this.#lose('the store was closed here');
    this.socket.ref();
    this.socket.end();
    await closed;
    clearTimeout(timer);
  }

  async #ask(what: string, op: number, key: string, body: Uint8Array, timeoutMs: number): Promise<Buffer> {
    const where = `store.${what}`;
    if (typeof key !== 'string') throw new ConfigError(`${where}: key must be a string, got ${describe(key)}`);
    const size = Buffer.byteLength(key);
    if (size === 0 || size > limits.keyBytes)
      throw new ConfigError(`${where}: key must have 1 to ${limits.keyBytes} bytes, got ${size}`);
    if (this.#lost) throw new CollectiveError(`${where} of "${key}": ${this.#lost.message}`, { cause: this.#lost });
    const id = this.#next;
    this.#next = (this.#next + 1) % toAll;
    return new Promise<Buffer>((resolve, reject) => {
      const late = () => {
        this.#lose(`the store at ${this.#place} did not answer ${what} of "${key}" within ${(timeoutMs + graceMs) / 1000} s`);
        this.socket.destroy();
      };
      const timer = setTimeout(late, Math.min(timeoutMs + graceMs, 2 ** 31 - 1));
      this.#pending.set(id, { what: `${where} of "${key}", ${timeoutMs / 1000} s`, resolve, reject, timer });
      this.socket.ref(); // who waits keeps the process alive; an idle connection does not
      this.socket.write(request(op, id, key, body));
    });
  }

  #take(bytes: Buffer): void {
    const id = bytes.readUInt32BE();
    const status = bytes.readUInt8(4);
    if (id === toAll) this.#lose(reasons[status] ?? `status ${status}`);
    const pending = this.#pending.get(id);
    if (!pending) return;
    clearTimeout(pending.timer);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.socket.unref();
    if (status === Status.ok) pending.resolve(Buffer.from(bytes.subarray(5)));
    else pending.reject(new CollectiveError(`${pending.what}: ${reasons[status] ?? `status ${status}`}`));
  }

  #lose(why: string): void {
    this.#lost ??= new CollectiveError(why);
    for (const { what, reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new CollectiveError(`${what}: ${this.#lost.message}`, { cause: this.#lost }));
    }
    this.#pending.clear();
  }
}

const reasons: { readonly [status: number]: string } = {
  [Status.timeout]: 'nobody set the key in this time; the process that should is late, or has ended',
  [Status.full]: `the store is full (${limits.storeBytes / 2 ** 20} MiB or ${limits.keys} keys)`,
  [Status.notANumber]: 'the key holds no whole number, or the sum is past 2^53',
  [Status.stale]: 'the run was started again; this process belongs to an earlier attempt',
  [Status.closing]: 'the store was closed by its host',
};

function refusal(verdict: number, { host, port, run, attempt }: StoreClientOptions, served: string): Error | undefined {
  const place = `the store at ${host}:${port}`;
  if (verdict === Verdict.welcome) return undefined;
  if (verdict === Verdict.early) return new TryAgain(`it still serves an attempt before attempt ${attempt}`);
  if (verdict === Verdict.stale)
    return new CollectiveError(`${place} refused attempt ${attempt} of run "${run}": a later one has begun. End this process.`);
  if (verdict === Verdict.wrongRun)
    return new ConfigError(`${place} serves run "${served}", not "${run}". Give each run a port of its own.`);
  return new ConfigError(
    `${place} and this process do not have the same secret. Set ANNEAL_SECRET to one value on all machines of a run.`,
  );
}
