import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { OutOfMemoryError } from '../../lib/native/errors.ts';
import { add, mul } from '../../lib/ops/binary.ts';
import { zeros } from '../../lib/ops/create.ts';
import { exp } from '../../lib/ops/unary.ts';
import { current, noGrad } from '../../lib/tensor/context.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { kept, persistent, scope } from '../../lib/tensor/scope.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';

const here = defaultDevice();
const alive = () => {
  const { live, handles } = here.memory();
  return { live, handles };
};
const one = () => tensor([1, 2, 3]);

describe('scope(fn)', () => {
  test('frees what was made inside and returns the result', async () => {
    const before = alive();
    const result = scope(() => {
      const a = one();
      return mul(exp(a), a);
    });
    expect(alive().handles).toBe(before.handles + 1);
    expect([...(await result.data())][0]).toBeCloseTo(Math.E, 5);
    result.dispose();
    expect(alive()).toEqual(before);
  });

  test('tensors in arrays, Maps, Sets and objects survive, however deep and however linked', () => {
    const before = alive();
    const result = scope(() => {
      const ring: Record<string, unknown> = { t: one() };
      ring.self = ring;
      const deep = [[[[[[[one()]]]]]]];
      return { list: [one(), one()], map: new Map([['k', [one()]]]), set: new Set([one()]), ring, deep, n: 1, none: null };
    });
    const found = [
      ...result.list,
      ...(result.map.get('k') as Tensor[]),
      ...result.set,
      result.ring.t as Tensor,
      (result.deep.flat(7) as Tensor[])[0] as Tensor,
    ];
    expect(found.map((t) => t.disposed)).toEqual(Array(6).fill(false));
    for (const t of found) t.dispose();
    expect(alive()).toEqual(before);
  });

  test('nests: a result belongs to the scope around', () => {
    const before = alive();
    scope(() => {
      const inner = scope(() => add(one(), 1));
      expect(inner.disposed).toBe(false);
      scope(() => one());
    });
    expect(alive()).toEqual(before);
  });

  test('frees on an exception, and gives the context back', () => {
    const before = alive();
    expect(() =>
      scope(() => {
        one();
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(alive()).toEqual(before);
    expect(current().scope).toBeNull();
  });

  test('parameters and kept tensors survive', () => {
    const holder: { p?: Parameter; k?: Tensor; ks?: Tensor[] } = {};
    scope(() => {
      scope(() => {
        holder.p = new Parameter(one());
        holder.k = kept(add(one(), 1));
        holder.ks = kept([one(), one()]);
      });
      expect(holder.k?.disposed).toBe(false);
    });
    const { p, k, ks } = holder as Required<typeof holder>;
    expect([p, k, ...ks].map((t) => t.disposed)).toEqual([false, false, false, false]);
    for (const t of [p, k, ...ks]) t.dispose();
  });

  test('persistent() makes tensors outside every scope', () => {
    const held = scope(() => {
      const t = persistent(one);
      return () => t;
    });
    expect(held().disposed).toBe(false);
    held().dispose();
  });

  test('a view keeps the memory of what it was made from', async () => {
    const before = alive();
    const view = scope(() =>
      tensor([
        [1, 2],
        [3, 4],
      ]).alias([4]),
    );
    expect([...(await view.data())]).toEqual([1, 2, 3, 4]);
    view.dispose();
    expect(alive()).toEqual(before);
  });

  test('a tensor used after its scope says what to do', async () => {
    const holder: { t?: Tensor } = {};
    scope(() => {
      holder.t = one();
    });
    const t = holder.t as Tensor;
    expect(() => exp(t)).toThrow(/exp: x \[3\] was freed.*returned or kept\(\)/);
    await expect(t.data()).rejects.toThrow(/was freed.*kept\(\)/);
    await expect(t.item()).rejects.toThrow(/freed/);
    expect(() => t.alias()).toThrow(/freed/);
  });

  test('refuses a promise and names scope.run, by type and at run time', () => {
    const before = alive();
    // @ts-expect-error an async function
    expect(() => scope(async () => one())).toThrow(/scope: the function is async.*scope\.run/);
    expect(alive()).toEqual(before);
  });
});

describe('using', () => {
  test('frees at the end of the block', () => {
    const before = alive();
    {
      using _ = scope();
      exp(one());
      expect(alive().handles).toBe(before.handles + 2);
    }
    expect(alive()).toEqual(before);
  });

  test('notices an await that came between', async () => {
    const broken = async () => {
      using _ = scope();
      one();
      await turn();
    };
    const other = broken();
    {
      // The other function's scope is still bound here: this one is opened inside it, and ends first.
      using _ = scope();
      one();
    }
    for (const run of await Promise.allSettled([other, broken()]))
      expect(String((run as PromiseRejectedResult).reason)).toMatch(/an await came between.*scope\.run/);
    expect(current().scope).toBeNull();
  });

  test('using a tensor disposes it', () => {
    const before = alive();
    {
      using a = one();
      expect(a.disposed).toBe(false);
    }
    expect(alive()).toEqual(before);
  });
});

describe('scope.run', () => {
  test('holds across awaits and frees at the end', async () => {
    const before = alive();
    const result = await scope.run(async () => {
      const a = one();
      await turn();
      const b = add(a, 1);
      await b.data();
      await turn();
      return [mul(b, 2)];
    });
    expect(alive().handles).toBe(before.handles + 1);
    expect([...(await (result[0] as Tensor).data())]).toEqual([4, 6, 8]);
    result[0]?.dispose();
    expect(alive()).toEqual(before);
  });

  test('interleaved runs do not see each other', async () => {
    const before = alive();
    const job = (n: number) =>
      scope.run(async () => {
        const mine = current().scope;
        let t = tensor([n]);
        for (let i = 0; i < 20; i++) {
          t = add(t, 1);
          if (i % (n + 2) === 0) await turn();
          expect(current().scope).toBe(mine);
          scope(() => exp(t));
          noGrad(() => exp(t));
        }
        return t.item();
      });
    const outside = (async () => {
      for (let i = 0; i < 10; i++) {
        await turn();
        expect(current().scope).toBeNull();
      }
    })();
    expect(await Promise.all([job(0), job(1), job(2), job(3)])).toEqual([20, 21, 22, 23]);
    await outside;
    expect(alive()).toEqual(before);
  });

  test('one that ends early does not free another, and nesting hands results out', async () => {
    const before = alive();
    const kept: Tensor[] = [];
    await scope.run(async () => {
      const inner = scope.run(async () => {
        await turn();
        return one();
      });
      const mine = one();
      kept.push(mine, await inner);
      expect(kept.map((t) => t.disposed)).toEqual([false, false]);
    });
    expect(kept.map((t) => t.disposed)).toEqual([true, true]);
    expect(alive()).toEqual(before);
  });

  test('frees when the function rejects', async () => {
    const before = alive();
    const failing = scope.run(async () => {
      one();
      await turn();
      one();
      throw new Error('late');
    });
    await expect(failing).rejects.toThrow('late');
    expect(alive()).toEqual(before);
  });
});

describe('without a scope', () => {
  const limit = here.memory().limit;
  afterEach(() => here.setMemoryLimit(limit));

  test('a synchronous loop ends in OutOfMemoryError that names scope(), not in an exhausted machine', () => {
    here.setMemoryLimit(here.memory().live + 50e6);
    const x = zeros([1 << 18]);
    const loop = () => {
      for (let i = 0; i < 1000; i++) add(x, 1);
    };
    expect(loop).toThrow(OutOfMemoryError);
    expect(loop).toThrow(/add: asked for 1\.0 MB with \d+\.\d MB live; the limit is .*scope\(\(\) => \.\.\.\).*setMemoryLimit/);
    here.setMemoryLimit(here.memory().live + 50e6);
    expect(() => {
      for (let i = 0; i < 1000; i++)
        scope(() => {
          add(x, 1);
        });
    }).not.toThrow();
  });

  test('garbage collection frees what is lost, tape included', async () => {
    const program = `
      const lib = process.argv[1];
      const { tensor } = await import(lib + '/tensor/create.ts');
      const { device } = await import(lib + '/tensor/device.ts');
      const { exp, silu } = await import(lib + '/ops/unary.ts');
      const live = () => device('cpu').memory().handles;
      const x = tensor([1, 2, 3], { requiresGrad: true });
      const before = live();
      for (let i = 0; i < 100; i++) silu(exp(x));
      const during = live();
      for (let i = 0; i < 50 && live() > before; i++) {
        gc();
        await new Promise((r) => setTimeout(r, 5));
      }
      console.log(JSON.stringify([during - before, live() - before]));`;
    const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const lib = fileURLToPath(new URL('../../lib', import.meta.url));
    const args = ['--expose-gc', '--import', tsx, '--input-type=module', '-e', program, lib];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 30_000 });
    expect(JSON.parse(stdout)).toEqual([200, 0]);
  });
});
