import { setDefaultDevice } from '../../lib/tensor/device.ts';
import { deviceUnderTest } from './device.ts';

if (process.env.ANNEAL_TEST_DEVICE) setDefaultDevice(deviceUnderTest());
