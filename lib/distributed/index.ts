export { type GlooGroupOptions, glooGroup } from './gloo-group.ts';
export type { CollectiveOptions, Pending, ProcessGroup, Reduction } from './process-group.ts';
export { type Store, StoreClient, type StoreClientOptions } from './store.ts';
export { StoreServer, type StoreServerOptions } from './store-server.ts';
