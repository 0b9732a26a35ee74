import { existsSync } from 'node:fs';
import { compilerOptions } from './scripts/setup/compile.js';
import { bundledPackages } from './scripts/setup/test-packages.js';

/** Specs lie beside the code they describe; what needs several parts lies under test/. */
export default {
  testEnvironment: 'node',
  roots: ['src', 'test', 'bench', 'client', 'page', 'scripts']
    .filter((folder) => existsSync(new URL(folder, import.meta.url)))
    .map((folder) => `<rootDir>/${folder}`),
  testMatch: ['**/*.spec.ts', '**/*.spec.js'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': ['$1', '$1.js'], ...bundledPackages() },
  transform: {
    '^.+\\.ts$': ['@swc/jest', compilerOptions],
  },
  testSequencer: '<rootDir>/scripts/test-order.js',
  // The tests start real brokers, Redis servers and browsers, and wait for them half of the time: four files at a time keep two cores busy.
  maxWorkers: 4,
  // Contexts of ES modules are never given back: after a hundred files a worker has 2 GB, and its collector takes seconds.
  workerIdleMemoryLimit: '1GB',
  testTimeout: 30_000,
};
