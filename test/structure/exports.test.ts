/** The package's public names. */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { families, loadGolden } from '../golden/golden.ts';

const at = (path: string): unknown => path.split('.').reduce<unknown>((o, key) => (o as Record<string, unknown>)?.[key], anneal);

describe('the package', () => {
  test('exports every op, layer and optimizer that the golden files name', () => {
    const cases = families.flatMap((family) => loadGolden(family).cases.map((c) => ({ family, c })));
    const names = new Set(
      cases
        .filter(({ c }) => c.kind !== 'trajectory' && !c.tags?.includes('optional'))
        .map(({ family, c }) =>
          family.startsWith('loss') ? `losses.${c.op}` : c.op === 'clipGradNorm' ? `optim.${c.op}` : c.op,
        ),
    );
    expect([...names].filter((name) => typeof at(name) !== 'function')).toEqual([]);
  });

  test('keeps to itself what only its own rooms use', () => {
    const inner = [
      'sumTo',
      'persistent',
      'powScalar',
      'to',
      'drawAttributes',
      'product',
      'record',
      'run',
      'nativeOp',
      'unwritten',
      'fromHost',
      'Storage',
      'bind',
      'backward',
    ];
    expect(inner.filter((name) => name in anneal)).toEqual([]);
  });

  test('makes the methods of Tensor available by one import', () => {
    const methods = [
      'add',
      'mul',
      'matmul',
      'sum',
      'mean',
      'softmax',
      'reshape',
      'flatten',
      'to',
      'backward',
      'gelu',
      'permute',
      'max',
      'eq',
    ];
    expect(methods.filter((name) => !(name in anneal.Tensor.prototype))).toEqual([]);
  });
});
