/**
 * Stands in for vitest where mutants are judged: it collects the tests of the suite's own files as a list, so that a process can run the few that
 * launch one kernel and be done in a second. It knows the parts of vitest that those files use; another is an error on import.
 */

import { format } from 'node:util';
import { JestAsymmetricMatchers, JestChaiExpect, JestExtend } from '@vitest/expect';
import { spyOn } from '@vitest/spy';
import * as chai from 'chai';

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);
export const expect = chai.expect;
export const vi = { spyOn };

type Body = (...args: unknown[]) => unknown;
export interface Collected {
  name: string;
  run(): Promise<void>;
}
export const collected: Collected[] = [];
const path: string[] = [];
let hooks: { readonly [when: string]: Body[] } = { beforeEach: [], afterEach: [] };
let finished: Body[] = [];

async function runTest(name: string, body: Body, args: unknown[], around: typeof hooks): Promise<void> {
  finished = [];
  const context = { task: { fullTestName: name } };
  try {
    for (const before of around.beforeEach as Body[]) await before(context);
    await body(...args);
  } finally {
    for (const after of [...(around.afterEach as Body[]), ...finished]) await after(context);
  }
}
const bodyOf = (rest: unknown[]): Body => rest.find((r) => typeof r === 'function') as Body;

function one(name: string, ...rest: unknown[]): void {
  collect(name, bodyOf(rest), []);
}
function collect(name: string, body: Body, args: unknown[]): void {
  const around = hooks;
  const whole = [...path, name].join(' > ');
  collected.push({ name: whole, run: () => runTest(whole, body, args, around) });
}
/** A file's tests from here on: hooks of the last one's are not theirs. */
export function startFile(): void {
  hooks = { beforeEach: [], afterEach: [] };
}
const each =
  (put: (name: string, body: Body, args: unknown[]) => void) =>
  (rows: readonly unknown[]) =>
  (name: string, ...rest: unknown[]): void => {
    for (const row of rows) {
      const args = Array.isArray(row) ? row : [row];
      put(format(name, ...args.slice(0, name.match(/%[^%]/g)?.length ?? 0)), bodyOf(rest), args);
    }
  };

function group(name: string, body: Body, args: unknown[] = []): void {
  const outside = hooks;
  hooks = { beforeEach: [...(hooks.beforeEach as Body[])], afterEach: [...(hooks.afterEach as Body[])] };
  path.push(name);
  body(...args);
  path.pop();
  hooks = outside;
}
const never = Object.assign(() => {}, { each: () => () => {} });

const tests = Object.assign(one, { each: each(collect), skip: never });
export const test = Object.assign(tests, {
  skipIf: (when: unknown) => (when ? never : tests),
  runIf: (when: unknown) => (when ? tests : never),
});
export const it = test;
const groups = (name: string, ...rest: unknown[]) => group(name, bodyOf(rest));
const described = Object.assign(groups, { each: each(group), skip: never });
export const describe = Object.assign(described, { skipIf: (when: unknown) => (when ? never : described) });
export const beforeEach = (hook: Body) => (hooks.beforeEach as Body[]).push(hook);
export const afterEach = (hook: Body) => (hooks.afterEach as Body[]).push(hook);
export const beforeAll = (hook: Body) => {
  let done: unknown;
  beforeEach(() => {
    done ??= hook();
    return done;
  });
};
/** When the process ends: what must wait is not waited for. */
export const afterAll = (hook: Body) => process.once('exit', () => void hook());
export const onTestFinished = (hook: Body) => finished.push(hook);
