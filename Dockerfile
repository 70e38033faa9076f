FROM node:26-slim AS build
WORKDIR /packages
COPY package.json package-lock.json ./
# The optional packages are Node and Postgres themselves, for machines that lack them.
RUN --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund
WORKDIR /source
COPY . .
# Whatever the umask of the checkout: all may read, only root may write.
RUN chmod -R a+rX,go-w .

FROM node:26-slim
ENV NODE_ENV=production HOST=0.0.0.0
WORKDIR /app
# A volume that is mounted here for the first time takes over its owner; see compose.yaml.
RUN mkdir /keys && chown node:node /keys
COPY --from=build /packages/node_modules node_modules
COPY --from=build /source .
# node, as a number: Kubernetes' runAsNonRoot accepts no name.
USER 1000:1000
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["node", "--eval", "fetch('http://127.0.0.1:' + (process.env.PORT || 3000) + '/readyz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "app/main.ts"]
