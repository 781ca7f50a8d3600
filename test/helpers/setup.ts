import { expect } from 'vitest';
import { setDefaultDevice } from '../../lib/tensor/device.ts';
import { countLaunches, holdToCosts, isCosted } from './costs.ts';
import { deviceUnderTest } from './device.ts';

const file = expect.getState().testPath ?? '';
const counted = process.env.ANNEAL_TEST_DEVICE === 'simulated' && isCosted(file);
if (counted) countLaunches();
if (process.env.ANNEAL_TEST_DEVICE) setDefaultDevice(deviceUnderTest());
if (counted) holdToCosts(file);
