/**
 * The store's wire: frames of a 32-bit big-endian length and as many bytes; first a handshake in which both sides prove that they know
 * the run's secret, then requests and replies by number. Nothing is encrypted: it belongs on a network that one trusts to be private.
 *
 * handshake: server -> client: magic, its nonce. Client -> server: its nonce, its proof, who it is (JSON). Server -> client: verdict, its proof, run.
 * request: op, number, length of the key, key, body. Reply: number, status, body.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';

export const magic = Buffer.from('ANNEAL-STORE-1');
export const nonceBytes = 32;
export const proofBytes = 32;

/** What one side may make the other hold. `helloBytes` holds before the secret is proven. */
export const limits = {
  helloBytes: 1024,
  frameBytes: 16 * 2 ** 20,
  keyBytes: 1024,
  storeBytes: 256 * 2 ** 20,
  keys: 2 ** 18,
} as const;
export const valueBytes: number = limits.frameBytes - limits.keyBytes - 64;

export const Op = { set: 1, get: 2, add: 3 } as const;
export const Status = { ok: 0, timeout: 1, full: 2, notANumber: 3, stale: 4, closing: 5 } as const;
/** Number of a reply to all that waits: the connection ends. */
export const toAll: number = 2 ** 32 - 1;
export const Verdict = { welcome: 0, wrongSecret: 1, wrongRun: 2, stale: 3, early: 4 } as const;

/** Who connects. `attempt` -1 is a launcher, which outlives attempts and whose keys are its own; a launcher's run '' is whichever is served. */
export interface Hello {
  run: string;
  attempt: number;
  who: string;
}

/** HMAC-SHA-256 of both nonces and who is who: an answer to one side is none to the other, nor to another connection. */
export function proof(secret: string, side: 'client' | 'server', server: Buffer, client: Buffer, hello: Buffer): Buffer {
  return createHmac('sha256', secret).update(side).update(server).update(client).update(hello).digest();
}

/** Whether two proofs are equal, in constant time. */
export const isProof = (given: Buffer, right: Buffer): boolean => given.length === right.length && timingSafeEqual(given, right);

export function frame(...parts: readonly Uint8Array[]): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(parts.reduce((sum, part) => sum + part.length, 0));
  return Buffer.concat([head, ...parts]);
}

export function request(op: number, id: number, key: string, body: Uint8Array): Buffer {
  const name = Buffer.from(key);
  const head = Buffer.alloc(7);
  head.writeUInt8(op);
  head.writeUInt32BE(id, 1);
  head.writeUInt16BE(name.length, 5);
  return frame(head, name, body);
}

export function reply(id: number, status: number, body: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(id);
  head.writeUInt8(status, 4);
  return frame(head, body);
}

/** Cuts a socket's bytes into frames. What breaks the rules, or stops for `stallMs` in the middle of a frame, ends the socket. */
export class FrameReader {
  maxBytes: number;
  #parts: Buffer[] = [];
  #have = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: Socket, maxBytes: number, stallMs: number, take: (frame: Buffer) => void) {
    this.maxBytes = maxBytes;
    socket.on('data', (bytes: Buffer) => {
      this.#parts.push(bytes);
      this.#have += bytes.length;
      try {
        for (let next = this.#next(); next && !socket.destroyed; next = this.#next()) take(next);
      } catch {
        socket.destroy();
      }
      clearTimeout(this.#timer);
      if (this.#have > 0 && !socket.destroyed) this.#timer = setTimeout(() => socket.destroy(), stallMs).unref();
    });
    socket.on('close', () => {
      clearTimeout(this.#timer);
      this.#parts = [];
    });
  }

  #next(): Buffer | undefined {
    if (this.#have < 4) return undefined;
    if ((this.#parts[0] as Buffer).length < 4) this.#parts = [Buffer.concat(this.#parts)];
    const length = (this.#parts[0] as Buffer).readUInt32BE();
    if (length > this.maxBytes) throw new RangeError('frame too long');
    if (this.#have < 4 + length) return undefined;
    const all = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    const rest = all.subarray(4 + length);
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#have = rest.length;
    return all.subarray(4, 4 + length);
  }
}
