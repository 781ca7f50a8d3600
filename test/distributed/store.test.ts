/** The rendezvous store: what it promises its clients, and that strangers do not disturb them. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { StoreClient, type StoreClientOptions } from '../../lib/distributed/store.ts';
import { StoreServer, type StoreServerOptions } from '../../lib/distributed/store-server.ts';
import { CollectiveError, ConfigError } from '../../lib/native/errors.ts';

const secret = 'the secret of these tests';
async function host(options: Partial<StoreServerOptions> = {}): Promise<StoreServer> {
  const server = await StoreServer.listen({ secret, run: 'r', ...options });
  onTestFinished(() => server.close());
  return server;
}
async function client({ port }: StoreServer, options: Partial<StoreClientOptions> = {}): Promise<StoreClient> {
  const store = await StoreClient.connect({ host: '127.0.0.1', port, secret, run: 'r', attempt: 0, who: 'test', ...options });
  onTestFinished(() => store.close());
  return store;
}
const raw = ({ port }: StoreServer): Socket => connect(port, '127.0.0.1').on('error', () => {});
/** A well-behaved pair of clients passes `rounds` messages to and fro. */
async function traffic(server: StoreServer, rounds: number): Promise<void> {
  const [a, b] = await Promise.all([client(server), client(server)]);
  for (let i = 0; i < rounds; i++) {
    const got = b.get(`m${i}`);
    await a.set(`m${i}`, Buffer.alloc(1000, i));
    expect(await got).toEqual(Buffer.alloc(1000, i));
  }
  expect(await a.add('count', 1)).toBeGreaterThan(0);
}

describe('the store', () => {
  test('gives what was set, waits for what was not, and adds', async () => {
    const server = await host();
    const [a, b] = await Promise.all([client(server), client(server)]);
    const late = b.get('k');
    await a.set('k', 'v');
    expect((await late).toString()).toBe('v');
    await a.set('k', new Uint8Array());
    expect((await b.get('k')).length).toBe(0);
    const sums = await Promise.all(Array.from({ length: 100 }, (_, i) => (i % 2 ? a : b).add('n', 1)));
    expect(sums.sort((x, y) => x - y)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    expect(await a.add('n', -100)).toBe(0);
    const large = randomBytes(2 ** 22);
    await a.set('large', large);
    expect((await b.get('large')).equals(large)).toBe(true);
  });

  test('ends waits at their deadline, and with the connection', async () => {
    const server = await host();
    const a = await client(server);
    await expect(a.get('never', 30)).rejects.toThrow(/get of "never", 0.03 s: nobody set the key/);
    const { port } = server;
    const waits = a.get('never');
    const lost = expect(waits).rejects.toThrow(CollectiveError);
    await server.close();
    await lost;
    await expect(a.set('k', 'v')).rejects.toThrow(/store.set of "k": the store /);
    await expect(client({ port } as StoreServer, { timeoutMs: 100 })).rejects.toThrow(/no rendezvous store at .* after 0.1 s/);
  });

  test('names what is wrong with a call', async () => {
    const a = await client(await host());
    await expect(a.set('', 'v')).rejects.toThrow(/store.set: key must have 1 to 1024 bytes, got 0/);
    await expect(a.set('é'.repeat(600), 'v')).rejects.toThrow(/got 1200/);
    await expect(a.set('k', 3 as never)).rejects.toThrow(ConfigError);
    await expect(a.set('k', Buffer.alloc(2 ** 24))).rejects.toThrow(/16777216 bytes; the store takes up to/);
    await expect(a.add('k', 0.5)).rejects.toThrow(/whole number, got 0.5/);
    await expect(a.get('k', -1)).rejects.toThrow(/timeoutMs must be/);
    await a.set('text', 'no number');
    await expect(a.add('text', 1)).rejects.toThrow(/holds no whole number/);
  });

  test('refuses the wrong secret, another run and an old attempt; a new one waits for its turn', async () => {
    const server = await host({ attempt: 1 });
    await expect(client(server, { secret: 'another' })).rejects.toThrow(/same secret.*ANNEAL_SECRET/);
    await expect(client(server, { run: 's', attempt: 1 })).rejects.toThrow(/serves run "r", not "s"/);
    await expect(client(server, { attempt: 0 })).rejects.toThrow(/refused attempt 0 .* a later one has begun/);
    const [old, launcher] = await Promise.all([client(server, { attempt: 1 }), client(server, { run: '', attempt: -1 })]);
    expect(launcher.run).toBe('r');
    await Promise.all([old.set('k', 'old'), launcher.set('k', 'kept')]);
    const waits = expect(old.get('never')).rejects.toThrow(/earlier attempt/);
    const next = client(server, { attempt: 2 });
    server.attempt = 2;
    await waits;
    await expect((await next).get('k', 10)).rejects.toThrow(/nobody set/);
    expect((await launcher.get('k')).toString()).toBe('kept');
  });

  test('a client is not deceived by a server without the secret', async () => {
    const server = await host({ secret: 'a thief guesses' });
    await expect(client(server)).rejects.toThrow(ConfigError);
  });

  test('is full at its bound and goes on', async () => {
    const server = await host();
    const a = await client(server);
    const value = Buffer.alloc(15 * 2 ** 20);
    for (let i = 0; i < 17; i++) await a.set(`k${i}`, value);
    await expect(a.set('k17', value)).rejects.toThrow(/store is full/);
    await a.set('k16', 'small');
    await a.set('k17', value);
  });
});

describe('strangers', () => {
  test('a flood of 1,000 connections, half-open ones and garbage leave the traffic alone', async () => {
    const server = await host({ stallMs: 500 });
    const strangers = Array.from({ length: 1000 }, (_, i) => {
      const socket = raw(server);
      if (i % 4 === 1) socket.write(randomBytes(1 + (i % 900)));
      if (i % 4 === 2) socket.write('GET / HTTP/1.1\r\n\r\n');
      if (i % 4 === 3) socket.write(Buffer.from([0, 0]));
      return once(socket.resume(), 'close');
    });
    await traffic(server, 50);
    await Promise.all(strangers); // each is ended, by eviction, for its garbage, or at its deadline
    await traffic(server, 5);
  }, 20_000);

  test('fuzzed frames of one who knows the secret end its connection alone', async () => {
    const server = await host();
    const kept = await client(server);
    await kept.set('kept', 'v');
    for (let i = 0; i < 200; i++) {
      const bad = await StoreClient.connect({ host: '127.0.0.1', port: server.port, secret, run: 'r', attempt: 0, who: 'fuzz' });
      const socket = (bad as unknown as { socket: Socket }).socket;
      const bytes = randomBytes(4 + (i % 64));
      if (i % 2) bytes.writeUInt32BE(bytes.length - 4); // a whole frame of nonsense
      socket.write(bytes);
      if (i % 10 === 0) expect((await kept.get('kept')).toString()).toBe('v');
      socket.destroy();
    }
    await traffic(server, 5);
  });
});
