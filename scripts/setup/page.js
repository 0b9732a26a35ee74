import { join } from 'node:path';
import { root } from './paths.js';

/** The dashboard's page as three files, under names that stay: index.html, page.js and page.css, revalidated at every load. */
export async function bundlePage(folder) {
  const { build } = await import('vite');
  // Vite sets it to production for good, and `npm start` goes on in this process: to the server, which would want a production's settings.
  const { NODE_ENV } = process.env;
  await build({
    root: join(root, 'page'),
    configFile: false,
    logLevel: 'warn',
    esbuild: { jsx: 'automatic', jsxImportSource: 'preact', target: 'es2022' },
    build: {
      outDir: folder,
      emptyOutDir: true,
      target: 'es2022',
      modulePreload: false,
      reportCompressedSize: false,
      rollupOptions: {
        output: { entryFileNames: 'page.js', assetFileNames: 'page[extname]' },
      },
    },
  });
  if (NODE_ENV === undefined) {
    delete process.env.NODE_ENV;
  } else {
    process.env.NODE_ENV = NODE_ENV;
  }
}
