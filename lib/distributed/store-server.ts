/** The rendezvous store's server: a map of bytes by key that the processes of one run share. Trusts nobody before the secret is proven. */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { CollectiveError } from '../native/errors.ts';
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
  reply,
  Status,
  toAll,
  Verdict,
} from './frames.ts';

export interface StoreServerOptions {
  /** What both sides must know. */
  secret: string;
  run: string;
  /** How often the run was started before. Default 0. */
  attempt?: number;
  /** Default '127.0.0.1'. */
  host?: string;
  /** Default 0: a free one. */
  port?: number;
  /** How long a client may take to prove itself, and to finish a frame. Default 5,000. */
  stallMs?: number;
  /** A launcher's connection has ended. */
  onLauncherGone?: (who: string) => void;
}

interface Waiter {
  socket: Socket;
  id: number;
  timer: NodeJS.Timeout;
}

/** Connections that have not proven themselves: beyond so many the oldest goes. Proving takes one round trip. */
const maxStrangers = 512;
/** Replies that a client leaves unread. */
const maxUnread = 4 * limits.frameBytes;
const maxWaitMs = 2 ** 31 - 1;

export class StoreServer {
  readonly #options: Required<Pick<StoreServerOptions, 'secret' | 'run' | 'stallMs'>> & StoreServerOptions;
  readonly #server: Server;
  readonly #strangers = new Set<Socket>();
  readonly #members = new Map<Socket, Hello>();
  readonly #values = new Map<string, Buffer>();
  readonly #waiters = new Map<string, Set<Waiter>>();
  #bytes = 0;
  #attempt: number;

  private constructor(options: StoreServerOptions) {
    this.#options = { stallMs: 5000, ...options };
    this.#attempt = options.attempt ?? 0;
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000 }, (socket) =>
      this.#greet(socket),
    );
    this.#server.unref();
  }

  /** Listens. Rejects with a CollectiveError where the port is taken. */
  static async listen(options: StoreServerOptions): Promise<StoreServer> {
    const store = new StoreServer(options);
    const { host = '127.0.0.1', port = 0 } = options;
    await new Promise<void>((resolve, reject) => {
      store.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const why = cause.code === 'EADDRINUSE' ? 'the port is taken by another program' : cause.message;
        reject(new CollectiveError(`the rendezvous store cannot listen at ${host}:${port}: ${why}`, { cause }));
      });
      store.#server.listen({ host, port, backlog: 4096 }, resolve);
    });
    store.#server.on('error', () => {}); // accepting failed for want of a descriptor: the peer tries again
    return store;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  get attempt(): number {
    return this.#attempt;
  }

  /** Begins another attempt: keys of the last are forgotten, and who belongs to it is sent away. */
  set attempt(attempt: number) {
    this.#attempt = attempt;
    for (const [key, value] of this.#values) {
      if (key.startsWith(prefix(this.#options.run, -1))) continue;
      this.#values.delete(key);
      this.#bytes -= key.length + value.length;
    }
    for (const [key, waiters] of this.#waiters) {
      if (key.startsWith(prefix(this.#options.run, -1))) continue;
      this.#waiters.delete(key);
      for (const waiter of waiters) this.#answer(waiter, Status.stale);
    }
    for (const [socket, { attempt: theirs }] of this.#members)
      if (theirs !== -1 && theirs !== attempt) socket.end(reply(toAll, Status.stale));
  }

  /** A key's value now, of the present attempt. */
  peek(key: string): Buffer | undefined {
    return this.#values.get(prefix(this.#options.run, this.#attempt) + key);
  }

  /** Ends every connection and stops listening. */
  async close(): Promise<void> {
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) this.#answer(waiter, Status.closing);
    this.#waiters.clear();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#strangers) socket.destroy();
    for (const socket of this.#members.keys()) socket.end(reply(toAll, Status.closing), () => socket.destroy());
    await closed;
  }

  #greet(socket: Socket): void {
    socket.on('error', () => {}); // 'close' follows
    if (this.#strangers.size >= maxStrangers) (this.#strangers.values().next().value as Socket).destroy();
    this.#strangers.add(socket);
    const deadline = setTimeout(() => socket.destroy(), this.#options.stallMs).unref();
    const nonce = randomBytes(nonceBytes);
    const reader = new FrameReader(socket, limits.helloBytes, this.#options.stallMs, (bytes) => {
      const member = this.#members.get(socket);
      if (member) {
        this.#serve(socket, member, bytes);
        return;
      }
      clearTimeout(deadline);
      this.#strangers.delete(socket);
      if (this.#admit(socket, nonce, bytes)) reader.maxBytes = limits.frameBytes;
    });
    socket.on('close', () => {
      clearTimeout(deadline);
      this.#strangers.delete(socket);
      const member = this.#members.get(socket);
      this.#members.delete(socket);
      if (member) this.#forget(socket);
      if (member?.attempt === -1) this.#options.onLauncherGone?.(member.who);
    });
    socket.write(frame(magic, nonce));
  }

  #admit(socket: Socket, server: Buffer, bytes: Buffer): boolean {
    const { secret, run } = this.#options;
    const client = bytes.subarray(0, nonceBytes);
    const text = bytes.subarray(nonceBytes + proofBytes);
    const given = bytes.subarray(nonceBytes, nonceBytes + proofBytes);
    if (!isProof(given, proof(secret, 'client', server, client, text))) {
      socket.end(frame(Buffer.from([Verdict.wrongSecret])));
      return false;
    }
    const hello = JSON.parse(text.toString()) as Hello;
    const verdict = this.#verdict(hello);
    const answer = frame(Buffer.from([verdict]), proof(secret, 'server', server, client, text), Buffer.from(run));
    if (verdict !== Verdict.welcome) {
      socket.end(answer);
      return false;
    }
    this.#members.set(socket, hello);
    socket.write(answer);
    return true;
  }

  #verdict({ run, attempt }: Hello): number {
    if (run !== this.#options.run && !(run === '' && attempt === -1)) return Verdict.wrongRun;
    if (attempt === -1 || attempt === this.#attempt) return Verdict.welcome;
    return attempt < this.#attempt ? Verdict.stale : Verdict.early;
  }

  #serve(socket: Socket, { attempt }: Hello, bytes: Buffer): void {
    const op = bytes.readUInt8();
    const id = bytes.readUInt32BE(1);
    const end = 7 + bytes.readUInt16BE(5);
    if (end > bytes.length || end - 7 > limits.keyBytes) throw new RangeError('key too long');
    if (attempt !== -1 && attempt !== this.#attempt) {
      socket.write(reply(id, Status.stale));
      return;
    }
    const key = prefix(this.#options.run, attempt) + bytes.subarray(7, end).toString();
    const body = bytes.subarray(end);
    if (op === Op.set) socket.write(reply(id, this.#set(key, Buffer.from(body))));
    else if (op === Op.add) this.#add(socket, id, key, body.readDoubleBE());
    else if (op === Op.get) this.#get(socket, id, key, body.readUInt32BE());
    else throw new RangeError('no such operation');
    if (socket.writableLength > maxUnread) socket.destroy();
  }

  #set(key: string, value: Buffer): number {
    const old = this.#values.get(key);
    const bytes = this.#bytes + value.length - (old ? old.length : -key.length);
    if (bytes > limits.storeBytes || (!old && this.#values.size >= limits.keys)) return Status.full;
    this.#bytes = bytes;
    this.#values.set(key, value);
    const waiters = this.#waiters.get(key);
    this.#waiters.delete(key);
    for (const waiter of waiters ?? []) this.#answer(waiter, Status.ok, value);
    return Status.ok;
  }

  #add(socket: Socket, id: number, key: string, delta: number): void {
    const sum = Number(this.#values.get(key)?.toString() ?? 0) + delta;
    const status = Number.isSafeInteger(sum) ? this.#set(key, Buffer.from(String(sum))) : Status.notANumber;
    socket.write(reply(id, status, Buffer.from(String(sum))));
  }

  #get(socket: Socket, id: number, key: string, timeoutMs: number): void {
    const value = this.#values.get(key);
    if (value) {
      socket.write(reply(id, Status.ok, value));
      return;
    }
    const waiters = this.#waiters.get(key) ?? new Set<Waiter>();
    if (waiters.size >= limits.keys) {
      socket.write(reply(id, Status.full));
      return;
    }
    this.#waiters.set(key, waiters);
    const expire = () => {
      waiters.delete(waiter);
      if (waiters.size === 0 && this.#waiters.get(key) === waiters) this.#waiters.delete(key);
      this.#answer(waiter, Status.timeout);
    };
    const waiter: Waiter = { socket, id, timer: setTimeout(expire, Math.min(timeoutMs, maxWaitMs)).unref() };
    waiters.add(waiter);
  }

  #answer({ socket, id, timer }: Waiter, status: number, value?: Buffer): void {
    clearTimeout(timer);
    if (!socket.destroyed) socket.write(reply(id, status, value));
  }

  /** Drops what a connection that is gone waited for. */
  #forget(socket: Socket): void {
    for (const [key, waiters] of this.#waiters) {
      for (const waiter of waiters) {
        if (waiter.socket !== socket) continue;
        clearTimeout(waiter.timer);
        waiters.delete(waiter);
      }
      if (waiters.size === 0) this.#waiters.delete(key);
    }
  }
}

const prefix = (run: string, attempt: number): string => `${run}/${attempt === -1 ? 'launchers' : attempt}/`;
