/** generate: what the cache saves must not be seen in the tokens; draws have the probabilities that temperature, topK and topP say. */
import { describe, expect, test } from 'vitest';
import {
  arange,
  attention,
  ConfigError,
  DataError,
  defaultDevice,
  generate,
  manualSeed,
  NumericsError,
  nn,
  noGrad,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../../lib/index.ts';
import { sampleToken } from '../../lib/train/sampling.ts';

const valuesOf = async (x: Tensor) => Array.from(await x.data());

/** A decoder of 11 tokens with learned positions, which may or may not use its cache. */
class Speaker extends nn.Module {
  wte = new nn.Embedding(11, 16);
  wpe = new nn.Embedding(64, 16);
  blocks = [new nn.TransformerBlock(16, 2, { dropout: 0.3 }), new nn.TransformerBlock(16, 4)];
  attn = new nn.MultiheadAttention(16, 2, { causal: true, dropout: 0.1 });
  head = new nn.Linear(16, 11);
  passes: number[] = [];
  cached: boolean;
  constructor(cached: boolean) {
    super();
    this.cached = cached;
  }
  forward(tokens: Tensor, given?: nn.KVCache): Tensor {
    const cache = this.cached ? given : null;
    const from = cache?.length ?? 0;
    const time = tokens.shape[1] as number;
    this.passes.push(time);
    let x = this.wte
      .forward(tokens)
      .mul(6)
      .add(this.wpe.forward(arange(from, from + time)));
    for (const block of this.blocks) x = block.forward(x, { cache });
    return this.head.forward(x.add(this.attn.forward(x, { cache: cache ?? null })));
  }
}

function speakers(): [cached: Speaker, plain: Speaker] {
  manualSeed(4);
  const [cached, plain] = [new Speaker(true), new Speaker(false)];
  plain.loadStateDict(cached.stateDict());
  return [cached, plain];
}

describe('generate', () => {
  test('with a cache gives what it gives without, and computes each token once', async () => {
    const [cached, plain] = speakers();
    for (const options of [{ temperature: 0 }, { temperature: 0.7, topK: 5, seed: 3 }, { topP: 0.8, seed: 4 }]) {
      cached.passes = [];
      plain.passes = [];
      const a = await generate(cached, [1, 2, 3], { maxNewTokens: 12, ...options });
      const b = await generate(plain, [1, 2, 3], { maxNewTokens: 12, ...options });
      expect(a).toEqual(b);
      expect(a).toHaveLength(15);
      expect(a.slice(0, 3)).toEqual([1, 2, 3]);
      expect(cached.passes).toEqual([3, ...Array(11).fill(1)]);
      expect(plain.passes).toEqual(Array.from({ length: 12 }, (_, i) => 3 + i));
    }
  });

  test('a pass of several tokens follows those that the cache holds, beyond its first room', async () => {
    const [model] = speakers();
    model.eval();
    const tokens = (n: number, from: number) =>
      tensor(
        Int32Array.from({ length: n }, (_, i) => (7 * (from + i)) % 11),
        { shape: [1, n] },
      );
    using cache = new nn.KVCache({ capacity: 3 });
    const [whole, parts] = noGrad(() => {
      const parts: Tensor[] = [];
      for (const [n, from] of [
        [2, 0],
        [5, 2],
        [1, 7],
        [4, 8],
      ] as const) {
        parts.push(model.forward(tokens(n, from), cache));
        cache.advance();
      }
      return [model.forward(tokens(12, 0)), parts];
    });
    expect(cache.length).toBe(12);
    const want = await valuesOf(whole);
    const got = (await Promise.all(parts.map((p) => valuesOf(p)))).flatMap((p) => [...p]);
    got.forEach((v, i) => {
      expect(v).toBeCloseTo(want[i] as number, 4);
    });
  });

  test('beyond contextLength the window slides: the last tokens from position 0 on', async () => {
    const [cached, plain] = speakers();
    const options = { maxNewTokens: 10, temperature: 0, contextLength: 6 };
    const tokens = await generate(cached, [5, 9, 1, 1], options);
    expect(await generate(plain, [5, 9, 1, 1], options)).toEqual(tokens);
    expect(plain.passes).toEqual([4, 5, 6, 6, 6, 6, 6, 6, 6, 6]);
    for (let n = 4; n < tokens.length; n++) {
      const next = await generate(plain, tokens.slice(Math.max(0, n - 6), n), { maxNewTokens: 1, temperature: 0 });
      expect(next.at(-1)).toBe(tokens[n]);
    }
  });

  test('rows of a batch are drawn each by itself and end each by itself', async () => {
    const [model] = speakers();
    const seen: string[] = [];
    const rows = await generate(
      model,
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      {
        ...{ maxNewTokens: 9, seed: 8, temperature: 2 },
        stop: (tokens) => tokens.length > 4 && (tokens.at(-1) as number) % 2 === 0,
        onToken: (token, row) => seen.push(`${row}:${token}`),
      },
    );
    for (const [r, row] of rows.entries()) {
      const added = row.slice(2);
      expect(seen.filter((s) => s.startsWith(`${r}:`))).toEqual(added.map((t) => `${r}:${t}`));
      expect(added.slice(2, -1).every((t) => t % 2 === 1)).toBe(true);
      expect(row.length === 11 || (row.at(-1) as number) % 2 === 0).toBe(true);
    }
    const [first] = await generate(model, [[1, 2]], { maxNewTokens: 9, seed: 8, temperature: 2 });
    expect(first?.slice(0, rows[0]?.length)).toEqual(rows[0]);
  });

  test('ends at a token, one of several, a sequence; the end stays in', async () => {
    const [model] = speakers();
    const options = { maxNewTokens: 30, seed: 1, temperature: 3 };
    const whole = await generate(model, [1], options);
    const [a, b] = whole.slice(6, 8) as [number, number];
    const upTo = (found: (i: number) => boolean) => whole.slice(0, whole.findIndex((_, i) => i > 0 && found(i)) + 1);
    expect(await generate(model, Int32Array.of(1), { ...options, stop: a })).toEqual(upTo((i) => whole[i] === a));
    expect(await generate(model, [1], { ...options, stop: [a, b] })).toEqual(upTo((i) => whole[i] === a || whole[i] === b));
    expect(await generate(model, [1], { ...options, stop: [[a, b]] })).toEqual(upTo((i) => whole[i - 1] === a && whole[i] === b));
    expect(await generate(model, [1], { ...options, maxNewTokens: 0 })).toEqual([1]);
  });

  test('same seed, same tokens; without one each call draws anew, and manualSeed begins again', async () => {
    const [model] = speakers();
    const say = (options = {}) => generate(model, [1], { maxNewTokens: 16, temperature: 4, ...options });
    expect(await say({ seed: 5 })).toEqual(await say({ seed: 5 }));
    expect(await say({ seed: 5 })).not.toEqual(await say({ seed: 6 }));
    manualSeed(2);
    const [a, b] = [await say(), await say()];
    expect(a).not.toEqual(b);
    manualSeed(2);
    expect(await say()).toEqual(a);
  });

  test('each position and each row has a number of its own', async () => {
    const even = Object.assign(new nn.Identity(), { forward: (t: Tensor) => zeros([...t.shape, 50]) });
    const rows = await generate(even as never, [[1], [1], [1]], { maxNewTokens: 60, seed: 5 });
    for (const row of rows) expect(new Set(row.slice(1)).size).toBeGreaterThan(25); // of 50, when 60 are drawn: 35 are to be expected
    expect(new Set(rows.map(String)).size).toBe(3);
  });

  test('in 16 bits too', async () => {
    const [cached, plain] = speakers();
    for (const precision of ['bf16', 'f16'] as const) {
      const options = { maxNewTokens: 8, seed: 3, temperature: 0.5, precision };
      expect(await generate(cached, [4, 2], options)).toEqual(await generate(plain, [4, 2], options));
    }
  });

  test('leaves modes and memory as they were, after errors too', async () => {
    const [model] = speakers();
    model.blocks[0]?.eval();
    await generate(model, [1], { maxNewTokens: 2 });
    const { live } = defaultDevice().memory();
    await generate(model, [1], { maxNewTokens: 70, contextLength: 64 });
    const wrong = generate(model, [1], {
      onToken: () => {
        throw new Error('enough');
      },
    });
    await expect(wrong).rejects.toThrow('enough');
    expect(defaultDevice().memory().live).toBeLessThanOrEqual(live); // less where earlier tests' models were collected meanwhile
    expect([model.training, model.blocks[0]?.training, model.blocks[1]?.training]).toEqual([true, false, true]);
    await expect(generate(model, [1], { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow('stop');
  });

  test('what does not fit is refused', async () => {
    const [model] = speakers();
    const refused: [unknown, unknown, RegExp, new (...a: never[]) => Error][] = [
      [[], {}, /at least one token/, DataError],
      [[[1], [1, 2]], {}, /one length, got 1 and 2/, DataError],
      [[1.5], {}, /whole numbers/, DataError],
      ['text', {}, /at least one token/, DataError],
      [[1], { temperature: -1 }, /temperature/, ConfigError],
      [[1], { topK: 0 }, /topK/, ConfigError],
      [[1], { topP: 0 }, /topP must be in \(0, 1\]/, ConfigError],
      [[1], { maxNewTokens: 1.5 }, /maxNewTokens/, ConfigError],
      [[1], { maxTokens: 5 }, /maxNewTokens/, ConfigError],
      [[1], { stop: 'x' }, /stop must be/, ConfigError],
      [[1], { stop: [[]] }, /stop must be/, ConfigError],
      [[1], { contextLength: 0 }, /contextLength/, ConfigError],
      [[1], { precision: 'f8' }, /precision/, ConfigError],
      [[1], { signal: 1 }, /AbortSignal/, ConfigError],
    ];
    for (const [prompt, options, message, kind] of refused) {
      const given = generate(model, prompt as number[], options as object);
      await expect(given).rejects.toThrow(message);
      await expect(given).rejects.toBeInstanceOf(kind);
    }
    await expect(generate({} as never, [1])).rejects.toThrow(/expected a Module/);
    await expect(generate(new nn.Embedding(4, 4) as never, [[1]])).resolves.toHaveLength(1); // an odd decoder, but one
    const flat = Object.assign(new nn.Identity(), { forward: (t: Tensor) => t });
    await expect(generate(flat as never, [1])).rejects.toThrow(/must give logits \[batch, time, vocabulary\]/);
  });
});

describe('sampleToken', () => {
  const p = [0.1, 0.5, 0.15, 0.25];
  const logits = Float32Array.from(p, Math.log);
  /** How often each token is drawn by a thousand even numbers. */
  const shares = (options: object) => {
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 1000; i++) (counts[sampleToken(logits, options, (i + 0.5) / 1000)] as number)++;
    return counts.map((n) => n / 1000);
  };
  const normalised = (weights: number[]) => weights.map((w) => w / weights.reduce((s, v) => s + v));
  test.for([
    ['as they are', {}, p],
    ['temperature 0.5: squares', { temperature: 0.5 }, normalised(p.map((x) => x * x))],
    ['temperature 0', { temperature: 0 }, [0, 1, 0, 0]],
    ['topK 1', { topK: 1 }, [0, 1, 0, 0]],
    ['topK 3', { topK: 3 }, normalised([0, 0.5, 0.15, 0.25])],
    ['topK beyond', { topK: 9 }, p],
    ['topP 0.4', { topP: 0.4 }, [0, 1, 0, 0]],
    ['topP 0.7', { topP: 0.7 }, normalised([0, 0.5, 0, 0.25])],
    ['topP 0.8', { topP: 0.8 }, normalised([0, 0.5, 0.15, 0.25])],
    ['topP of what topK leaves', { topK: 2, topP: 0.6 }, [0, 1, 0, 0]],
    ['topP after temperature', { temperature: 0.5, topP: 0.72 }, [0, 1, 0, 0]],
  ] as [string, object, number[]][])('%s', ([, options, want]) => {
    shares(options).forEach((share, i) => {
      expect(Math.abs(share - (want[i] as number))).toBeLessThan(0.0021);
    });
  });

  test('of equal logits at the edge the first are taken', () => {
    const even = new Float32Array(6).fill(2);
    const drawn = (options: object) => new Set(Array.from({ length: 60 }, (_, i) => sampleToken(even, options, i / 60)));
    expect(drawn({ topK: 2 })).toEqual(new Set([0, 1]));
    expect(drawn({ topP: 0.5 })).toEqual(new Set([0, 1, 2]));
  });

  test('extremes', () => {
    expect(sampleToken(Float32Array.of(-Infinity, 3e38, -3e38), {}, 0.999999)).toBe(1);
    expect(sampleToken(Float32Array.of(-Infinity, 0), { temperature: 1e-30 }, 0.5)).toBe(1);
    expect(() => sampleToken(Float32Array.of(0, Number.NaN), {}, 0)).toThrow(NumericsError);
    expect(() => sampleToken(Float32Array.of(Infinity, 0), {}, 0)).toThrow(/gave Infinity for token 0/);
    expect(() => sampleToken(Float32Array.of(-Infinity, -Infinity), {}, 0)).toThrow(/no token a chance/);
  });
});

describe('KVCache', () => {
  const kv = (time: number, batch = 1, requiresGrad = false) => randn([batch, 2, time, 4], { requiresGrad });
  const owner = {};
  test('keyLength is a narrower k and v', async () => {
    manualSeed(1);
    for (const [tq, used, capacity] of [
      [1, 5, 8],
      [3, 7, 7],
      [4, 33, 64],
    ] as const) {
      const [q, k, v] = [kv(tq), kv(capacity), kv(capacity)];
      const want = await valuesOf(attention(q, k.narrow(2, 0, used), v.narrow(2, 0, used), { causal: true }));
      const got = await valuesOf(attention(q, k, v, { causal: true, keyLength: used }));
      expect([...got]).toEqual([...want]);
    }
    expect(() => attention(kv(1), kv(3), kv(3), { keyLength: 4 })).toThrow(/keyLength must be a whole number from 0 to 3/);
    const [k, v] = [kv(3, 1, true), kv(3, 1, true)];
    expect(() => attention(kv(1), k, v, { keyLength: 2 })).toThrow(/no gradients flow/);
  });

  test('refuses what would be wrong without a word', () => {
    scope(() => {
      using cache = new nn.KVCache();
      cache.append(owner, kv(2), kv(2));
      expect(() => cache.append(owner, kv(2), kv(2))).toThrow(/cache\.advance\(\)/);
      cache.advance();
      expect(() => cache.append({}, kv(1), kv(1))).toThrow(/after 2 tokens that it has not seen/);
      expect(() => cache.append(owner, kv(1, 2), kv(1, 2))).toThrow(/one batch/);
      expect(() => cache.append(owner, kv(1, 1, true), kv(1))).toThrow(/gradients do not flow/);
      expect(() => cache.append(owner, kv(1).sum(), kv(1))).toThrow(/\[B, heads, T, D\]/);
      expect(() => new nn.KVCache({ capacity: 0 })).toThrow(ConfigError);
      const x = randn([1, 3, 8]);
      expect(() => new nn.MultiheadAttention(8, 2).forward(x, { cache, attnMask: randn([3, 3]) })).toThrow(/without masks/);
      expect(() => new nn.MultiheadAttention(8, 2, { dropout: 0.1 }).forward(x, { cache })).toThrow(/Call model\.eval\(\)/);
      expect(() => new nn.TransformerBlock(8, 2).forward(x, { cache: {} as never })).toThrow(/must be a KVCache/);
    });
  });

  test('layers that see different numbers of tokens are noticed', () => {
    scope(() => {
      using cache = new nn.KVCache();
      cache.append(owner, kv(2), kv(2));
      cache.append({}, kv(1), kv(1));
      expect(() => cache.advance()).toThrow(/every one that uses the cache must see all/);
    });
  });
});
