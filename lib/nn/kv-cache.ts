import { ConfigError, checkOptions, describe, GraphError, ShapeError } from '../native/errors.ts';
import { attention } from '../ops/attention.ts';
import { zeros } from '../ops/create.ts';
import { checkDevice, checkFloat, checkRank } from '../ops/define.ts';
import { narrow, permute } from '../ops/index.ts';
import { setAt } from '../ops/indexing-write.ts';
import { computeCopy } from '../ops/precision.ts';
import { reshape } from '../ops/view.ts';
import { current } from '../tensor/context.ts';
import { persistent } from '../tensor/scope.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkCount } from './linear.ts';

/** The keys and values of one layer: buffers [B, heads, capacity, D], of which the first `keyLength` rows count. What `attention` takes. */
export interface HeldKeys {
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly keyLength: number;
}

export function checkCache(where: string, cache: unknown): KVCache | null {
  if (cache === undefined || cache === null) return null;
  if (!(cache instanceof KVCache)) throw new ConfigError(`${where}: cache must be a KVCache, got ${describe(cache)}`);
  return cache;
}

interface Layer {
  keys: Tensor;
  values: Tensor;
  /** Rows that this pass has written. */
  added: number;
}

/**
 * Keys and values of the tokens that a decoder has seen, so that each pass computes the new tokens alone. Pass it to the attention layers
 * (`block.forward(x, { cache })`); positions begin at `cache.length`. After each pass `advance()`; `generate` does. Its memory belongs to it
 * until `dispose()` or garbage collection.
 */
export class KVCache {
  #layers = new Map<object, Layer>();
  #length = 0;
  readonly #capacity: number;

  /** @param options.capacity tokens to make room for at first. Default 64; it doubles as it fills. */
  constructor(options: { capacity?: number } = {}) {
    checkOptions('KVCache', options, ['capacity']);
    this.#capacity = checkCount('KVCache', 'capacity', options.capacity ?? 64);
  }

  /** Tokens of the passes before this one: the position of this pass's first token. */
  get length(): number {
    return this.#length;
  }

  /** Has any layer put something in? A model that passes its cache on to no layer leaves it unused. */
  get used(): boolean {
    return this.#layers.size > 0;
  }

  /**
   * Adds a pass's keys and values [B, heads, T, D] of the layer `owner`, and gives all that it has by now. Off the tape.
   * @throws ShapeError where batch, heads or width differ from before; GraphError under gradients, or in a second pass without `advance()`
   */
  append(owner: object, k: Tensor, v: Tensor): HeldKeys {
    for (const [x, name] of [[k, 'k'] as const, [v, 'v'] as const])
      checkRank('KVCache', checkFloat('KVCache', x, name), 4, '[B, heads, T, D]', name);
    checkDevice('KVCache', k, v);
    if (current().grad && (k.tracked || v.tracked))
      throw new GraphError('KVCache: gradients do not flow through a cache. Generate under noGrad(), train without one.');
    const [a, b] = [computeCopy(k), computeCopy(v)];
    const time = k.shape[2] as number;
    const layer = this.#room(owner, a, b, this.#length + time);
    if (layer.added > 0)
      throw new GraphError('KVCache: a layer came twice in one pass. Call cache.advance() after each pass through the model.');
    const rows = `${this.#length}:${this.#length + time}`;
    setAt(layer.keys, a, ':', ':', rows);
    setAt(layer.values, b, ':', ':', rows);
    layer.added = time;
    return { keys: layer.keys, values: layer.values, keyLength: this.#length + time };
  }

  /** Ends a pass: its tokens count from here on. @throws ShapeError where layers were given different numbers of tokens */
  advance(): void {
    const added = [...this.#layers.values()].map((layer) => layer.added);
    const [first = 0] = added;
    if (added.some((n) => n !== first))
      throw new ShapeError(
        `KVCache: the layers were given ${show(added)} tokens in one pass; every one that uses the cache must see all`,
      );
    this.#length += first;
    for (const layer of this.#layers.values()) layer.added = 0;
  }

  /** Forgets the tokens and keeps the memory. */
  reset(): void {
    this.#length = 0;
    for (const layer of this.#layers.values()) layer.added = 0;
  }

  dispose(): void {
    for (const { keys, values } of this.#layers.values()) {
      keys.dispose();
      values.dispose();
    }
    this.#layers.clear();
    this.#length = 0;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The layer's buffers with room for `rows`, larger ones if need be. */
  #room(owner: object, k: Tensor, v: Tensor, rows: number): Layer {
    const [batch, heads, , width] = k.shape as [number, number, number, number];
    const held = this.#layers.get(owner);
    const want = [batch, heads, width, k.dtype, k.device];
    if (!held && this.#length > 0)
      throw new ShapeError(
        `KVCache: a layer comes first after ${this.#length} tokens that it has not seen. Call cache.reset() to begin anew.`,
      );
    if (held) {
      const { shape, dtype, device } = held.keys;
      const have = [shape[0], shape[1], shape[3], dtype, device];
      if (have.some((x, i) => x !== want[i]))
        throw new ShapeError(
          `KVCache: keys ${show(k.shape)} (${k.dtype} on ${k.device}) do not continue ${show(shape)} (${dtype} on ${device}). One cache is for one batch: make another.`,
        );
      if ((shape[2] as number) >= rows) return held;
    }
    let capacity = held ? (held.keys.shape[2] as number) : this.#capacity;
    while (capacity < rows) capacity *= 2;
    const grown = (x: Tensor, old?: Tensor): Tensor => {
      const larger = persistent(() =>
        zeros([batch, heads, capacity, x.shape[3] as number], { dtype: x.dtype, device: x.device }),
      );
      if (old) setAt(larger, old, ':', ':', `:${old.shape[2]}`);
      old?.dispose();
      return larger;
    };
    const layer = { keys: grown(k, held?.keys), values: grown(v, held?.values), added: held?.added ?? 0 };
    this.#layers.set(owner, layer);
    return layer;
  }
}

/** `packedAttention` of qkv [B, T, 3 C] to its own keys and those before them, which `cache` holds for `owner`. */
export function cachedAttention(owner: object, qkv: Tensor, heads: number, causal: boolean, cache: KVCache): Tensor {
  const [batch, time, width] = qkv.shape as [number, number, number];
  const dim = width / 3;
  const [q, k, v] = [0, 1, 2].map((i) =>
    permute(reshape(narrow(qkv, 2, i * dim, dim), [batch, time, heads, dim / heads]), [0, 2, 1, 3]),
  ) as [Tensor, Tensor, Tensor];
  const { keys, values, keyLength } = cache.append(owner, k, v);
  return reshape(permute(attention(q, keys, values, { causal, keyLength }), [0, 2, 1, 3]), [batch, time, dim]);
}
