import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const source = (name) => fileURLToPath(new URL(`../../client/src/${name}`, import.meta.url));

export default defineConfig({
  root: import.meta.dirname,
  esbuild: { jsx: 'automatic' },
  // In a project of your own the package is installed (client/README.md), and nothing is here.
  resolve: {
    alias: [
      { find: 'sluice-client/react', replacement: source('react.ts') },
      { find: 'sluice-client', replacement: source('index.ts') },
    ],
  },
  // The page reaches Sluice at its own origin, as behind an ingress; WS_ALLOWED_ORIGINS is the page's there.
  server: { proxy: { '/ws': { target: process.env.SLUICE_URL ?? 'http://localhost:8080', ws: true } } },
});
