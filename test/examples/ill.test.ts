/** What is ill is noticed: else it would say nothing that the examples' tests find their runs healthy. */
import { expect, test } from 'vitest';
import { expectHealthy, program } from './example.ts';

test('a run at a rate that is far too high is found to be ill, by what the tests of examples ask', async () => {
  const ran = await program('test/examples/ill.ts');
  expect(ran.runs).toBe(1);
  expect(ran.findings.map((f) => f.severity)).toContain('error');
  expect(() => expectHealthy(ran, 1)).toThrow(/deeply equal/);
  expect(() => expectHealthy({ ...ran, findings: [] }, 2)).toThrow();
});
