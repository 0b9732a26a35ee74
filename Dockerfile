# Any image with Node 20.19 or newer, npm and a C library that node_modules' few binaries know; a current LTS by default. A tag can change
# under a build: a release names the base by its digest, `--build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:…`.
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY scripts/setup/dependencies.js scripts/setup/paths.js scripts/setup/run-command.js scripts/setup/setup-lock.js ./scripts/setup/
# Two optional build secrets, for networks with a registry or a certificate authority of their own: neither gets into a layer.
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca,required=false \
    if [ -f /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi \
 && export npm_config_ignore_scripts=true \
 && node -e "import('/app/scripts/setup/dependencies.js').then((setup) => setup.ensureDependencies())"
COPY tsconfig.json ./
COPY scripts ./scripts
COPY src ./src
COPY client ./client
COPY page ./page
RUN npm run build
# dist/ holds what runs, its packages included. Of the packages themselves stay names, versions and licences, for who must know what is inside.
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund --offline \
 && find node_modules ! -type d ! -name package.json ! -iname 'licen[cs]e*' ! -iname 'copying*' ! -iname 'notice*' -delete \
 && rm -rf dist/modules dist/package.json dist/.build-hash \
 && find dist -name '*.map' -delete \
 && find node_modules -type d -empty -delete

# The base without what only a build needs: package managers, headers of Node, manuals. Copied as one layer, since what is deleted in a
# layer of its own is still in the ones below.
FROM ${NODE_IMAGE} AS base
RUN rm -rf /usr/local/lib/node_modules /usr/local/include /usr/local/share /usr/share/doc /usr/share/man /usr/share/locale \
      /opt/yarn* /var/cache/* /var/lib/apt/lists/* /var/log/* /tmp/* \
 && cd /usr/local/bin && rm -f npm npx corepack yarn yarnpkg nodejs docker-entrypoint.sh

FROM scratch
COPY --from=base / /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV NODE_ENV=production
# The collector copies what lives of this space with everything else halted: 4 MiB take 3 ms, the default of 16 up to 20. One thread
# helps it; the default of four get into each other's way where a container has one or two cores (docs/decisions/010).
ENV NODE_OPTIONS="--max-semi-space-size=4 --v8-pool-size=1"
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# By number, so that Kubernetes can see that it is not root. Nothing is written: the root file system can be read-only.
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.MANAGEMENT_PORT || process.env.PORT || 8080}/health/live`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Node itself is process 1: SIGTERM reaches it, and it drains.
ENTRYPOINT ["node", "dist/main.js"]
# Last, so that a new revision costs no layer.
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="The control layer between an MQTT broker and live dashboards" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
