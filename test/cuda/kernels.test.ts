/** The folder of kernels beside the addon: what is loaded from it, and what is refused. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { simulator, withoutSimulator } from '../helpers/device.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const built = join(root, 'build/Release/kernels');
const script = `
  const { tensor, setDefaultDevice } = await import('./lib/index.ts');
  try {
    setDefaultDevice('cuda');
    console.log(String(await tensor([0, 0]).softmax().data()));
  } catch (e) { console.log(e.constructor.name + ': ' + e.message); }`;

/** A copy of the built kernels with some files otherwise (null: without), and what a softmax on them says. */
function saysWith(files: { readonly [name: string]: string | null }): string {
  const folder = mkdtempSync(join(tmpdir(), 'anneal-kernels-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of readdirSync(built)) if (!(name in files)) symlinkSync(join(built, name), join(folder, name));
  for (const [name, text] of Object.entries(files)) if (text !== null) writeFileSync(join(folder, name), text);
  return execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: root,
    env: { ...process.env, ANNEAL_TEST_DEVICE: 'cpu', ANNEAL_CUDA_DRIVER: simulator, ANNEAL_KERNELS: folder },
    encoding: 'utf8',
  });
}

describe.skipIf(withoutSimulator)('kernels', () => {
  test('as built', () => expect(saysWith({})).toBe('0.5,0.5\n'));
  test('the simulated GPU executes no PTX but that from which the machine code was made', () =>
    expect(saysWith({ 'softmax.fatbin': 'another' })).toMatch(
      /softmax\.ptx is not what .*softmax\.fatbin was made from.*npm run build:kernels/,
    ));
  test('an instruction that the simulated GPU does not know is an error that names it', () =>
    expect(
      saysWith({
        'softmax.ptx':
          '.version 9.0\n.target sm_80\n.address_size 64\n.visible .entry softmax_f32()\n{\n frobnicate.b32;\n ret;\n}\n',
        'softmax.fatbin': null,
      }),
    ).toMatch(/frobnicate/));
  test('none: says how to build them', () =>
    expect(saysWith({ 'index.txt': '' })).toMatch(/^DeviceError: .*no CUDA kernels.*npm run build:kernels/));
});
