/** The tables of test/costs, to which test/helpers/costs.ts holds the tests that they name. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compiler } from '../helpers/costs.ts';
import { withoutSimulator } from '../helpers/device.ts';

const folder = new URL('../costs/', import.meta.url);
const tables = readdirSync(folder).map((name) => ({ name, ...JSON.parse(readFileSync(new URL(name, folder), 'utf8')) }));
const recorded = [...new Set(tables.map((t) => t.nvcc as string))];
const here = withoutSimulator ? undefined : compiler();

describe('costs of kernels', () => {
  test.skipIf(here !== recorded[0])(
    `are compared where nvcc is ${recorded[0]}, of which they are recorded (here ${here ?? 'is none'})`,
    () => {
      expect(recorded).toEqual([here]);
    },
  );
  test('each table is of a file of tests, and holds some', () => {
    for (const { name, costs } of tables) {
      const [, room, file] = /^([a-z]+)-(.*)\.json$/.exec(name) ?? [];
      expect(existsSync(new URL(`../${room}/${file}.test.ts`, import.meta.url)), name).toBe(true);
      expect(Object.keys(costs).length, name).toBeGreaterThan(0);
    }
  });
});
